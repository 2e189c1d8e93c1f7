"""Faults of an intent: each is found before anything is written, with its place, and all of them at once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.cli.desk import SEED, Desk, intent

HEAD = """\
intent: {id: t}
inputs:
  - {key: seeds, id: "s:{n}", items: [{n: 1}]}
suggestors:
  - use: rules.cel
    name: rule
    with: {for_each: seeds, key: signals, id: "x:{fact.id}", payload: {n: "fact.n"}}
"""
"""A valid intent of seven lines: what a test adds begins on line 8."""

SCORE = "  - use: score.weighted\n    name: score\n    with: {for_each: seeds, criteria: [%s]}\n"
CHECKS = "gates: {validation: {require: [%s]}}\n"
ACCEPT = 'invariants:\n  - {name: i, class: acceptance, cel: "%s"}\n'


def test_the_intent_that_the_tests_break_is_valid(desk: Desk) -> None:
    desk.run(HEAD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("intent: [a\nb: {", "2:2: not YAML: did not find expected ',' or ']'"),
        ("intent:\n\tid: a\n", "2:1: not YAML: found character that cannot start any token"),
        ("- a", "1:1: an intent is a mapping of sections, such as `intent:`"),
        ("", "1:1: an intent is a mapping of sections, such as `intent:`"),
        ("intent: {id: t}\nintent: {id: u}\n", "2:1: intent: duplicate key, first given on line 1"),
        ("intent: {id: t}\n---\nintent: {id: u}\n", "2:1: a second document starts here; a file holds one"),
        ("a: &a [*a]\n", "1:8: a[0]: the alias *a repeats itself"),
        (f"a: {'[' * 500}{']' * 500}\n", "1:103: nested more than 100 levels deep"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(desk: Desk, text: str, said: str) -> None:
    [line] = desk.refused(text)
    assert line.startswith(f"intent.yaml:{said}")


def test_a_document_that_is_no_text_is_refused_with_its_place(desk: Desk) -> None:
    desk.write("latin.yaml", b"intent: {id: caf\xe9}\n")
    assert desk.call("run", "latin.yaml", code=3).stderr == "latin.yaml:1:17: not UTF-8: byte 0xe9\n"


def test_aliases_that_multiply_are_refused_before_they_do(desk: Desk) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{name}: &{name} [{','.join([f'*{above}'] * 10)}]" for above, name in pairwise("abcdefghij")]
    assert desk.refused("\n".join(lines)) == ["intent.yaml:5:29: aliases repeat more than 100,000 values"]


def test_a_file_of_100_megabytes_is_refused_unread(desk: Desk) -> None:
    path = desk.write("huge.yaml", "")
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    said = desk.call("run", "huge.yaml", code=3).stderr
    assert said == "huge.yaml: too large: at most 10,485,760 bytes are read\n"


@pytest.mark.parametrize(("name", "said"), [("no.yaml", "No such file or directory"), (".", "Is a directory")])
def test_an_intent_that_cannot_be_read_is_refused(desk: Desk, name: str, said: str) -> None:
    assert desk.call("run", name, code=3).stderr == f"{name}: {said}\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # the shape
        ("{id: t}", "{id: 3}", "1:14: intent.id: Input should be a valid string"),
        ("{id: t}", "{}", "1:9: intent.id: Field required"),
        ("name: rule", "nam: rule", "6:5: suggestors[0].nam: unknown field; did you mean 'name'?"),
        ("{key: seeds", "{key: sedes", "3:11: inputs[0].key: Input should be 'seeds', 'hypotheses'"),
        ("items: [{n: 1}]", "items: [1]", "3:39: inputs[0].items[0]: expected a mapping"),
        ("items: [{n: 1}]", "items: 1", "3:38: inputs[0].items: expected a list"),
        ("items: [{n: 1}]", "items: [{n: 1}], file: a.csv", "3:5: inputs[0]: give either `file` or `items`"),
        ("items: [{n: 1}]", "confidence: 2, items: []", "3:43: inputs[0].confidence: Input should be less than or"),
        # the inputs
        ("items: [{n: 1}]", "file: no.csv", "3:37: inputs[0].file: there is no file 'no.csv'"),
        ("items:", "payload: dta, items:", "3:40: inputs[0].payload: unknown payload 'dta'; did you mean 'data'?"),
        ("items:", "payload: zz, items:", "3:40: inputs[0].payload: unknown payload 'zz'; known: data, text, "),
        ("s:{n}", "s:{m}", "3:22: inputs[0].id: no row has a column 'm'; there are n"),
        ("s:{n}", "s:{n", "3:22: inputs[0].id: a brace has no partner"),
        ("s:{n}", "", "3:22: inputs[0].id: an id cannot be empty"),
        ("{n: 1}", "{n: 1.5}", "3:39: inputs[0].items[0]: the id needs a text or a whole number in the column 'n'"),
        ("{n: 1}", "{n: 1}, {m: 1}", "3:47: inputs[0].items[1]: the id needs the column 'n', which this row does not"),
        # the suggestors
        ("rules.cel", "rules.sel", "5:10: suggestors[0].use: unknown suggestor 'rules.sel'; did you mean 'rules.cel'?"),
        ("rules.cel", "zz", "5:10: suggestors[0].use: unknown suggestor 'zz'; known: rules.cel, score.weighted, "),
        ("name: rule", "name: input", "6:11: suggestors[0].name: the name 'input' is reserved"),
        ("for_each", "for_ech", "7:12: suggestors[0].with.for_ech: unknown field; did you mean 'for_each'?"),
        ('"fact.n"', '"fact.n +* 2"', "7:75: suggestors[0].with.payload.n: line 1, column 9: unexpected '*'"),
        ('"fact.n"', '"fakt.n"', "7:75: suggestors[0].with.payload.n: unknown name 'fakt'"),
        ("x:{fact.id}", "x:{fact.id", "7:47: suggestors[0].with.id: line 1, column"),
    ],
)
def test_a_fault_is_told_with_its_place(desk: Desk, old: str, new: str, said: str) -> None:
    assert old in HEAD
    lines = desk.refused(HEAD.replace(old, new))
    assert any(line.startswith(f"intent.yaml:{said}") for line in lines), lines


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("sucess: []\n", "8:1: sucess: unknown field; did you mean 'success' or 'suggestors'?"),
        ("zz: 1\n", "8:1: zz: unknown field"),
        ("budget: {cycle: 1}\n", "8:10: budget.cycle: unknown field; did you mean 'cycles'?"),
        ("gates: {hitl: {timeout: {second: 1}}}\n", "8:26: gates.hitl.timeout.second: unknown field; did you mean"),
        ("budget: {cycles: many}\n", "8:18: budget.cycles: Input should be a valid integer"),
        ("scope: [{product: 3}]\n", "8:19: scope[0].product: Input should be a valid string"),
        ("packs: 3\n", "8:8: packs: expected a list"),
        ("packs: [nobody]\n", "8:9: packs[0]: no suggestor is of the pack 'nobody'"),
        ("gates: 3\n", "8:8: gates: expected a mapping"),
        ("gates: {hitl: {suggestors: [rul]}}\n", "8:29: gates.hitl.suggestors[0]: no suggestor 'rul'; did you mean"),
        (CHECKS % "has_evidense", "8:32: gates.validation.require[0]: unknown check 'has_evidense'; did you mean"),
        (CHECKS % "has_evidence, has_evidence", "8:46: gates.validation.require[1]: the check 'has_evidence' stands"),
        (ACCEPT % "size(seeds) >", "9:39: invariants[0].cel: line 1, column 14: unexpected end"),
        (ACCEPT % "size(seedz) > 1", "9:39: invariants[0].cel: unknown name 'seedz'"),
        ("invariants: [{name: i, class: hard, cel: 'true'}]\n", "8:31: invariants[0].class: Input should be"),
        ("invariants: [{name: i, class: semantic}]\n", "8:14: invariants[0]: give either `cel` or `use`"),
        ("invariants: [{name: i, class: semantic, use: sel}]\n", "8:46: invariants[0].use: unknown invariant 'sel'"),
        ("success: [{id: a, cel: 'x)'}]\n", "8:24: success[0].cel: "),
        ("success: [{id: a, cel: 'true'}, {id: a, cel: 'true'}]\n", "8:38: success[1].id: a criterion 'a' stands"),
        (
            SCORE % "{name: a, field: n, weight: 0.5}, {name: b, field: n, weight: 0.4}",
            "10:39: suggestors[1].with.crit",
        ),
        ("  - {use: rules.cel, name: rule}\n", "8:5: suggestors[1].with"),
    ],
)
def test_a_fault_of_what_is_added_is_told_with_its_place(desk: Desk, more: str, said: str) -> None:
    lines = desk.refused(HEAD + more)
    assert any(line.startswith(f"intent.yaml:{said}") for line in lines), lines


def test_weights_that_do_not_sum_to_1_are_told_with_their_sum(desk: Desk) -> None:
    [line] = desk.refused(HEAD + SCORE % "{name: a, field: n, weight: 0.5}, {name: b, field: n, weight: 0.4}")
    assert line.endswith("suggestors[1].with.criteria: the weights sum to 0.9, not to 1")


def test_two_suggestors_of_one_name_are_refused(desk: Desk) -> None:
    again = HEAD.partition("suggestors:\n")[2]
    assert desk.refused(HEAD + again) == [
        "intent.yaml:9:11: suggestors[1].name: a suggestor named 'rule' is registered already"
    ]


def test_two_invariants_of_one_name_are_refused(desk: Desk) -> None:
    section = {"name": "i", "class": "semantic", "cel": "true"}
    [line] = desk.refused(intent(invariants=[section, section]))
    assert line.endswith("invariants[1].name: an invariant named 'i' is registered already")


def test_an_intent_without_suggestors_is_refused(desk: Desk) -> None:
    [line] = desk.refused(intent(suggestors=[]))
    assert line.endswith("suggestors: at least 1 expected, found 0")


def test_a_list_is_not_too_short_because_its_members_are_at_fault(desk: Desk) -> None:
    assert desk.refused(HEAD.replace("name: rule", "nam: rule")) == [
        "intent.yaml:6:5: suggestors[0].nam: unknown field; did you mean 'name'?"
    ]


def test_the_column_of_an_expression_of_several_lines_counts_in_its_own_lines(desk: Desk) -> None:
    folded = (
        "invariants:\n  - name: i\n    class: semantic\n    cel: |\n      size(seeds) > 1 &&\n      size(seeds) >\n"
    )
    assert desk.refused(HEAD + folded) == ["intent.yaml:11:10: invariants[0].cel: line 3, column 1: unexpected end"]


def test_faults_of_every_sort_are_told_at_once_in_the_order_of_the_file(desk: Desk) -> None:
    text = HEAD.replace("items: [{n: 1}]", "file: no.csv").replace("name: rule", "nam: rule")
    text += "  - {use: rules.sel}\nsucess: []\n" + ACCEPT % "size(" + CHECKS % "nothing"
    assert [line.partition(" ")[0] for line in desk.refused(text)] == [
        "intent.yaml:3:37:",
        "intent.yaml:6:5:",
        "intent.yaml:8:11:",
        "intent.yaml:9:1:",
        "intent.yaml:11:39:",
        "intent.yaml:12:32:",
    ]


def test_faults_of_the_files_that_an_intent_names_come_after_its_own(desk: Desk) -> None:
    desk.write("few.csv", "n,m\n1,2\n3\n4,5,6\n")
    lines = desk.refused(HEAD.replace("items: [{n: 1}]", "file: few.csv") + "packs: 3\n")
    assert lines == [
        "intent.yaml:8:8: packs: expected a list",
        "few.csv:3: the header names 2 columns, this row has 1",
        "few.csv:4: the header names 2 columns, this row has 3",
    ]


def test_a_fault_does_not_reach_the_terminal_raw(desk: Desk) -> None:
    [line] = desk.refused(intent(suggestors=[{"use": "\x1b[31mred\x9b2J"}]))
    assert line.isprintable()


def test_a_bad_intent_is_refused_with_json_too(desk: Desk) -> None:
    assert desk.refused("- a", "--json") == ["intent.yaml:1:1: an intent is a mapping of sections, such as `intent:`"]


def test_a_bad_intent_is_refused_by_a_dry_run_too(desk: Desk) -> None:
    assert desk.refused("- a", "--dry-run") == [
        "intent.yaml:1:1: an intent is a mapping of sections, such as `intent:`"
    ]


def test_a_gate_may_ask_for_what_comes_in(desk: Desk) -> None:
    finished = desk.finished(intent(gates={"hitl": {"suggestors": ["input"]}}), code=6)
    assert len(finished["pending"]) == len(SEED["items"])


@pytest.mark.parametrize(
    ("callable", "said"),
    [
        ("os:system", "'os' is neither in the intent's folder nor in an installed package"),
        ("../outside:f", "'../outside:f' is not of the form module:callable"),
        ("nothing:f", "'nothing' is neither in the intent's folder nor in an installed package"),
        ("linked:f", "'linked' leads out of the intent's folder"),
        ("own:g", "'own' has no 'g'"),
        ("own:NUMBER", "'own:NUMBER' is a int, which cannot be called"),
        ("broken:f", "broken.py cannot be imported: SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("leaves:f", "leaves.py cannot be imported: SystemExit: 3"),
    ],
)
def test_code_that_may_not_or_cannot_be_loaded_is_refused_with_its_place(desk: Desk, callable: str, said: str) -> None:
    desk.write("own.py", "NUMBER = 3\ndef f(ctx): return []\n")
    desk.write("broken.py", "def f(ctx:\n")
    desk.write("leaves.py", "raise SystemExit(3)\n")
    outside = desk.folder.with_name(f"{desk.folder.name}-outside.py")
    outside.write_text("def f(ctx): return []\n", encoding="utf-8")
    (desk.folder / "linked.py").symlink_to(outside)
    section = f"  - {{use: python, name: own, with: {{callable: '{callable}'}}}}\n"
    assert desk.refused(HEAD + section) == [f"intent.yaml:8:47: suggestors[1].with.callable: {said}"]
