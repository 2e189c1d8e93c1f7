"""The phases that look at what a release consists of: version, changelog, licences, documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from pydantic import Field, field_validator

from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import printable
from converge_plugins.repo_loop.contents import parsed
from converge_plugins.repo_loop.globs import matcher
from converge_plugins.repo_loop.payloads import Issue
from converge_plugins.repo_loop.phase import Finding, PhaseConfig, View
from converge_plugins.repo_loop.survey import told

_VERSION = re.compile(r"v?\d+(\.\d+)*([-._]?(a|b|rc|alpha|beta|pre|post|dev)[-._]?\d*)*(\+[a-z0-9.]+)?", re.IGNORECASE)


class VersionConfig(PhaseConfig):
    """Where the version stands."""

    also: dict[str, str] = Field(
        default_factory=dict, description="Other places: a regular expression with one group, by file."
    )

    def more_inputs(self) -> tuple[str, ...]:
        return tuple(self.also)

    @field_validator("also")
    @classmethod
    def _have_one_group(cls, also: dict[str, str]) -> dict[str, str]:
        for path, pattern in also.items():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{path}: {error}") from error
            if groups != 1:
                raise ValueError(f"{path}: {pattern!r} has {groups} groups, not one")
        return also


async def version(view: View, config: VersionConfig) -> Finding:
    """Demand one version, that is one, wherever it is said."""
    said: dict[str, str] = {}
    issues = []
    for path in view.paths:
        text = await view.text(path)
        if path in config.also:
            match = re.search(config.also[path], text)
            if match is None:
                issues.append(Issue(message="says no version", path=told(path)))
            else:
                said[told(path)] = match[1]
        elif (stated := version_of(path, text)) is not None:
            said[told(path)] = stated
    issues += [
        Issue(message="is not there to say its version", path=path) for path in config.also if path not in view.paths
    ]
    issues += [
        Issue(message=f"{stated!r} is no version", path=path)
        for path, stated in said.items()
        if not _VERSION.fullmatch(stated)
    ]
    if len(set(said.values())) > 1:
        issues.append(Issue(message=f"several versions: {', '.join(f'{path} says {v}' for path, v in said.items())}"))
    if not said:
        issues.append(
            Issue(
                message="no manifest says a version",
                remedy="state it in the manifest, or name under `also` where it stands",
            )
        )
    return Finding(f"compared the version in {len(said)} places", dict(said), tuple(issues))


def version_of(path: str, text: str) -> str | None:
    """Return the version that a manifest states, None where it states none, or leaves it to a tool."""
    try:
        manifest = parsed(path, text)
    except ValueError:
        return None
    for part in (manifest.get("project"), manifest.get("package"), manifest):
        if isinstance(part, Mapping) and isinstance(part.get("version"), str):
            return str(part["version"])
    return None


_NAMES_ONE = re.compile(r"\d+\.\d+|unreleased", re.IGNORECASE)


class ChangelogConfig(PhaseConfig):
    """What the changelog must tell of."""

    version: str | None = Field(
        default=None, description="The version it must tell of; that of the manifest, if absent."
    )


async def changelog(view: View, config: ChangelogConfig) -> Finding:
    """Demand that the changelog tells, under a heading, what the version brings."""
    stated = config.version
    logs = []
    for path in view.paths:
        text = await view.text(path)
        if path.endswith((".toml", ".json")):
            stated = stated or version_of(path, text)
        else:
            logs.append((path, text))
    if not logs:
        return Finding.failed("looked for a changelog", "there is no changelog", None, "add CHANGELOG.md")
    wanted = _NAMES_ONE if stated is None else re.compile(rf"(?<![\w.]){re.escape(stated.removeprefix('v'))}(?![\w.])")
    for path, text in logs:
        for heading, section in _sections(text):
            if wanted.search(heading):
                told_lines = sum(bool(line.strip()) for line in section.splitlines())
                shown: dict[str, JsonValue] = {
                    "heading": printable(heading),
                    "lines": told_lines,
                    "path": told(path),
                    "version": stated,
                }
                if not told_lines:
                    return Finding.failed(
                        f"read {told(path)}", f"nothing stands under {printable(heading)!r}", told(path)
                    )
                return Finding(f"read {told(path)}", shown)
    names = ", ".join(told(path) for path, _ in logs)
    what = stated or "a version"
    return Finding.failed(f"read {names}", f"no heading tells of {what}", names, f"tell what {what} brings")


_RULE = re.compile(r"[-=~^]{3,}")


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the headings of a Markdown or reStructuredText file that name a version, each with what follows it.

    Headings below it belong to it, and so does everything up to the next that names one; a rule is none of it.
    """
    lines = text.splitlines()
    below = [*lines[1:], ""]
    heads = [
        number
        for number, line in enumerate(lines)
        if _NAMES_ONE.search(line) and (re.match(r"#{1,4}\s", line) or _RULE.fullmatch(below[number].strip()))
    ]
    for number, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        follows = (line for line in lines[number + 1 : end] if not line.startswith("#") and not _RULE.fullmatch(line))
        yield lines[number].strip("# \t"), "\n".join(follows)


_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)")
_CODE = re.compile(r"(?ms)^(```|~~~).*?^\1|`[^`\n]*`")


async def docs(view: View, config: PhaseConfig) -> Finding:
    """Follow every relative link of the documentation."""
    walk = view.survey.walk
    there = {entry.path for entry in walk.files} | set(walk.links)
    there |= {str(folder) for path in tuple(there) for folder in PurePosixPath(path).parents}
    by_name = {path.rpartition("/")[2]: path for path in sorted(there, reverse=True)}
    followed = 0

    def broken(path: str, content: bytes) -> Iterator[Issue]:
        nonlocal followed
        text = _CODE.sub(lambda code: "\n" * code[0].count("\n"), content.decode(errors="replace"))
        for link in _LINK.finditer(text):
            target = unquote(link[1].partition("#")[0].partition("?")[0])
            if not target or re.match(r"[a-z][a-z0-9+.-]*:|//|/|\{", target, re.IGNORECASE):
                continue
            followed += 1
            place = normpath(str(PurePosixPath(path).parent / target))
            if place not in there and not place.startswith(".."):
                near = by_name.get(place.rpartition("/")[2])
                yield Issue(
                    message=f"links to {told(target)}, which is not there",
                    path=told(path),
                    line=text.count("\n", 0, link.start()) + 1,
                    remedy="take the link out" if near is None else f"link to {told(near)}",
                )

    issues = list(await view.search(broken))
    if not view.paths:
        issues.append(Issue(message="there is no documentation", remedy="add README.md"))
    return Finding(
        f"followed {followed} links in {len(view.paths)} files",
        {"files": len(view.paths), "links": followed},
        tuple(issues),
    )


class LicencesConfig(PhaseConfig):
    """Under which licences dependencies may be."""

    allowed: tuple[str, ...] = Field(min_length=1, description="SPDX identifiers, such as MIT; `*` may stand in them.")
    accepted: dict[str, str] = Field(default_factory=dict, description="The licence of a dependency that states none.")
    extras: tuple[str, ...] = Field(
        default=(), description="Optional groups of dependencies that are looked at as well."
    )
    python: tuple[str, ...] = Field(
        default=("python3",), min_length=1, description="The Python that has them installed."
    )


_ASK = """
import importlib.metadata as m, json, re, sys
def ask(name):
    try:
        d = m.distribution(name)
    except m.PackageNotFoundError:
        return None
    g = d.metadata
    needs = [re.match(r"[A-Za-z0-9._-]+", r)[0] for r in d.requires or () if "extra ==" not in r]
    return {"expression": g.get("License-Expression"), "text": (g.get("License") or "")[:100], "version": d.version,
            "classifiers": [c for c in g.get_all("Classifier") or () if c.startswith("License")], "needs": needs}
found, waiting = {}, list(sys.argv[1:])
while waiting:
    name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
    if name not in found:
        found[name] = ask(name)
        waiting += (found[name] or {}).get("needs", ())
print(json.dumps(found))
"""

_SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}


async def licences(view: View, config: LicencesConfig) -> Finding:
    """Ask the Python that has the dependencies installed for the licence of each, and of what those need."""
    named: list[str] = []
    for path in view.paths:
        named += dependencies_of(parsed(path, await view.text(path)), config.extras)
    if not view.paths:
        return Finding.failed("looked for dependencies", "there is no manifest that lists any")
    result = await view.repository.run((*config.python, "-c", _ASK, *sorted(set(named))), 60_000)
    if result.exit_code != 0:
        return Finding.failed(
            "asked for licences", f"{config.python[0]} could not say: {printable(result.stderr[-200:])}"
        )
    found: dict[str, dict[str, Any] | None] = json.loads(result.stdout)
    direct = {re.sub(r"[-_.]+", "-", name).lower() for name in named}
    shown: dict[str, JsonValue] = {}
    issues = []
    for name, about in sorted(found.items()):
        licence = config.accepted.get(name) or (_licence(about) if about is not None else None)
        if about is None and licence is None:
            if name in direct:  # one that others need may belong to another platform
                issues.append(Issue(message=f"{name} is not installed, so nothing says its licence"))
            continue
        shown[name] = licence
        if licence is None or not is_allowed(licence, config.allowed):
            issues.append(Issue(message=f"{name} is under {licence or 'no licence that it states'}"))
    return Finding(f"asked for the licences of {len(found)} dependencies", {"licences": shown}, tuple(issues))


def dependencies_of(manifest: Mapping[str, Any], extras: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of what a ``pyproject.toml`` depends on."""
    project = manifest.get("project")
    project = project if isinstance(project, Mapping) else {}
    optional = project.get("optional-dependencies", {})
    for requirement in (
        *project.get("dependencies", ()),
        *(one for extra in extras for one in optional.get(extra, ())),
    ):
        if match := re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", str(requirement)):
            yield match[1]


def _licence(about: Mapping[str, Any]) -> str | None:
    """Return an SPDX expression for what a distribution says of its licence, None where it says nothing of use."""
    if about["expression"]:
        return str(about["expression"])
    names = [classifier.rpartition(" :: ")[2] for classifier in about["classifiers"]] or [about["text"]]
    known = [
        _SPDX.get(name.strip().lower(), name.strip()) for name in names if name.strip() and "\n" not in name.strip()
    ]
    known = [name for name in known if name != "OSI Approved"]
    return (
        " AND ".join(
            name if re.fullmatch(r"[\w.+-]+", name) else f"LicenseRef-{re.sub(r'[^A-Za-z0-9]+', '-', name)}"
            for name in known
        )
        or None
    )


def is_allowed(expression: str, allowed: tuple[str, ...]) -> bool:
    """Say whether an SPDX expression can be satisfied with these licences; one that cannot be read cannot."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    means = matcher(allowed)

    def either() -> bool:
        holds = both()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            holds = both() or holds
        return holds

    def both() -> bool:
        holds = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            holds = one() and holds
        return holds

    def one() -> bool:
        first = tokens.pop(0) if tokens else ")"
        if first == "(":
            holds = either()
            return tokens[:1] == [")"] and tokens.pop(0) == ")" and holds
        if tokens[:1] == ["WITH"]:
            del tokens[:2]
        return means(first)

    return either() and not tokens
