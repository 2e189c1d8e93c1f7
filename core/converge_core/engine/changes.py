"""What has changed between the engine that a run recorded and the one that is to go on with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converge_core.errors import ConvergeError
from converge_core.ledger.canonical import JsonValue


class SetupChanged(ConvergeError):
    """A run is to go on with another engine than it was recorded with; every difference is named."""

    def __init__(self, run_id: str, differences: tuple[str, ...]) -> None:
        super().__init__(run_id, differences)
        self.run_id, self.differences = run_id, differences

    def __str__(self) -> str:
        return f"run {self.run_id!r} was recorded with another setup: {'; '.join(self.differences)}"


def differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs between two constitutions (see `Setup.constitution`), a sentence each."""
    found = [*_by_name("suggestor", recorded["suggestors"], current["suggestors"])]
    found += _by_name("invariant", recorded["invariants"], current["invariants"])
    for name in ("intent", "budget", "gates", "packs"):
        if recorded.get(name) != current.get(name):
            found.append(f"the {name} changed{_detail(recorded.get(name), current.get(name))}")
    return tuple(found)


def _by_name(what: str, recorded: list[dict[str, JsonValue]], current: list[dict[str, JsonValue]]) -> Iterator[str]:
    """Yield what was added, removed, changed or moved in a list of registrations."""
    old = {str(item["name"]): item for item in recorded}
    new = {str(item["name"]): item for item in current}
    for name, item in old.items():
        if name not in new:
            yield f"{what} {name!r} is gone"
        elif item != new[name]:
            yield f"{what} {name!r} changed{_detail(item, new[name])}"
    yield from (f"{what} {name!r} is new" for name in new if name not in old)
    if old.keys() == new.keys() and list(old) != list(new):
        yield f"the {what}s are registered in another order"


def _detail(old: object, new: object) -> str:
    """Name the fields in which two objects differ, with their values where these are short."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return ""
    parts = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            short = all(
                not isinstance(value, Mapping | list | tuple) and len(str(value)) < 32 for value in (before, after)
            )
            parts.append(f"{name} {before} → {after}" if short else str(name))
    return f": {', '.join(parts)}"
