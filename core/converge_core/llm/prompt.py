"""The compact prompt contract: what one machine tells another to do, on five lines of EDN.

    {:r :proposer
     :o :extract-competitors
     :c {:signals [{:id "s1" :c "Revenue +15%"}]}
     :k #{:no-invent :cite-sources}
     :out {:emit :proposed-fact :key :competitors :format :json}}

There is one way to write a prompt, and the reader takes that way and no other: what `AgentPrompt.parse` accepts,
`AgentPrompt.serialize` writes again to the byte. A fact's text is quoted, so nothing in it can end its string and speak
for the prompt.

The form does not carry everything. Read back, the spaces of an objective are dashes, and dashes they stay. A key
without facts is not mentioned. Constraints are a set, written in the order of their declaration. Of a fact there are
the id and, when it is a text, the text. An objective that is empty or longer than a line has no form, so no prompt is
made of it. The plain form is for people, shows texts as they are, and is not read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self, TypeVar

from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, TextPayload
from converge_core.context.state import Context
from converge_core.errors import ConvergeError

W = TypeVar("W", bound=StrEnum)

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPING = str.maketrans(_ESCAPES)
_ESCAPED = {escape: char for char, escape in _ESCAPES.items()}
_ESCAPE = re.compile(r"\\.")
_QUOTED = re.compile(r'[^"\\\n\r\t]*(?:\\["\\nrt][^"\\\n\r\t]*)*')
_OBJECTIVE = re.compile(r"[^ \n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_KEYWORD = re.compile(r":[a-z]+(?:[-_][a-z]+)*")
_FOUND_LENGTH = 20


class AgentRole(StrEnum):
    """What the reader of the prompt is to be."""

    PROPOSER = "proposer"
    VALIDATOR = "validator"
    SYNTHESIZER = "synthesizer"
    ANALYZER = "analyzer"


class Constraint(StrEnum):
    """What the reader must hold to."""

    NO_INVENT = "no-invent"
    NO_CONTRADICT = "no-contradict"
    NO_HALLUCINATE = "no-hallucinate"
    CITE_SOURCES = "cite-sources"


class OutputKind(StrEnum):
    """What sort of statement the answer is."""

    PROPOSED_FACT = "proposed-fact"
    FACT = "fact"
    ANALYSIS = "analysis"
    EVALUATION = "evaluation"
    PLAN = "plan"
    CLASSIFICATION = "classification"
    DRAFT = "draft"
    REASONING = "reasoning"


class OutputFormat(StrEnum):
    """The notation of the answer."""

    EDN = "edn"
    JSON = "json"
    XML = "xml"
    PLAIN = "plain"


class PromptFormat(StrEnum):
    """How a prompt is written: EDN for machines, plain text for people."""

    EDN = "edn"
    PLAIN = "plain"


class PromptSyntaxError(ConvergeError, ValueError):
    """A text is not a prompt. ``position`` counts characters from 0."""

    def __init__(self, position: int, expected: str, found: str) -> None:
        super().__init__(position, expected, found)
        self.position, self.expected, self.found = position, expected, found

    def __str__(self) -> str:
        found = repr(self.found) if self.found else "the end"
        return f"prompt, position {self.position}: expected {self.expected}, found {found}"


class PromptFact(NamedTuple):
    """A fact as a prompt shows it."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class PromptContext:
    """The facts that the reader is given, by key, in the order in which the keys are listed.

    Keys without facts are left out. Raises ValueError for a key that is listed twice.
    """

    sections: tuple[tuple[ContextKey, tuple[PromptFact, ...]], ...] = ()

    def __post_init__(self) -> None:
        keys = [key for key, _ in self.sections]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a prompt lists each key once, not {', '.join(keys)}")
        object.__setattr__(self, "sections", tuple((key, tuple(facts)) for key, facts in self.sections if facts))

    @classmethod
    def from_context(cls, ctx: Context, keys: Iterable[ContextKey]) -> Self:
        """Take the facts of some keys from a context. Facts that are not texts come with an empty one."""
        return cls(tuple((key, tuple(PromptFact(f.id, _text(f.payload)) for f in ctx.get(key))) for key in keys))


@dataclass(frozen=True, slots=True)
class OutputContract:
    """What the answer is, the key it is for, and its notation, where one is asked for."""

    emit: OutputKind
    key: ContextKey
    format: OutputFormat | None = None


@dataclass(frozen=True, slots=True)
class AgentPrompt:
    """A task for a language model. Raises ValueError for an objective that is not one non-empty line."""

    role: AgentRole
    objective: str
    context: PromptContext
    output: OutputContract
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if self.objective.splitlines() != [self.objective]:
            raise ValueError(f"an objective is one line of text, not {self.objective[:80]!r}")
        object.__setattr__(self, "constraints", tuple(item for item in Constraint if item in self.constraints))

    def serialize(self, format: PromptFormat = PromptFormat.EDN) -> str:
        """Write the prompt. EDN has no newline at its end, the plain form has one."""
        return _edn(self) if format is PromptFormat.EDN else _plain(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a prompt in EDN, exactly as `serialize` writes it. Raises PromptSyntaxError, a ValueError."""
        read = _Reader(text)
        read.expect("{:r ")
        role = read.word(AgentRole)
        read.expect("\n :o :")
        objective = read.match(_OBJECTIVE, "an objective in one word")
        read.expect("\n :c {")
        context = PromptContext(read.sections())
        read.expect("}\n :k #{")
        constraints = read.constraints()
        read.expect("}\n :out {:emit ")
        emit = read.word(OutputKind)
        read.expect(" :key ")
        key = read.word(ContextKey)
        format = read.word(OutputFormat) if read.skip(" :format ") else None
        read.expect("}}")
        read.end()
        return cls(role, objective, context, OutputContract(emit, key, format), constraints)


def _text(payload: FactPayload) -> str:
    return payload.text if isinstance(payload, TextPayload) else ""


def _keyword(word: StrEnum) -> str:
    return f":{word.value}"


def _quote(text: str) -> str:
    return f'"{text.translate(_ESCAPING)}"'


def _edn(prompt: AgentPrompt) -> str:
    sections = (
        f"{_keyword(key)} [{' '.join(f'{{:id {_quote(fact.id)} :c {_quote(fact.text)}}}' for fact in facts)}]"
        for key, facts in prompt.context.sections
    )
    output = prompt.output
    notation = "" if output.format is None else f" :format {_keyword(output.format)}"
    return (
        f"{{:r {_keyword(prompt.role)}\n"
        f" :o :{prompt.objective.replace(' ', '-')}\n"
        f" :c {{{' '.join(sections)}}}\n"
        f" :k #{{{' '.join(map(_keyword, prompt.constraints))}}}\n"
        f" :out {{:emit {_keyword(output.emit)} :key {_keyword(output.key)}{notation}}}}}"
    )


def _title(word: StrEnum) -> str:
    return "".join(part.capitalize() for part in re.split("[-_]", word.value))


def _plain(prompt: AgentPrompt) -> str:
    lines = [f"Role: {_title(prompt.role)}", f"Objective: {prompt.objective}", "", "Context:"]
    for key, facts in prompt.context.sections:
        lines += ["", f"## {_title(key)}", *(f"- {fact.id}: {fact.text}" for fact in facts)]
    if prompt.constraints:
        lines += ["", "Constraints:", *(f"- {_title(constraint)}" for constraint in prompt.constraints)]
    lines += ["", f"Output: {_title(prompt.output.emit)} -> {_title(prompt.output.key)}", ""]
    return "\n".join(lines)


class _Reader:
    """A place in a text, and the ways to go on from there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fault(self, expected: str, at: int | None = None) -> PromptSyntaxError:
        at = self.at if at is None else at
        return PromptSyntaxError(at, expected, self.text[at : at + _FOUND_LENGTH])

    def skip(self, literal: str) -> bool:
        found = self.text.startswith(literal, self.at)
        self.at += len(literal) if found else 0
        return found

    def expect(self, literal: str) -> None:
        if not self.skip(literal):
            raise self.fault(repr(literal))

    def end(self) -> None:
        if self.at < len(self.text):
            raise self.fault("the end")

    def match(self, pattern: re.Pattern[str], expected: str) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.fault(expected)
        self.at = found.end()
        return found.group()

    def word(self, kind: type[W]) -> W:
        words = {_keyword(word): word for word in kind}
        found = _KEYWORD.match(self.text, self.at)
        if found is None or found.group() not in words:
            raise self.fault(f"one of {' '.join(words)}")
        self.at = found.end()
        return words[found.group()]

    def quoted(self) -> str:
        self.expect('"')
        body = self.match(_QUOTED, "a string")
        self.expect('"')
        return _ESCAPE.sub(lambda escape: _ESCAPED[escape.group()], body)

    def fact(self) -> PromptFact:
        self.expect("{:id ")
        id = self.quoted()
        self.expect(" :c ")
        fact = PromptFact(id, self.quoted())
        self.expect("}")
        return fact

    def sections(self) -> tuple[tuple[ContextKey, tuple[PromptFact, ...]], ...]:
        sections: dict[ContextKey, tuple[PromptFact, ...]] = {}
        while not self.text.startswith("}", self.at):
            if sections:
                self.expect(" ")
            at = self.at
            key = self.word(ContextKey)
            if key in sections:
                raise self.fault("a key that is not listed yet", at)
            self.expect(" [")
            facts = [self.fact()]
            while self.skip(" "):
                facts.append(self.fact())
            self.expect("]")
            sections[key] = tuple(facts)
        return tuple(sections.items())

    def constraints(self) -> tuple[Constraint, ...]:
        order = list(Constraint)
        found: list[Constraint] = []
        while not self.text.startswith("}", self.at):
            if found:
                self.expect(" ")
            at = self.at
            constraint = self.word(Constraint)
            if found and order.index(constraint) <= order.index(found[-1]):
                raise self.fault("each constraint once, in the order of declaration", at)
            found.append(constraint)
        return tuple(found)
