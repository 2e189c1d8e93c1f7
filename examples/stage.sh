# What the demos share, to be sourced by them: a ledger of their own that is gone in the end, and how they tell what they do.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
stage=$(mktemp -d)
CONVERGE_HOME=$stage/home
export CONVERGE_HOME
mkdir "$CONVERGE_HOME"
unset CONVERGE_LEDGER
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() {
    printf '\n== %s\n\n' "$*"
}

try() {
    say "$*"
    "$@"
}

last_run() {
    converge runs --json | sed -n 's/.*"run_id": *"\([^"]*\)".*/\1/p' | tail -n 1
}

# Runs the example's intent. Where there is no terminal, so that nobody can be asked, it says so and approves.
run_example() {
    if ! { test -t 0 && test -t 1 && test -t 2; }; then
        set -- --yes
        echo "No terminal, so nobody can be asked: --yes approves at every gate."
    fi
    say converge run "examples/$(basename "$here")/intent.yaml" "$@"
    converge run "$here/intent.yaml" "$@" || {
        code=$?
        test "$code" -ne 6 || echo "A gate is still open, so the demo ends here, and with it this ledger." >&2
        exit "$code"
    }
    run=$(last_run)
    test -n "$run"
}
