#!/bin/sh
# Triages the incident in a ledger of its own, says why the plan stands, then checks that ledger and derives the run again.
. "$(dirname "$0")/../stage.sh"

run_example
try converge show "$run" --key evaluations
try converge explain "$run" strategies/roll-back:CH-1042
try converge eval "$run"
try converge replay "$run"

printf '\nA plan stands that a person has agreed to, and it derives again without asking any model.\n'
