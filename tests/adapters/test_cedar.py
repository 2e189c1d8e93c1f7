"""Flow gates in Cedar: what is asked, what a denial comes to, and what a file has to be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.cedar import CedarAuthorizer, CedarConfig, converge_register_authorizers
from converge_core import (
    AuthorityLevel,
    Catalog,
    ContentHash,
    DataPayload,
    Engine,
    FlowAction,
    FlowGateAuthorizer,
    FlowGateDecision,
    FlowGateInput,
    FlowGateOutcome,
    FlowGatePrincipal,
    FlowGateResource,
    FlowPhase,
    GateDecision,
    IntentError,
    PluginError,
    ProposedFact,
    RiskPosture,
    SetupChanged,
    Site,
    replay,
)
from converge_core.ledger.canonical import JsonValue
from converge_core.ports import FILES
from converge_core.suggestors.catalog import Ports
from tests.core.context.test_payloads import json_values
from tests.core.stage import SEEDS, Says, engine_of, finish, play, refs, seeded

PROMOTE, REJECT, ESCALATE = FlowGateOutcome.PROMOTE, FlowGateOutcome.REJECT, FlowGateOutcome.ESCALATE
ALL = "permit(principal, action, resource);"

LIMITS = """
// Anybody may do anything up to 500; above that only with a human, and above 10,000 nobody may.
@id("anything")
permit(principal, action, resource);

@id("over-limit")
forbid(principal, action == Action::"promote", resource)
when { context has amount && context.amount > 500 }
unless { context.human_approval_present };

@id("never")
forbid(principal, action, resource) when { context has amount && context.amount > 10000 };
"""


def question(
    amount: int | None = None,
    action: FlowAction = FlowAction.PROMOTE,
    *,
    human: bool = False,
    who: str = "rule",
    authority: AuthorityLevel = AuthorityLevel.ADVISORY,
    domains: tuple[str, ...] = (),
    **fields: JsonValue,
) -> FlowGateInput:
    return FlowGateInput(
        FlowGatePrincipal(who, authority, domains),
        FlowGateResource("strategies/s1", "plan", FlowPhase.EXPLORATION),
        action,
        human,
        amount,
        "file:plans.csv",
        RiskPosture.CONSERVATIVE,
        fields,
    )


def asked(policies: str, asked: FlowGateInput | None = None, entities: str | None = None) -> FlowGateDecision:
    return CedarAuthorizer(policies, entities).decide(asked or question())


def holds(condition: str, asked_: FlowGateInput | None = None, entities: str | None = None) -> bool:
    """Say whether a policy with this condition permits."""
    policy = f"permit(principal, action, resource) when {{ {condition} }};"
    return asked(policy, asked_, entities).outcome is PROMOTE


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_allow_promotes_and_names_the_policies_that_permit() -> None:
    assert asked(LIMITS, question(500)) == FlowGateDecision(PROMOTE, "permitted by anything", "cedar")


def test_a_denial_that_a_human_could_lift_escalates_and_names_the_policies_that_deny() -> None:
    assert asked(LIMITS, question(501)) == FlowGateDecision(
        ESCALATE, "forbidden by over-limit without a human", "cedar"
    )


def test_with_a_human_it_is_allowed() -> None:
    assert asked(LIMITS, question(501, human=True)).outcome is PROMOTE


@pytest.mark.parametrize("human", [False, True])
def test_a_denial_that_no_human_could_lift_rejects(human: bool) -> None:
    decision = asked(LIMITS, question(10001, human=human))
    assert decision.outcome is REJECT
    assert decision.reason == ("forbidden by never" if human else "forbidden by never, over-limit")


def test_a_policy_speaks_of_the_actions_it_names() -> None:
    assert asked(LIMITS, question(501, FlowAction.VALIDATE)).outcome is PROMOTE


def test_what_no_policy_permits_is_rejected() -> None:
    assert asked("") == FlowGateDecision(REJECT, "no policy permits it", "cedar")


def test_what_only_a_human_is_permitted_escalates() -> None:
    policy = "permit(principal, action, resource) when { context.human_approval_present };"
    assert asked(policy).outcome is ESCALATE
    assert asked(policy).reason == "no policy permits it without a human"


def test_a_policy_without_an_id_is_named_by_its_number() -> None:
    assert asked(f"{ALL}\nforbid(principal, action, resource);").reason == "forbidden by policy1"


def test_policies_are_named_in_one_order() -> None:
    names = [f"p{number}" for number in range(9)]
    text = "\n".join(f'@id("{name}") {ALL}' for name in reversed(names))
    assert asked(text).reason == f"permitted by {', '.join(names)}"


def test_a_forbid_that_cannot_be_evaluated_forbids() -> None:
    """Cedar leaves it out: without a field that a policy reads, everything would pass."""
    policy = f'{ALL}\n@id("limit") forbid(principal, action, resource) when {{ context.fields.cost > 5 }};'
    assert asked(policy, question(cost=6)).outcome is REJECT
    assert asked(policy, question(cost=5)).outcome is PROMOTE
    decision = asked(policy)
    assert decision.outcome is REJECT
    assert decision.reason.startswith("limit cannot be evaluated: record does not have the attribute `cost`")


def test_a_permit_that_cannot_be_evaluated_permits_nothing_and_bars_nothing() -> None:
    broken = "permit(principal, action, resource) when { context.fields.cost > 5 };"
    assert asked(broken).outcome is REJECT
    assert asked(f"{broken}\n{ALL}").outcome is PROMOTE


# --- the request ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        'principal == Principal::"rule"',
        'principal.authority == "supervisory"',
        "principal.level == 2 && principal.level < 3",
        'principal.domains.contains("pricing") && !principal.domains.contains("law")',
        'action == Action::"promote"',
        'resource == Resource::"strategies/s1"',
        'resource.kind == "plan"',
        'resource.phase == "exploration"',
        "context.amount == 7",
        "!context.human_approval_present",
        'context.provenance like "file:*"',
        'context.risk_posture == "conservative"',
        'context.fields.note == "x"',
    ],
)
def test_a_policy_sees_who_what_where_and_how_much(condition: str) -> None:
    seen = question(7, authority=AuthorityLevel.SUPERVISORY, domains=("pricing", "risk"), note="x")
    assert holds(condition, seen)


def test_without_an_amount_there_is_none() -> None:
    assert not holds("context has amount")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ä", 'x"; permit(principal, action, resource); "'])
def test_a_name_is_a_name_whatever_it_holds(name: str) -> None:
    known = json.dumps([{"uid": {"type": "Principal", "id": name}, "attrs": {"senior": True}, "parents": []}])
    assert holds("principal has senior && principal.senior", question(who=name), known)
    assert not holds("principal has senior", question(who="other"), known)


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        (1, "context.fields.x == 1"),
        (1.0, "context.fields.x == 1"),
        (1.5, 'context.fields.x == decimal("1.5")'),
        (-0.25, 'context.fields.x.lessThan(decimal("0.0"))'),
        (0.00001, 'context.fields.x == "1e-05"'),
        (2**63, f'context.fields.x == "{2**63}"'),
        (True, "context.fields.x"),
        ("a", 'context.fields.x == "a"'),
        (None, "!(context.fields has x)"),
        ([1, None, "a"], 'context.fields.x.contains(1) && context.fields.x.contains("a")'),
        ({"y": {"z": 1}, "n": None}, "context.fields.x.y.z == 1 && !(context.fields.x has n)"),
        ({"__entity": {"type": "Principal", "id": "rule"}}, "!(context.fields.x == principal)"),
        ({"__extn": {"fn": "ip", "arg": "nonsense"}}, "context.fields has x"),
    ],
    ids=str,
)
def test_a_field_is_what_cedar_can_say_of_it(value: JsonValue, condition: str) -> None:
    assert holds(condition, question(x=value))


@given(st.dictionaries(st.text(), json_values))
def test_whatever_a_payload_holds_cedar_has_an_answer(fields: dict[str, JsonValue]) -> None:
    assert CedarAuthorizer(ALL).decide(replace(question(), fields=fields)).outcome is PROMOTE


def test_a_question_that_cedar_cannot_read_is_rejected_and_says_so() -> None:
    decision = asked(ALL, question(x="\ud800"))
    assert decision.outcome is REJECT
    assert decision.reason.startswith("no answer: failed to build request")


# --- entities ---------------------------------------------------------------------------------------------------------

TEAM: list[dict[str, Any]] = [
    {"uid": {"type": "Group", "id": "finance"}, "attrs": {}, "parents": []},
    {
        "uid": {"__entity": {"type": "Principal", "id": "rule"}},
        "attrs": {"authority": "sovereign", "region": "eu"},
        "parents": [{"type": "Group", "id": "finance"}],
    },
    {"uid": {"type": "Resource", "id": "strategies/s1"}, "attrs": {"owner": "ann"}, "parents": []},
]


def test_a_principal_belongs_to_the_groups_of_the_file() -> None:
    policy = 'permit(principal in Group::"finance", action, resource);'
    assert asked(policy, entities=json.dumps(TEAM)).outcome is PROMOTE
    assert asked(policy, question(who="other"), json.dumps(TEAM)).outcome is REJECT


def test_the_file_adds_attributes_and_the_machine_has_the_last_word_on_its_own() -> None:
    entities = json.dumps(TEAM)
    assert holds('principal.region == "eu" && resource.owner == "ann"', entities=entities)
    assert holds('principal.authority == "advisory" && resource.kind == "plan"', entities=entities)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"uid": }]', "team.json:1:10: Expecting value"),
        ("[\n  1,\n]", "team.json:3:1"),
        ('{"uid": 1}', "team.json: not Cedar entities"),
        ("[1]", "team.json: not Cedar entities"),
        ('[{"attrs": {}}]', "team.json: not Cedar entities"),
    ],
)
def test_what_are_no_entities_is_one_fault_of_the_file(text: str, fault: str) -> None:
    with pytest.raises(IntentError) as caught:
        CedarAuthorizer(ALL, text, ("p.cedar", "team.json"))
    assert str(caught.value).startswith(fault)


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("permit(principal, action, resource)\nwhen {\n  context.x ==\n};\n", "p.cedar:6: unexpected token `}`"),
        ("permit(principal, action, resource)\nwhen { context.x == 'a' };", "p.cedar:4: invalid token"),
        ("permit(principal, action, resource)\nwhen { true }\n", "p.cedar:5: unexpected end of input"),
        ("// a; b\npermit(principal, action, resource)\n  when { foo.x };", "p.cedar:4: invalid member access `foo.x`"),
        ("permit(principal,\n  resource, action);", "p.cedar:3: found the variable `resource`"),
        ('permit(principal, action, resource) when { "; };', "p.cedar:3: invalid token"),
        (
            'permit(principal, action, resource) when { context.a == ";\\"//" };\nbogus;',
            "p.cedar:4: unexpected token `;`",
        ),
    ],
    ids=["token", "character", "end", "meaning", "scope", "string", "second"],
)
def test_a_policy_that_cannot_be_read_is_one_fault_with_file_and_line(text: str, fault: str) -> None:
    with pytest.raises(IntentError) as caught:
        CedarAuthorizer(f"{ALL}\n\n{text}", files=("p.cedar", ""))
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(fault)


def test_the_name_holds_the_hash_of_the_policies_and_changes_with_the_entities() -> None:
    alone = CedarAuthorizer(ALL)
    assert alone.name == f"cedar:{ContentHash.of(ALL)}"
    one, other = CedarAuthorizer(ALL, "[]"), CedarAuthorizer(ALL, json.dumps(TEAM))
    assert len({alone.name, one.name, other.name}) == 3
    Engine(flow=other)


def test_without_cedarpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cedarpy", None)
    with pytest.raises(PluginError, match=r"pip install 'converge-runtime\[cedar\]'"):
        CedarAuthorizer(ALL)


# --- the catalog ------------------------------------------------------------------------------------------------------


def offered(files: dict[str, str]) -> Callable[..., FlowGateAuthorizer]:
    def read(name: str) -> str:
        if name not in files:
            raise LookupError(f"{name}: No such file")
        return files[name]

    def no_code(reference: str) -> Callable[..., Any]:
        raise LookupError(reference)

    catalog: Catalog[FlowGateAuthorizer] = Catalog("authorizer")
    converge_register_authorizers(catalog)
    site = Site("flow", no_code, Ports().offer(FILES, read))
    return lambda **config: catalog.find("cedar").factory(CedarConfig.model_validate(config), site)


def test_it_is_offered_as_cedar_and_reads_its_files_where_it_is_used() -> None:
    make = offered({"p.cedar": ALL, "team.json": json.dumps(TEAM)})
    assert make(policies="p.cedar").name == CedarAuthorizer(ALL).name
    assert make(policies="p.cedar", entities="team.json").name == CedarAuthorizer(ALL, json.dumps(TEAM)).name
    with pytest.raises(LookupError, match=r"gone\.cedar: No such file"):
        make(policies="gone.cedar")


# --- in a run ---------------------------------------------------------------------------------------------------------


def engine(policies: str = LIMITS) -> Engine:
    plans = [ProposedFact(SEEDS, f"p{n}", DataPayload(data={"amount": n})) for n in (400, 900, 20000)]
    return engine_of(Says("planner", *plans), flow=CedarAuthorizer(policies))


def test_a_run_promotes_asks_and_turns_away_as_the_policies_say() -> None:
    played = play(engine())
    assert refs(played.result) == ["seeds/p400"]
    pause = played.result.pause
    assert pause is not None
    assert [request.ref for request in pause.requests] == ["seeds/p900"]
    assert played.bodies("proposal_rejected")[0]["reason"] == "propose: forbidden by never (cedar)"

    result = finish(engine().resume(pause, [GateDecision.approve(pause.requests[0].gate_id, "ann")]))
    assert refs(result)[:2] == ["seeds/p400", "seeds/p900"]


def test_a_changed_policy_is_seen_by_a_replay() -> None:
    log = play(engine(), seeded("s")).log
    replay(engine(), log)
    with pytest.raises(SetupChanged, match="flow"):
        replay(engine(f"{LIMITS}\n"), log)
