"""The sections of an intent that say who may act, what is upheld, and what is in scope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converge_adapters.documents import parse_document
from converge_adapters.plugin_loader import Offers, load_plugins
from converge_cli.compose import Composition, compose
from converge_cli.session import BUILTIN
from converge_core import (
    AuthorityLevel,
    Catalog,
    FlowGateAuthorizer,
    IntentError,
    RejectAllFlowGateAuthorizer,
    Tension,
    TensionDetector,
    TruthCatalog,
    TruthDefinition,
    hookimpl,
)
from converge_core.context.facts import AnyFact
from converge_core.context.state import Context
from tests.cli.desk import RULE, Desk, intent
from tests.core.stage import play

CEDAR = """\
permit(principal, action, resource);

@id("signals-need-a-human")
forbid(principal, action == Action::"promote", resource) when { principal.domains.contains("plant") }
unless { context.human_approval_present };
"""
PLANT = {**RULE, "domains": ["plant"]}
USES_CEDAR = {"flow": {"use": "cedar", "with": {"policies": "policy.cedar"}}}
POLICY = """\
key: thrift
kind: policy
success:
  - {id: few, cel: "size(signals) < 10"}
constraints:
  - {key: limit, value: "500"}
"""


class Twins:
    """Finds facts under one key that say the same."""

    def __init__(self, name: str) -> None:
        self.name = name

    def detect(self, fact: AnyFact, ctx: Context) -> list[Tension]:
        return [
            Tension(left=other.ref, right=fact.ref, reason="twins")
            for other in ctx.get(fact.key)
            if other is not fact and other.payload.body() == fact.payload.body()
        ]


class Acme:
    """A plugin of a third party."""

    @hookimpl
    def converge_register_truths(self, registry: TruthCatalog) -> None:
        registry.define(TruthDefinition.model_validate({"key": "acme.thrift", "kind": "policy", "success": [FEW]}))
        registry.define(TruthDefinition.model_validate({"key": "acme.bad", "kind": "job", "success": [BAD]}))

    @hookimpl
    def converge_register_authorizers(self, registry: Catalog[FlowGateAuthorizer]) -> None:
        registry.add("acme.closed", lambda config, site: RejectAllFlowGateAuthorizer("closed"))

    @hookimpl
    def converge_register_detectors(self, registry: Catalog[TensionDetector]) -> None:
        registry.add("acme.twins", lambda config, site: Twins(site.name))


FEW = {"id": "few", "cel": "size(signals) < 10"}
BAD = {"id": "bad", "cel": "size(sedes) < 10"}


@pytest.fixture(scope="module")
def offers() -> Offers:
    """What the built-in plugins and one of a third party offer."""
    return load_plugins({**BUILTIN, "acme": Acme}, installed=(), strict=True)


def composed(offers: Offers, folder: Path, **sections: object) -> Composition:
    return compose(parse_document(intent(**sections), "intent.yaml"), offers, folder)


# --- flow gates -------------------------------------------------------------------------------------------------------


def test_a_cedar_policy_asks_a_human_and_the_run_goes_on_with_the_answer(desk: Desk) -> None:
    desk.write("policy.cedar", CEDAR)
    paused = desk.finished(intent(suggestors=[PLANT], gates=USES_CEDAR), code=6)
    gate = paused["pending"][0]
    assert gate["code"] == "escalated"
    assert gate["reason"] == "promote: forbidden by signals-need-a-human without a human (cedar)"
    desk.call("approve", paused["run_id"], "--all", "--as", "bob")
    done = desk.json("resume", paused["run_id"])
    assert done["facts"] == 5, "two seeds, two signals, and the commitment"
    desk.call("replay", paused["run_id"])


def test_a_policy_that_was_changed_meanwhile_is_seen(desk: Desk) -> None:
    desk.write("policy.cedar", CEDAR)
    run = desk.finished(intent(suggestors=[PLANT], gates=USES_CEDAR), code=6)["run_id"]
    desk.write("policy.cedar", f"{CEDAR}// no more")
    assert "the gates changed: flow" in desk.call("resume", run, code=1).stderr
    assert "the gates changed: flow" in desk.call("replay", run).stderr


def test_the_entities_of_a_policy_are_a_file_too(desk: Desk) -> None:
    desk.write("policy.cedar", 'permit(principal in Group::"g", action, resource);')
    team = [{"uid": {"type": "Principal", "id": "rule"}, "attrs": {}, "parents": [{"type": "Group", "id": "g"}]}]
    team.append({"uid": {"type": "Group", "id": "g"}, "attrs": {}, "parents": []})
    desk.write("team.json", json.dumps(team))
    flow = {"use": "cedar", "with": {"policies": "policy.cedar", "entities": "team.json"}}
    done = desk.finished(intent(gates={"flow": flow}), code=4)
    assert done["stop_reason"]["reason"] == "commit_refused"
    assert done["facts"] == 0, "the inputs are of nobody in the group"


@pytest.mark.parametrize(("use", "code", "facts"), [("allow_all", 0, 5), ("reject_all", 4, 0)])
def test_all_or_nothing_may_pass(desk: Desk, use: str, code: int, facts: int) -> None:
    assert desk.finished(intent(gates={"flow": {"use": use}}), code=code)["facts"] == facts


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ({"use": "ceder"}, "gates.flow.use: unknown authorizer 'ceder'; did you mean 'cedar'?"),
        ({"use": "cedar"}, "gates.flow.with.policies: Field required"),
        ({"use": "cedar", "with": {"policies": "no.cedar"}}, "gates.flow.with: no.cedar: No such file or directory"),
        ({"use": "cedar", "with": {"policies": "latin.cedar"}}, "gates.flow.with: latin.cedar: is not UTF-8"),
        ({"use": "allow_all", "with": {"x": 1}}, "gates.flow.with.x: unknown field"),
    ],
)
def test_what_is_no_flow_gate_is_told_with_its_place(desk: Desk, flow: dict[str, Any], said: str) -> None:
    desk.write("latin.cedar", b"// caf\xe9")
    [line] = desk.refused(intent(gates={"flow": flow}))
    assert line.startswith("intent.yaml:1:")
    assert said in line


def test_a_policy_that_cannot_be_read_is_told_with_its_own_file_and_line(desk: Desk) -> None:
    desk.write("policy.cedar", "permit(principal, action, resource);\n\npermit(principal;\n")
    [line] = desk.refused(intent(gates=USES_CEDAR))
    assert line == "policy.cedar:3: unexpected token `;`"


def test_a_suggestor_has_the_authority_and_the_domains_that_the_intent_gives_it(offers: Offers, tmp_path: Path) -> None:
    plain, senior = RULE, {**RULE, "name": "senior", "authority": "sovereign", "domains": ["plant", "law"]}
    engine = composed(offers, tmp_path, suggestors=[plain, senior]).engine
    setup = engine.begin(composed(offers, tmp_path).context).setup
    assert setup.principal("rule").authority is AuthorityLevel.ADVISORY
    assert setup.principal("senior").authority is AuthorityLevel.SOVEREIGN
    assert setup.principal("senior").domains == ("plant", "law")


def test_a_level_that_there_is_not_is_refused(desk: Desk) -> None:
    [line] = desk.refused(intent(suggestors=[{**RULE, "authority": "royal"}]))
    assert "suggestors[0].authority: Input should be 'advisory', 'supervisory'" in line


def test_a_plugin_offers_authorizers(offers: Offers, tmp_path: Path) -> None:
    flow = composed(offers, tmp_path, gates={"flow": {"use": "acme.closed"}}).engine.flow
    assert isinstance(flow, RejectAllFlowGateAuthorizer)
    assert flow.reason == "closed"


# --- detectors --------------------------------------------------------------------------------------------------------


def test_a_detector_of_a_plugin_finds_tensions(offers: Offers, tmp_path: Path) -> None:
    seeds = {"key": "seeds", "id": "s:{n}", "items": [{"n": 1, "x": 1}]}
    same = [{**RULE, "name": name, "with": {**RULE["with"], "id": f"{name}:{{fact.id}}"}} for name in ("a", "b")]
    made = composed(offers, tmp_path, inputs=[seeds], suggestors=same, detectors=[{"use": "acme.twins"}])
    result = play(made.engine, made.context, made.intent).result
    (tension,) = result.context.get(Tension)
    assert (tension.payload.left, tension.payload.right) == ("signals/a:s:1", "signals/b:s:1")


def test_detectors_have_names_of_their_own(offers: Offers, tmp_path: Path) -> None:
    twice = [{"use": "acme.twins"}, {"use": "acme.twins"}]
    with pytest.raises(IntentError, match=r"detectors\[1\]\.name: a detector named 'acme\.twins' is registered"):
        composed(offers, tmp_path, detectors=twice)
    composed(offers, tmp_path, detectors=[{"use": "acme.twins"}, {"use": "acme.twins", "name": "others"}])
    with pytest.raises(IntentError, match=r"unknown detector 'acme\.twin'"):
        composed(offers, tmp_path, detectors=[{"use": "acme.twin"}])


# --- truths -----------------------------------------------------------------------------------------------------------


def test_a_truth_comes_from_a_file_with_its_criteria_and_constraints(desk: Desk) -> None:
    desk.write("thrift.yaml", POLICY)
    done = desk.finished(intent(truths=["thrift.yaml"]))
    assert done["stop_reason"] == {"reason": "criteria_met", "criteria": ["thrift/few"]}
    assert done["criteria"] == {"thrift/few": "met"}
    assert done["facts"] == 5, "two seeds, two signals, and the constraint"


def test_a_file_may_hold_several_truths(desk: Desk) -> None:
    desk.write(
        "all.yaml", json.dumps([{"key": "a", "kind": "job", "success": [FEW]}, {"key": "b", "kind": "invariant"}])
    )
    done = desk.finished(intent(truths=["all.yaml"]))
    assert list(done["criteria"]) == ["a/few"]


def test_a_truth_is_defined_in_the_intent_or_named_from_a_plugin(offers: Offers, tmp_path: Path) -> None:
    here = {"key": "here", "kind": "job", "success": [{"id": "seen", "required": False, "cel": "size(seeds) > 5"}]}
    made = composed(offers, tmp_path, truths=["acme.thrift", here], success=[{"id": "own", "cel": "true"}])
    result = play(made.engine, made.context, made.intent).result
    assert {o.criterion.id: o.result.result for o in result.criteria_outcomes} == {
        "own": "met",
        "acme.thrift/few": "met",
        "here/seen": "unmet",
    }
    assert [truth.key for truth in made.intent.truths] == ["acme.thrift", "here"]


def test_a_run_is_judged_by_the_truths_with_which_it_began(desk: Desk) -> None:
    file = desk.write("thrift.yaml", POLICY)
    run = desk.finished(intent(truths=["thrift.yaml"], budget={"cycles": 1}), code=5)["run_id"]
    file.unlink()
    desk.call("replay", run)
    done = desk.json("resume", run, "--budget", "cycles=9")
    assert done["criteria"] == {"thrift/few": "met"}


@pytest.mark.parametrize(
    ("truths", "said"),
    [
        (["acme"], "truths[0]: unknown truth 'acme'"),
        (["no.yaml"], "truths[0]: there is no file 'no.yaml'"),
        ([3], "truths[0]: a truth is its name, a YAML file, or a mapping that defines it"),
        ([{"key": "k"}], "truths[0].kind: Field required"),
        ([{"key": "k", "kind": "job", "sucess": []}], "truths[0].sucess: unknown field; did you mean 'success'?"),
        (
            [{"key": "k", "kind": "job", "success": [BAD]}],
            "truths[0].success[0].cel: unknown name 'sedes'",
        ),
        (
            [{"key": "k", "kind": "job", "packs": ["money"]}],
            "truths[0]: the truth 'k' needs the pack 'money', and no suggestor is of it",
        ),
        ([{"key": "k", "kind": "job"}, {"key": "k", "kind": "policy"}], "truths: 'k' stands there twice"),
        ([{"key": "k", "kind": "job", "constraints": [{"key": "limit", "value": "1"}]}], None),
    ],
)
def test_what_is_no_truth_is_told_with_its_place(desk: Desk, truths: list[Any], said: str | None) -> None:
    text = intent(truths=truths, constraints=[{"key": "limit", "value": "500"}])
    [line] = desk.refused(text)
    assert (said or "constraints: 'limit' stands there twice") in line


def test_a_fault_of_a_truth_is_told_with_the_file_in_which_it_stands(desk: Desk) -> None:
    desk.write("thrift.yaml", POLICY.replace("size(signals)", "size(sinals)") + "  - {key: tone}\n")
    [line] = desk.refused(intent(truths=["thrift.yaml"]))
    assert line.startswith("thrift.yaml:7:5: constraints[1].value: Field required")
    desk.write("thrift.yaml", POLICY.replace("size(signals)", "size(sinals)"))
    [line] = desk.refused(intent(truths=["thrift.yaml"]))
    assert line.startswith("thrift.yaml:4:20: success[0].cel: unknown name 'sinals'")


def test_a_fault_of_a_plugins_truth_names_the_truth(offers: Offers, tmp_path: Path) -> None:
    with pytest.raises(IntentError, match=r"truth 'acme\.bad': success\[0\]\.cel: unknown name 'sedes'"):
        composed(offers, tmp_path, truths=["acme.bad"])


def test_a_human_decides_at_the_approval_points_of_a_truth(desk: Desk) -> None:
    truth = {"key": "eyes", "kind": "policy", "approval_points": ["signals"]}
    paused = desk.finished(intent(truths=[truth]), code=6)
    assert [request["code"] for request in paused["pending"]] == ["gated_key", "gated_key"]
    desk.call("approve", paused["run_id"], "--all", "--as", "bob")
    assert desk.json("resume", paused["run_id"])["facts"] == 4


# --- success ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "code", "result"),
    [
        ({"cel": "size(seeds) == 2", "evidence": "seeds.map(s, 'seeds/' + s.id)"}, 0, "met"),
        ({"cel": "size(seeds) == 2", "evidence": "['seeds/s:9']"}, 8, "indeterminate"),
        ({"cel": "size(seeds) == 3"}, 8, "unmet"),
        ({"cel": "size(seeds) == 3", "required": False}, 0, "unmet"),
        ({"cel": "size(seeds) == 3", "blocked_when": "size(seeds) == 2", "approval_ref": "legal"}, 6, "blocked"),
        ({"cel": "size(seeds) == 2", "blocked_when": "size(seeds) == 2"}, 0, "met"),
    ],
)
def test_a_criterion_comes_to_an_exit_code(desk: Desk, criterion: dict[str, Any], code: int, result: str) -> None:
    done = desk.finished(intent(success=[{"id": "c", **criterion}]), code=code)
    assert done["criteria"] == {"c": result}


def test_what_only_a_human_can_bring_about_says_where_to_ask_and_goes_on_when_they_have_spoken(desk: Desk) -> None:
    criterion = {"id": "c", "cel": "size(votes) > 0", "blocked_when": "size(votes) == 0", "approval_ref": "legal"}
    done = desk.finished(intent(success=[criterion]), code=6)
    assert done["stop_reason"] == {
        "reason": "human_intervention_required",
        "criteria": ["c"],
        "approval_refs": ["legal"],
    }
    run = done["run_id"]
    desk.call("submit", run, "--key", "votes", "--id", "legal", "--text", "yes", "--source", "letter")
    assert desk.json("resume", run)["stop_reason"] == {"reason": "criteria_met", "criteria": ["c"]}


def test_a_run_may_stop_when_its_criteria_are_met(desk: Desk) -> None:
    loop = {**RULE, "with": {**RULE["with"], "for_each": "signals", "id": "n:{fact.id}"}}
    first = {"id": "early", "cel": "size(signals) >= 4"}
    early = {"id": "t", "stop_when": "criteria_met"}
    done = desk.finished(intent(intent=early, suggestors=[RULE, {**loop, "name": "loop"}], success=[first]))
    assert done["stop_reason"]["reason"] == "criteria_met"
    assert done["cycles"] == 2


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ({"cel": "true", "evidence": "sedes"}, "success[0].evidence: unknown name 'sedes'"),
        ({"cel": "true", "blocked_when": "1 +"}, "success[0].blocked_when: line 1, column 4"),
        ({"cel": "1 +"}, "success[0].cel: line 1, column 4"),
        ({"use": "cel", "with": {"expression": "true"}, "evidence": "[]"}, "belong to `cel`, not to `use`"),
        ({"cel": "true", "approval_ref": "x"}, "`approval_ref` belongs to `blocked_when`"),
    ],
)
def test_a_fault_of_a_criterion_is_told_where_it_stands(desk: Desk, criterion: dict[str, Any], said: str) -> None:
    [line] = desk.refused(intent(success=[{"id": "c", **criterion}]))
    assert said in line


# --- the intent -------------------------------------------------------------------------------------------------------


def test_a_scope_has_values_and_windows_of_time(desk: Desk) -> None:
    rows = [{"n": 1, "day": "2026-10-31"}, {"n": 2, "day": "2026-11-01"}, {"n": 3}]
    scope = [{"day": {"from": "2026-10-01", "to": "2026-10-31"}}]
    done = desk.finished(intent(inputs=[{"key": "seeds", "id": "s:{n}", "items": rows}], scope=scope))
    assert done["facts"] == 4, "two seeds are in scope, and a signal for each"


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"from": "October"}, "scope[0].day: 'October' is no date"),
        ({}, "scope[0].day: a window of time needs a beginning or an end"),
        ({"from": "2026-10-02", "to": "2026-10-01"}, "scope[0].day: a window of time cannot end"),
        ({"since": "2026-10-02"}, "scope[0].day.since: unknown field"),
    ],
)
def test_what_is_no_window_is_told_with_its_place(desk: Desk, window: dict[str, str], said: str) -> None:
    [line] = desk.refused(intent(scope=[{"day": window}]))
    assert said in line


def test_hard_constraints_are_facts_that_survive_into_another_process(desk: Desk) -> None:
    constraints = [{"key": "limit", "value": "500"}, {"key": "tone", "value": "kind", "severity": "soft"}]
    run = desk.finished(intent(constraints=constraints, gates={"hitl": {"keys": ["signals"]}}), code=6)["run_id"]
    assert "constraints/intent:limit" in desk.process("show", run).stdout
    assert json.loads(desk.process("approve", run, "--all", "--as", "bob", "--json").stdout.splitlines()[0])["accepted"]
    assert json.loads(desk.process("resume", run, "--json").stdout)["facts"] == 5


def test_faults_of_the_intent_as_a_whole_are_told_with_their_places(desk: Desk) -> None:
    lines = desk.refused(
        intent(
            intent={"id": "t", "stop_when": "criteria_met"},
            constraints=[{"key": "limit", "value": "1"}, {"key": "limit", "value": "2"}],
            packs=["own", "own"],
            suggestors=[{**RULE, "pack": "own"}],
        )
    )
    said = [line.partition(" ")[2] for line in lines]
    assert sorted(said) == [
        "constraints: 'limit' stands there twice",
        "intent.stop_when: criteria_met needs a required success criterion",
        "packs: 'own' stands there twice",
    ]
