"""The phases that look at what the repository consists of: sources, manifests, parts, boundaries, measurements."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import printable
from converge_core.repository import RECEIPTS
from converge_plugins.repo_loop.globs import matcher
from converge_plugins.repo_loop.payloads import Issue, Receipt
from converge_plugins.repo_loop.phase import Finding, PhaseConfig, View
from converge_plugins.repo_loop.survey import told

SHOWN = 20
MANIFESTS = ("pyproject.toml", "setup.cfg", "package.json", "Cargo.toml", "go.mod", "composer.json", "pom.xml")


class SourcesConfig(PhaseConfig):
    """What version control must say."""

    controlled: bool = Field(default=False, description="Whether it must be under version control, with a commit.")
    clean: bool = Field(default=False, description="Whether nothing may differ from the commit.")


async def sources(view: View, config: SourcesConfig) -> Finding:
    """Count the files by sort, and say what version control knows."""
    revision = view.survey.revision
    sorts = Counter(PurePosixPath(path).suffix or "(none)" for path in view.paths)
    evidence: dict[str, JsonValue] = {"suffixes": {told(sort): count for sort, count in sorts.most_common(SHOWN)}}
    issues = []
    if revision is None:
        evidence["version_control"] = None
        if config.controlled or config.clean:
            issues.append(Issue(message="there is no version control"))
    else:
        changed = [*map(told, revision.changed)]
        evidence["version_control"] = {
            "changed": changed[:SHOWN],
            "commit": revision.commit,
            "tracked": len(revision.tracked),
        }
        if config.controlled and revision.commit is None:
            issues.append(Issue(message="there is no commit yet"))
        if config.clean:
            issues += [
                Issue(message="differs from the commit", path=path, remedy="commit it, or undo it") for path in changed
            ]
    return Finding(f"sorted {len(view.files)} files", evidence, tuple(issues))


async def manifests(view: View, config: PhaseConfig) -> Finding:
    """Read the manifests, as far as their format is TOML or JSON."""
    evidence: dict[str, JsonValue] = {}
    issues = []
    for path in view.paths:
        text = await view.text(path)
        try:
            evidence[told(path)] = (
                _named(parsed(path, text)) if path.endswith((".toml", ".json")) else {"bytes": len(text)}
            )
        except ValueError as error:
            issues.append(Issue(message=printable(f"cannot be parsed: {error}"), path=told(path)))
    if not view.paths:
        issues.append(Issue(message="there is no manifest", remedy=f"add one of {', '.join(MANIFESTS[:3])}"))
    return Finding(f"read {len(view.paths)} manifests", evidence, tuple(issues))


def parsed(path: str, text: str) -> dict[str, Any]:
    """Return a TOML or JSON object. Raises ValueError."""
    value = tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def _named(manifest: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return what a manifest calls its project, wherever it says so."""
    parts = (manifest, manifest.get("project"), manifest.get("package"), manifest.get("tool", {}))
    for part in parts:
        if isinstance(part, Mapping) and isinstance(part.get("name"), str):
            return {
                "name": part["name"],
                "version": part.get("version") if isinstance(part.get("version"), str) else None,
            }
    return {"name": None, "version": None}


class ObjectiveConfig(PhaseConfig):
    """What the repository is for."""

    objective: str | None = Field(
        default=None, min_length=1, description="Its objective; the beginning of its README, if absent."
    )


async def objective(view: View, config: ObjectiveConfig) -> Finding:
    """Find out what the repository is for."""
    if config.objective is not None:
        return Finding("took the objective that the intent states", {"objective": config.objective})
    for path in view.paths:
        for paragraph in re.split(r"\n\s*\n", await view.text(path)):
            said = printable(re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", r"\1", paragraph))
            if len(said) > 20 and not said.startswith(("#", "<", "[!", "!", "..", "=", "|")):
                return Finding(f"took the beginning of {told(path)}", {"objective": said, "path": told(path)})
    return Finding.failed("looked for an objective", "nothing says what this is for", None, "begin the README with it")


class RetiredConfig(PhaseConfig):
    """What must be gone, and what may still be there."""

    gone: tuple[str, ...] = Field(default=(), description="Files that must not be there any more, as globs.")


async def retired(view: View, config: RetiredConfig) -> Finding:
    """List the parts that are marked as retired, and demand that those that must be gone are."""
    is_gone = matcher(config.gone)
    left = [told(entry.path) for entry in view.survey.walk.files if is_gone(entry.path)]
    folders = Counter(told(str(PurePosixPath(path).parent)) for path in view.paths)
    evidence: dict[str, JsonValue] = {"retired": dict(folders.most_common(SHOWN)), "gone": list(config.gone)}
    issues = tuple(Issue(message="is to be gone", path=path, remedy="delete it") for path in left)
    return Finding(f"found {len(view.paths)} files in retired parts", evidence, issues)


class EvidenceConfig(PhaseConfig):
    """Where earlier evidence is."""

    files: tuple[str, ...] = Field(default=(), description="Each glob must mean at least one file that is not empty.")


async def evidence(view: View, config: EvidenceConfig) -> Finding:
    """Map what there is of evidence: files, and the receipt of the run before this one."""
    past = await view.site.port(RECEIPTS).newest(Receipt.family, {"repository": view.repository.root})
    shown: dict[str, JsonValue] = {"receipt": None if past is None else {"hash": past.hash, "run_id": past.run_id}}
    issues = []
    for glob in config.files:
        means = matcher((glob,))
        found = [entry.path for entry in view.survey.walk.files if entry.size and means(entry.path)]
        shown[glob] = {told(path): view.survey.digests.get(path) for path in found[:SHOWN]}
        if not found:
            issues.append(Issue(message=f"there is no evidence under {glob}"))
    return Finding(f"mapped {len(config.files)} places of evidence", shown, tuple(issues))


class Boundary(BaseModel):
    """What must not be said where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: tuple[str, ...] = Field(min_length=1, description="Where, as globs.")
    never: str = Field(min_length=1, description="A regular expression that no line of them may match.")
    because: str = Field(default="", description="Why.")

    @field_validator("never")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern


class BoundariesConfig(PhaseConfig):
    """The boundaries between the parts of the repository."""

    rules: tuple[Boundary, ...] = Field(min_length=1, description="What must not be said where.")


async def boundaries(view: View, config: BoundariesConfig) -> Finding:
    """Look for what crosses a boundary."""
    rules = [(rule, matcher(rule.files), re.compile(rule.never)) for rule in config.rules]

    def crossings(path: str, content: bytes) -> Iterator[Issue]:
        for rule, applies, never in rules:
            if applies(path):
                for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
                    if never.search(line):
                        why = rule.because or f"matches {rule.never}"
                        yield Issue(message=f"crosses a boundary: {why}", path=told(path), line=number)

    issues = await view.search(crossings)
    held = {" ".join(rule.files): sum(map(applies, view.paths)) for rule, applies, _ in rules}
    return Finding(f"held {len(rules)} boundaries against {len(view.files)} files", {"files": held}, issues)


class GroundingConfig(PhaseConfig):
    """What the repository must have to stand on."""

    has: tuple[str, ...] = Field(
        default=("README*",), min_length=1, description="Each glob must mean at least one file."
    )


async def grounding(view: View, config: GroundingConfig) -> Finding:
    """Demand the files without which the rest has no ground."""
    shown: dict[str, JsonValue] = {}
    for glob in config.has:
        means = matcher((glob,))
        shown[glob] = [told(path) for path in view.paths if means(path)][:SHOWN]
    issues = tuple(Issue(message=f"there is no {glob}", remedy=f"add {glob}") for glob in config.has if not shown[glob])
    return Finding(f"looked for {len(config.has)} sorts of files", {"found": shown}, issues)


class BenchmarksConfig(PhaseConfig):
    """What was measured, and what it may be."""

    at_most: dict[str, float] = Field(
        default_factory=dict, description="The most that a number may be, by its dotted path."
    )
    at_least: dict[str, float] = Field(default_factory=dict, description="The least that a number may be.")


async def benchmarks(view: View, config: BenchmarksConfig) -> Finding:
    """Read measurements (JSON), and hold them against their limits."""
    numbers: dict[str, float] = {}
    issues = []
    for path in view.paths:
        try:
            numbers |= dict(_numbers(json.loads(await view.text(path, 10_000_000))))
        except ValueError as error:
            issues.append(Issue(message=printable(f"cannot be parsed: {error}"), path=told(path)))
    for wanted, sign, word in ((config.at_most, 1, "more"), (config.at_least, -1, "less")):
        for name, limit in wanted.items():
            if name not in numbers:
                issues.append(Issue(message=f"{name} was not measured"))
            elif (numbers[name] - limit) * sign > 0:
                issues.append(Issue(message=f"{name} is {numbers[name]:g}, {word} than {limit:g}"))
    if not view.paths:
        issues.append(Issue(message="nothing was measured"))
    shown = {name: numbers[name] for name in {**config.at_most, **config.at_least} if name in numbers}
    evidence: dict[str, JsonValue] = {
        "files": [*map(told, view.paths[:SHOWN])],
        "limits": shown,
        "numbers": len(numbers),
    }
    return Finding(f"read {len(numbers)} measurements", evidence, tuple(issues))


def _numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a JSON value by its dotted path."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _numbers(child, f"{path}.{name}" if path else str(name))
