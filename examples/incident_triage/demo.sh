#!/bin/sh
# Triages the incident in a ledger of its own, says why the plan stands, then checks that ledger and derives the run again.
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
    echo "No terminal, so nobody can be asked: --yes approves the plan."
fi

step converge run examples/incident_triage/intent.yaml "$@"
converge run "$here/intent.yaml" "$@" || {
    code=$?
    test "$code" -ne 6 || echo "The plan still waits, so the demo ends here, and with it this ledger." >&2
    exit "$code"
}

run=$(converge runs --json | sed -n 's/.*"run_id": *"\([^"]*\)".*/\1/p' | tail -n 1)
test -n "$run"

step converge show "$run" --key evaluations
converge show "$run" --key evaluations

step converge explain "$run" strategies/roll-back:CH-1042
converge explain "$run" strategies/roll-back:CH-1042

step converge eval "$run"
converge eval "$run"

step converge replay "$run"
converge replay "$run"

printf '\nA plan stands that a person has agreed to, and it derives again without asking any model.\n'
