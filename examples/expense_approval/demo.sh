#!/bin/sh
# Decides October's expense claims in a ledger of its own, then checks that ledger and derives the run again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
CONVERGE_HOME=$(mktemp -d)
export CONVERGE_HOME
unset CONVERGE_LEDGER
trap 'rm -rf "$CONVERGE_HOME"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    printf '\n== %s\n\n' "$*"
}

if test -t 0 && test -t 1 && test -t 2; then
    set --
else
    set -- --yes
    echo "No terminal, so nobody can be asked: --yes approves at every gate."
fi

step converge run examples/expense_approval/intent.yaml "$@"
converge run "$here/intent.yaml" "$@" || {
    code=$?
    test "$code" -ne 6 || echo "A gate is still open, so the demo ends here, and with it this ledger." >&2
    exit "$code"
}

run=$(converge runs --json | sed -n 's/.*"run_id": *"\([^"]*\)".*/\1/p' | tail -n 1)
test -n "$run"

step converge show "$run" --key proposals
converge show "$run" --key proposals

step converge verify "$run"
converge verify "$run"

step converge replay "$run"
converge replay "$run"

claims=$(($(wc -l < "$here/claims.csv") - 1))
printf '\nAll %s claims are decided, the ledger is intact, and the run derives again to the same facts.\n' "$claims"
