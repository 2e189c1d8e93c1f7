#!/bin/sh
# Decides October's expense claims in a ledger of its own, then checks that ledger and derives the run again.
. "$(dirname "$0")/../stage.sh"

run_example
try converge show "$run" --key proposals
try converge verify "$run"
try converge replay "$run"

claims=$(($(wc -l < "$here/claims.csv") - 1))
printf '\nAll %s claims are decided, the ledger is intact, and the run derives again to the same facts.\n' "$claims"
