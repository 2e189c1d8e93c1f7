#!/bin/sh
# Makes a small repository, holds its release, mends it, and lets a person release it: in a ledger of its own.
. "$(dirname "$0")/../stage.sh"

gate() {
    converge run "$here/intent.yaml" --set "repository=$stage/small" "$@" \
        --set 'suggestors.4.with.commands=[{name: tests, run: [python3, -m, unittest, discover]}]' \
        --set 'suggestors.5.with.commands=[{name: compiles, run: [python3, -c, "import small"]}]'
}

mkdir "$stage/small"
cd "$stage/small"
git init -q
cat > small.py <<'END'
"""Counts."""


def count(things: list) -> int:
    """Return how many things there are."""
    return len(things)
END
cat > test_small.py <<'END'
import unittest

from small import count


class Counting(unittest.TestCase):
    def test_two_things_are_two(self) -> None:
        self.assertEqual(count(["a", "b"]), 2)
END
printf '# Small\n\nCounts what there is; [what is new](CHANGES.md).\n' > README.md
printf '# Changelog\n\n## 1.0.0\n\n- counts\n' > CHANGELOG.md
printf '[project]\nname = "small"\nversion = "1.1.0"\n' > pyproject.toml
printf '# small.py imports nothing\n' > deny_imports.toml
git add .
git -c user.name=demo -c user.email=demo@example.org commit -qm "Count"

say "a link leads nowhere, and the changelog does not tell of 1.1.0: the release is held"
code=0
gate --no-input || code=$?
test "$code" -eq 8

try converge show "$(last_run)" --key proposals

say "mended: nothing but a person is missing"
printf '# Small\n\nCounts what there is; [what is new](CHANGELOG.md).\n' > README.md
printf '# Changelog\n\n## 1.1.0\n\n- counts more\n\n## 1.0.0\n\n- counts\n' > CHANGELOG.md
code=0
gate --no-input || code=$?
test "$code" -eq 6

say "and with the person's yes it is a release"
gate --yes
try converge verify "$(last_run)"
printf '\nHeld, mended, released; every step is in the ledger.\n'
