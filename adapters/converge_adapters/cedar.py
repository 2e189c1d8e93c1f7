"""Flow gates whose policies are written in Cedar (https://docs.cedarpolicy.com).

A question of the machine becomes a Cedar request::

    principal   Principal::"scorer"             authority "advisory", level 1, domains ["pricing"]
    action      Action::"promote"               or propose, validate, commit, advance_phase
    resource    Resource::"strategies/s1"       kind "plan", phase "exploration"
    context     human_approval_present, provenance, risk_posture, fields, and amount where there is one

Allow promotes. Deny escalates to a human if the same request would be allowed with ``human_approval_present`` set, and
rejects otherwise; so "forbid … unless { context.human_approval_present }" is a human gate. The reason names the
policies that decided, by their ``@id`` or else by their number in the file (``policy0`` is the first).

Cedar leaves out a policy that cannot be evaluated, a ``forbid`` like a ``permit``. Here a ``forbid`` that cannot be
evaluated forbids: a field that is missing is no way around it (``context has amount && …`` says what is meant).

Cedar knows no null and no fractions: a null is left out, a fraction is a ``decimal`` where four places are enough and
a text where they are not. Names that begin with two underscores have a meaning in Cedar's JSON and are left out too.

An authorizer is named after the hashes of its files, so that a run which is resumed or replayed under another policy
says so. `cedarpy` is an extra and is imported when an authorizer is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from converge_core.errors import IntentError, PluginError, Problem
from converge_core.gates.flow import FlowGateAuthorizer, FlowGateDecision, FlowGateInput, FlowGateOutcome
from converge_core.hookspec import hookimpl
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.hashes import ContentHash
from converge_core.ports import FILES
from converge_core.suggestors.catalog import Catalog, Site

if TYPE_CHECKING:
    import cedarpy

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;', re.S)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_FAILED = re.compile(r"policy `([^`]+)`: (.*)", re.S)
_INCOMPLETE = "unexpected end of input"
_MISPLACED = ("unexpected token", "invalid token")
_LARGEST = 2**63 - 1
_PLACES = 4


class CedarConfig(BaseModel):
    """The files of a Cedar flow gate, relative to the intent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policies: str = Field(min_length=1, description="The policies: a `.cedar` file.")
    entities: str | None = Field(
        default=None, min_length=1, description="Entities in Cedar's JSON: groups of principals, and who is in them."
    )


class _Answer(NamedTuple):
    allowed: bool
    reason: str


class CedarAuthorizer:
    """Answers by the policies of a text, on the entities of another.

    ``files`` are their names, for faults. Raises IntentError for a text that cannot be read, with its line as far as
    Cedar lets it be known, and PluginError without `cedarpy`.
    """

    def __init__(
        self, policies: str, entities: str | None = None, files: tuple[str, str] = ("policies", "entities")
    ) -> None:
        _require_cedar()
        self._policies = _policy_set(policies, files[0])
        self._effects, self._labels = _effects_and_labels(policies)
        self._entities = {} if entities is None else _read_entities(entities, files[1])
        self.name = f"cedar:{ContentHash.of(policies)}"
        if entities is not None:
            self.name += f":{str(ContentHash.of(entities))[:32]}"

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Return the decision of the policies."""
        answer = self._answer(question, question.human_approval_present)
        if answer.allowed:
            return FlowGateDecision(FlowGateOutcome.PROMOTE, answer.reason, "cedar")
        if self._answer(question, True).allowed:
            return FlowGateDecision(FlowGateOutcome.ESCALATE, f"{answer.reason} without a human", "cedar")
        return FlowGateDecision(FlowGateOutcome.REJECT, answer.reason, "cedar")

    def _answer(self, question: FlowGateInput, human: bool) -> _Answer:
        import cedarpy

        principal, resource = _uid("Principal", question.principal.id), _uid("Resource", question.resource.id)
        request = {
            "principal": dict(principal),
            "action": {"type": "Action", "id": question.action.value},
            "resource": dict(resource),
            "context": _context(question, human),
        }
        result = cedarpy.is_authorized(request, self._policies, self._entities_of(question, principal, resource))
        failed = [match.groups() for error in result.diagnostics.errors if (match := _FAILED.search(error))]
        barred = sorted(self._labels[name] for name, _ in failed if self._effects.get(name) == "forbid")
        if barred:
            return _Answer(
                False, f"{', '.join(barred)} cannot be evaluated: {'; '.join(sorted(why for _, why in failed))}"
            )
        if result.decision is cedarpy.Decision.NoDecision:
            return _Answer(False, f"no answer: {'; '.join(sorted(result.diagnostics.errors))}")
        names = ", ".join(sorted(self._labels.get(name, name) for name in result.diagnostics.reasons))
        if result.allowed:
            return _Answer(True, f"permitted by {names}")
        return _Answer(False, f"forbidden by {names}" if names else "no policy permits it")

    def _entities_of(self, question: FlowGateInput, principal: _Uid, resource: _Uid) -> list[dict[str, Any]]:
        """Return the entities of a request: those of the file, and the two that the machine knows best."""
        asked = question.principal
        known: dict[_Uid, dict[str, JsonValue]] = {
            principal: {
                "authority": asked.authority.name.lower(),
                "level": int(asked.authority),
                "domains": list(asked.domains),
            },
            resource: {"kind": question.resource.kind, "phase": question.resource.phase.value},
        }
        others = [entity for uid, entity in self._entities.items() if uid not in known]
        return others + [
            {"uid": dict(uid), "attrs": {**old.get("attrs", {}), **attributes}, "parents": old.get("parents", [])}
            for uid, attributes in known.items()
            for old in (self._entities.get(uid, {}),)
        ]


_Uid = tuple[tuple[str, str], tuple[str, str]]


def _uid(kind: str, name: str) -> _Uid:
    return ("type", kind), ("id", name)


def _context(question: FlowGateInput, human: bool) -> dict[str, Any]:
    amount = {} if question.amount is None else {"amount": _value(question.amount)}
    return {
        "human_approval_present": human,
        "provenance": question.provenance,
        "risk_posture": question.risk_posture.value,
        "fields": _value(question.fields),
        **amount,
    }


def _value(value: JsonValue) -> Any:
    """Return a JSON value as Cedar's JSON."""
    if isinstance(value, Mapping):
        return {name: _value(v) for name, v in value.items() if v is not None and not name.startswith("__")}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value if item is not None]
    if isinstance(value, float):
        if value.is_integer():
            return _value(int(value))
        whole, _, places = repr(value).partition(".")
        if len(places) <= _PLACES and places.isdigit() and len(whole) <= 15:
            return {"__extn": {"fn": "decimal", "arg": repr(value)}}
        return repr(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return str(value)
    return value


def _require_cedar() -> None:
    """Raise PluginError, with the way to install it, where there is no Cedar."""
    try:
        import cedarpy  # noqa: F401
    except ImportError as error:
        raise PluginError("cedar", "there is no cedarpy here: pip install 'converge-runtime[cedar]'") from error


def _policy_set(text: str, file: str) -> cedarpy.PolicySet:
    import cedarpy

    try:
        return cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        line, reason = next(_faults(text), (0, str(error)))
        raise IntentError((Problem("", reason, file, line),)) from error


def _fault(text: str) -> str | None:
    """Return what Cedar says of a text that it cannot read, or None. It does not say where."""
    import cedarpy

    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return None


def _faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield the policies that cannot be read: a line, from 1, and the reason.

    The line is that of the token where the first lines of the policy begin to make no sense; where they make sense
    and mean nothing, the one on which the policy begins.
    """
    ends = [piece.end() for piece in _PIECE.finditer(text) if piece[0] == ";"]
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        reason = _fault(text[start:end])
        if reason is None:
            continue
        begin = _BLANK.match(text, start)
        place = start if begin is None else begin.end()
        if reason == _INCOMPLETE:
            place = end
        elif reason.startswith(_MISPLACED):
            breaks = [match.end() for match in re.finditer(r"\n", text[:end]) if match.end() > place]
            for stop in (*breaks, end):
                if _fault(text[start:stop]) != _INCOMPLETE:
                    place = stop - 1
                    break
        yield text.count("\n", 0, place) + 1, reason


def _effects_and_labels(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return by Cedar's names of the policies what each does, and what its author calls it."""
    import cedarpy

    policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    effects = {name: policy["effect"] for name, policy in policies.items()}
    labels = {name: policy.get("annotations", {}).get("id") or name for name, policy in policies.items()}
    return effects, labels


def _read_entities(text: str, file: str) -> dict[_Uid, dict[str, Any]]:
    """Return the entities of a file by what identifies them."""
    import cedarpy

    try:
        listed = json.loads(text)
        cedarpy.Entities.from_json_str(text)
        return {_uid_of(entity["uid"]): entity for entity in listed}
    except json.JSONDecodeError as error:
        raise IntentError((Problem("", error.msg, file, error.lineno, error.colno),)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntentError((Problem("", f"not Cedar entities: {error}", file),)) from error


def _uid_of(uid: Mapping[str, Any]) -> _Uid:
    named = uid.get("__entity", uid)
    return _uid(str(named["type"]), str(named["id"]))


def _make(config: CedarConfig, site: Site) -> FlowGateAuthorizer:
    read = site.port(FILES)
    entities = None if config.entities is None else read(config.entities)
    return CedarAuthorizer(read(config.policies), entities, (config.policies, config.entities or ""))


@hookimpl
def converge_register_authorizers(registry: Catalog[FlowGateAuthorizer]) -> None:
    """Offer ``cedar``."""
    registry.add("cedar", _make, CedarConfig, "Policies written in Cedar; a denial that a human could lift asks one.")
