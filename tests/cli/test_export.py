"""``converge export``: a run as JSON lines, as a flowchart, as a page."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_cli.session import Session
from converge_core import Budget, ContextKey, Engine, HitlPolicy, StoredEntry, TextPayload
from tests.cli.audited import Audited
from tests.cli.storied import RUN, SCRIPT, SOURCE, storied
from tests.core.stage import HYPOTHESES, Says, edit, engine_of, finish, play, seeded, text
from tests.fakes.approver import FakeApprover


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return storied(tmp_path_factory.mktemp("story"))


def stored(audited: Audited, run_id: str = RUN) -> list[StoredEntry]:
    ledger = SqliteLedger(audited.folder / "ledger.db", read_only=True)
    entries = finish(ledger.read(run_id))
    finish(ledger.close())
    return list(entries)


def recorded(folder: Path, engine: Engine, *ids: str, **answers: object) -> Audited:
    """The command line beside a ledger with the run of an engine on these inputs."""
    ledger = SqliteLedger(folder / "ledger.db")
    play(engine, seeded(*ids), ledger=ledger, **answers)  # type: ignore[arg-type]  # an approver or none
    finish(ledger.close())
    return Audited(folder)


# --- jsonl ----------------------------------------------------------------------------------------------------------


def test_jsonl_is_a_header_and_a_line_for_each_entry_with_its_body_exactly(story: Audited) -> None:
    header, *lines = map(json.loads, story.out("export", RUN).split("\n")[:-1])
    head = story.json("verify", RUN, "--json")["ledger_head"]
    assert (header["format"], header["run_id"], header["head"]) == ("converge-run/1", RUN, head)
    assert [
        StoredEntry(
            line["seq"],
            line["kind"],
            line["body"],
            bytes.fromhex(line["leaf"]),
            bytes.fromhex(line["root"]) if "root" in line else None,
            line["recorded_at"],
        )
        for line in lines
    ] == stored(story)


def test_a_file_has_what_stdout_has(story: Audited, tmp_path: Path) -> None:
    assert story.out("export", RUN, "--format", "jsonl", "--output", tmp_path / "run.jsonl") == ""
    assert (tmp_path / "run.jsonl").read_text("utf-8") == story.out("export", RUN)


def test_json_describes_the_file_that_was_written(story: Audited, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    told = story.json("export", RUN, "--format", "html", "--output", path, "--json")
    assert (told["run_id"], told["format"], told["output"]) == (RUN, "html", str(path))
    assert told["bytes"] == path.stat().st_size


def test_json_without_a_file_to_describe_is_wrong_usage(story: Audited) -> None:
    assert story.call("export", RUN, "--json").exit_code == 2


def test_a_run_that_is_not_intact_is_not_exported(tmp_path: Path) -> None:
    audited = Audited(tmp_path)
    audited.holds([entry for entry in play(Engine(), seeded("a")).log if entry.kind != "fact_promoted"], "run")
    assert "entry 2" in audited.refused("export", "run", "--output", tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize("form", ["jsonl", "mermaid", "html"])
def test_a_run_is_exported_without_any_plugin(story: Audited, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Session) -> None:
        raise AssertionError("plugins were loaded")

    monkeypatch.setattr(Session, "offers", property(fail))
    assert story.out("export", RUN, "--format", form)


# --- mermaid --------------------------------------------------------------------------------------------------------


def test_mermaid_has_a_node_for_each_fact_and_an_edge_for_each_citation(story: Audited) -> None:
    chart = story.out("export", RUN, "--format", "mermaid")
    assert len(re.findall(r"^  f\d+[\[(]", chart, re.M)) == 6
    assert len(re.findall(r"^  [fs]\d+ --> f\d+$", chart, re.M)) == 5
    assert len(re.findall(r"^  s\d+\[/", chart, re.M)) == 1


def test_no_text_of_a_run_ends_its_label(story: Audited) -> None:
    chart = story.out("export", RUN, "--format", "mermaid")
    labels = re.findall(r'^  \w+\W{1,2}"([^"]*)"\W{1,2}(?::::\w+)?$', chart, re.M)
    assert len(labels) == 7
    assert all("<" not in label.replace("<br/>", "") and "`" not in label for label in labels)
    assert "#60;script#62;alert(1)#60;/script#62;" in chart
    assert "https://example.com/#63;a#61;1#38;b#61;#34;#62;#60;script#62;" in chart


def test_more_lines_than_mermaid_draws_are_told_of_on_stderr(tmp_path: Path) -> None:
    ids = [f"s{number}" for number in range(501)]
    all_of_them = text("x", key=HYPOTHESES, evidence=[f"seeds/{id}" for id in ids])
    audited = recorded(tmp_path, engine_of(Says("reads", all_of_them, reads=[ContextKey.SEEDS])), *ids)
    assert "501 lines" in audited.call("export", "run", "--format", "mermaid").stderr


# --- html -----------------------------------------------------------------------------------------------------------

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """A page as a browser takes it: every element has to be closed where it was opened."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.words.setdefault(self._open[-1], []).append(data)

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]

    def count(self, tag: str, class_: str | None = None) -> int:
        return sum(
            found == tag and (class_ is None or class_ in str(attributes.get("class", "")).split())
            for found, attributes in self.elements
        )

    @property
    def text(self) -> str:
        return " ".join(word for tag, words in self.words.items() if tag not in ("style", "script") for word in words)


def html_of(audited: Audited, run_id: str = RUN) -> str:
    return audited.out("export", run_id, "--format", "html")


@pytest.fixture(scope="module")
def source(story: Audited) -> str:
    return html_of(story)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_no_text_of_a_run_becomes_markup(page: Page) -> None:
    assert page.count("script") == 1
    assert page.count("b") == 0
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_text_of_a_run_is_shown_as_it_is(page: Page) -> None:
    assert page.text.count(SCRIPT) >= 6
    assert "seeds/<b>bold</b>" in page.text
    assert SOURCE in page.text
    assert f"Tell a {SCRIPT} story" in page.words["h1"]


def test_control_characters_do_not_reach_the_page(source: str) -> None:
    assert [c for c in source if not c.isprintable() and c != "\n"] == []


def test_the_page_asks_nothing_of_the_network(page: Page) -> None:
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert page.attributes("src") == []
    assert not {"link", "img", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert "url(" not in "".join(page.words["style"])
    assert "@import" not in "".join(page.words["style"])


def test_the_policy_of_the_page_lets_its_own_script_and_style_through_and_nothing_else(page: Page) -> None:
    [policy] = [
        str(attributes["content"]) for _, attributes in page.elements if "Content-Security" in str(attributes.values())
    ]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for tag in ("script", "style"):
        digest = hashlib.sha256("".join(page.words[tag]).encode()).digest()
        assert allowed[f"{tag}-src"] == f"'sha256-{b64encode(digest).decode()}'"
    assert page.attributes("style") == []


def test_every_link_leads_somewhere(page: Page) -> None:
    places = page.attributes("id")
    assert len(places) == len(set(places))
    assert {link.removeprefix("#") for link in page.attributes("href")} <= set(places)


def test_the_page_tells_head_root_and_standing(page: Page, story: Audited) -> None:
    told = story.json("show", RUN, "--json")
    assert told["ledger_head"] in page.text
    assert told["merkle_root"] in page.text
    assert "converged" in page.text


def test_every_fact_has_its_place_under_its_key(page: Page) -> None:
    assert page.count("details", "fact") == 6
    assert page.attributes("data-key") == ["seeds", "hypotheses", "diagnostic", "strategies"]


def test_every_cycle_has_its_place_in_the_timeline(page: Page) -> None:
    assert page.count("details", "cycle") == 4
    assert "human:ann approved " in page.text
    assert "RuntimeError: <script>" in page.text


def test_gates_tell_who_decided_and_why(page: Page) -> None:
    assert page.count("span", "approve") == 1
    assert page.count("span", "reject") == 1
    assert f"because {SCRIPT}" in page.words["small"]
    assert "everything under this key needs a human" in page.text


def test_what_was_turned_away_is_listed_with_the_reason(page: Page) -> None:
    assert {"blank text", "duplicate of a fact", "rejected by human"} <= set(page.words["td"])


def test_budgets_are_drawn_against_their_limits(page: Page) -> None:
    assert {"1,000", "of 5,000", "$0.0025", "no limit"} <= {*page.words["strong"], *page.words["span"]}
    assert "cycle 1: 1,000 tokens" in page.words["title"]


def test_the_picture_counts_the_citations_between_boxes(page: Page) -> None:
    assert "hypotheses by weigh cites seeds by input: 2 times" in page.words["title"]
    assert "strategies by choose: 1 facts, 1 decided by people" in page.words["title"]


def test_a_gate_that_is_open_is_shown_open(tmp_path: Path) -> None:
    engine = engine_of(Says("one", text("x", key=HYPOTHESES)), hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)))
    page = Page(html_of(recorded(tmp_path, engine), "run"))
    assert "waiting" in page.words["span"]
    assert page.count("span", "open") == 1


def test_an_edit_is_shown_beside_what_was_proposed(tmp_path: Path) -> None:
    engine = engine_of(Says("one", text("x", key=HYPOTHESES)), hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)))
    answer = FakeApprover({"hypotheses/x": edit(TextPayload(text="better"))})
    page = Page(html_of(recorded(tmp_path, engine, approver=answer), "run"))
    assert "edited to: better" in page.words["small"]


def test_a_run_that_has_only_just_been_created_has_a_page(tmp_path: Path) -> None:
    audited = Audited(tmp_path)
    audited.holds([], "run")
    page = Page(html_of(audited, "run"))
    assert page.words["h1"] == ["run"]
    assert "open" in page.words["span"]


def test_a_page_of_a_thousand_facts_has_them_all_and_stays_small(tmp_path: Path) -> None:
    ids = [f"s{number}" for number in range(1_200)]
    conclusions = [
        text(f"c{number}", key=HYPOTHESES, evidence=["seeds/s0", f"seeds/{id}"]) for number, id in enumerate(ids)
    ]
    engine = engine_of(
        Says("reads", *conclusions, reads=[ContextKey.SEEDS]),
        Says(
            "sums",
            text("sum", key=ContextKey.PROPOSALS, evidence=[f"hypotheses/c{n}" for n in range(1_200)]),
            reads=[HYPOTHESES],
        ),
        budget=Budget(max_facts=3_000),
    )
    source = html_of(recorded(tmp_path, engine, *ids), "run")
    page = Page(source)
    assert page.count("details", "fact") == 2_401
    assert len(source) < 2_500 * page.count("details", "fact")
    assert page.count("g", "box") == 3


def test_more_proposers_than_there_is_room_for_are_drawn_by_key(tmp_path: Path) -> None:
    crowd = [Says(f"suggestor-{number}", text(f"x{number}", key=HYPOTHESES)) for number in range(40)]
    page = Page(html_of(recorded(tmp_path, engine_of(*crowd), "a"), "run"))
    assert page.count("g", "box") == 2
