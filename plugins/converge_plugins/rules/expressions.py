"""CEL expressions and templates: texts that compile when they are made, and say where they do not.

Both are strings, as they stand in an intent, and fields of pydantic models as they are: a syntax error comes up when
the configuration is validated, with line and column inside the expression. What the names of an expression stand for is
a `Bindings`, which is filled once and then serves any number of evaluations: a list of facts is converted once, however
many facts are compared with it.

CEL has no way out: an expression sees its bindings, calls the functions of `cel_values` and the standard ones, and
reaches no file, clock or network. It cannot loop but over its data; macros inside macros multiply, so what an
expression costs is bounded by the data and by the depth to which its author nested them. The parser recurses on the
machine's stack, hence `MAX_LENGTH`.

Two rules of this implementation are worth knowing: a field that a fact does not have is an error, also inside
``exists`` (write ``has(e.n) && e.n > 1``), and a field whose name is a word of CEL is written ``fact["in"]``.

The library is imported with the first expression: loading the plugin stays cheap.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from converge_core import ContextKey, ConvergeError
from converge_core.ledger.canonical import JsonValue
from converge_plugins.rules.cel_values import FUNCTIONS, rendered, type_name

if TYPE_CHECKING:
    import cel

MAX_LENGTH = 4_000
"""Characters of an expression or a template. A chain of operators ten times as long exhausts a stack of 8 MiB."""

_SHOWN = 120
_KEYS = frozenset(ContextKey)
_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_UNEXPECTED = re.compile(r"mismatched input|extraneous input|no viable alternative at input")
_GAP = r"(?:\s|//.*\n)*"
_BOUND = re.compile(rf"\.{_GAP}(?:all|exists|exists_one|existsOne|map|filter){_GAP}\({_GAP}([A-Za-z_]\w*){_GAP},", re.A)
_ADVICE = re.compile(r"\.? (?:CEL does not coerce|Convert explicitly|Check (?:that|function)).*", re.S)
_MIXED = re.compile(r"Unsupported operation: (\S+) (\S+) (\S+?)\.?")
_CALLED = re.compile(r"Function '(\w+)' error: (?:Python function call failed: \w+: )?(.*)", re.S)
_UNDEFINED = re.compile(r"Undefined variable or function: '(.*)'")
_DOUBLES = "numbers of a fact are doubles: write 2.0, or int(x)"

# The library logs every fault of a function that it is given; it also raises it, and one report is enough.
logging.getLogger("cel").addHandler(logging.NullHandler())


class CelSyntaxError(ConvergeError, ValueError):
    """A text is not CEL. ``line`` and ``column`` count from 1, inside the text; the reason is one line."""

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(line, column, reason)
        self.line, self.column, self.reason = line, column, reason

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.reason}"


class CelEvaluationError(ConvergeError, ValueError):
    """An expression has no value on the data it met, or not the kind of value that is needed."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(expression, reason)
        self.expression, self.reason = expression, reason

    def __str__(self) -> str:
        return f"{self.reason}, in `{shortened(self.expression)}`"


class Bindings:
    """What the names of expressions stand for: ``lists`` of facts by key, and what `bind` adds."""

    def __init__(self, lists: Mapping[str, JsonValue] | None = None) -> None:
        import cel

        self.context = cel.Context(variables=dict(lists or {}), functions=dict(FUNCTIONS))

    def bind(self, name: str, value: object) -> None:
        """Give a name its value, in place of the one it may have."""
        self.context.add_variable(name, value)


class _CelText(str):
    """A string that compiles when it is made, and is a field of a pydantic model as it is."""

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_LENGTH:
            raise CelSyntaxError(*_place(text, MAX_LENGTH), f"at most {MAX_LENGTH} characters are read")
        return super().__new__(cls, text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class CelExpression(_CelText):
    """A compiled expression. Raises CelSyntaxError.

    ``variables`` are the names that it mentions; those that its macros bind are among them.
    """

    program: cel.Program
    variables: frozenset[str]

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.program = _compiled(text)
        self.variables = frozenset(self.program.variables())
        return self

    @property
    def expressions(self) -> tuple[CelExpression, ...]:
        """The expression itself, as a template has several."""
        return (self,)

    def unknown(self, known: Iterable[str]) -> list[str]:
        """Return the names that are not ``known`` and that no macro of the expression binds."""
        return sorted(self.variables - set(known) - set(_BOUND.findall(self)))

    def evaluate(self, bindings: Bindings) -> object:
        """Return the value, as Python's counterpart of the CEL type. Raises CelEvaluationError."""
        try:
            return self.program.execute(bindings.context)
        except Exception as error:  # the library raises a dozen types, all of them about the expression or its data
            raise CelEvaluationError(self, _sentence(error)) from error

    def test(self, bindings: Bindings) -> bool:
        """Return the value of a condition. Raises CelEvaluationError, also for a value that is not a bool."""
        value = self.evaluate(bindings)
        if isinstance(value, bool):
            return value
        raise CelEvaluationError(self, f"a condition is true or false, not {type_name(value)}")

    def number(self, bindings: Bindings, what: str) -> float:
        """Return the value of an expression that is a number, ``what``. Raises CelEvaluationError, also for others."""
        value = self.evaluate(bindings)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CelEvaluationError(self, f"{what} is a number, not {type_name(value)}")
        return float(value)

    def references(self, bindings: Bindings) -> tuple[str, ...]:
        """Return the value of an expression that cites facts. Raises CelEvaluationError, also for anything else."""
        value = self.evaluate(bindings)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise CelEvaluationError(self, "facts are cited as a list of strings such as 'seeds/s1'")
        return tuple(value)


class Template(_CelText):
    """A text with ``{expression}`` parts: ``flag:{fact.id}``. Braces of the text itself are written ``{{`` and ``}}``.

    Raises CelSyntaxError, with the place inside the template.
    """

    parts: tuple[str | CelExpression, ...]

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.parts = tuple(_parts(text))
        return self

    @property
    def expressions(self) -> tuple[CelExpression, ...]:
        """The expressions of the template."""
        return tuple(part for part in self.parts if isinstance(part, CelExpression))

    def render(self, bindings: Bindings) -> str:
        """Return the text with every expression replaced by its value. Raises CelEvaluationError."""
        return "".join(_rendered(part, bindings) if isinstance(part, CelExpression) else part for part in self.parts)


def name_faults(path: tuple[str, ...], text: CelExpression | Template, known: Iterable[str]) -> list[InitErrorDetails]:
    """Return a fault, for pydantic, for each name in a field of a configuration that nothing will stand behind.

    ``path`` leads to the field; ``known`` are the names there are.
    """
    known = list(known)
    unknown = sorted({name for expression in text.expressions for name in expression.unknown(known)})
    return [
        fault(path, f"{name!r} is a context key: list it under `reads` to see its facts", text)
        if name in _KEYS
        else fault(path, f"unknown name {name!r}; known here: {', '.join(known)}", text)
        for name in unknown
    ]


def fault(path: tuple[str, ...], reason: str, value: object) -> InitErrorDetails:
    """Return a fault of the field at ``path``, to be raised with others in one ValidationError."""
    error = PydanticCustomError("cel", "{reason}", {"reason": reason})
    return InitErrorDetails(type=error, loc=path, input=value)


def shortened(text: str) -> str:
    """Return a text as one line that fits into a message."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def _compiled(text: str) -> cel.Program:
    import cel

    if not text.strip():
        raise CelSyntaxError(1, 1, "an empty expression")
    try:
        return cel.compile(text)
    except ValueError as error:
        raise _located(str(error).removeprefix(f"Failed to parse expression '{text}': ")) from None


def _located(report: str) -> CelSyntaxError:
    """Make an error of the first of the faults that the parser reports, without the list of all it would have taken."""
    first = _FAULT.match(report)
    if first is None:
        return CelSyntaxError(1, 1, shortened(report))
    line, column, reason = first.groups()
    reason = re.sub(r" expecting \{.*", "", reason).replace("'<EOF>'", "end").replace("<EOF>", "the end")
    return CelSyntaxError(int(line), int(column), shortened(_UNEXPECTED.sub("unexpected", reason)))


def _sentence(error: Exception) -> str:
    """Say in a few words what the library says in many."""
    text = _ADVICE.sub("", str(error)).strip()
    if isinstance(error, KeyError):
        return f"no field {error.args[0]!r}"
    if undefined := _UNDEFINED.match(text):
        return f"unknown name, or a function that does not take this: {undefined[1]!r}"
    if mixed := _MIXED.fullmatch(text):
        left, operator, right = mixed.groups()
        hint = f" ({_DOUBLES})" if {left, right} == {"float", "int"} else ""
        return f"cannot compute {left} {operator} {right}{hint}"
    if text.startswith("No such overload"):
        return "an operator or a function got a value of the wrong type"
    if text.startswith("Unexpected type: got 'double'"):
        return f"a double where an int is needed ({_DOUBLES})"
    if called := _CALLED.fullmatch(text):
        return f"{called[1]}(): {shortened(called[2])}"
    return shortened(text)


def _rendered(expression: CelExpression, bindings: Bindings) -> str:
    value = expression.evaluate(bindings)
    try:
        return rendered(value)
    except ValueError as error:
        raise CelEvaluationError(expression, str(error)) from None


_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")


def _parts(text: str) -> Iterator[str | CelExpression]:
    at = 0
    while at < len(text):
        if literal := _LITERAL.match(text, at):
            yield literal[0].replace("{{", "{").replace("}}", "}")
            at = literal.end()
        elif text[at] == "}":
            raise CelSyntaxError(*_place(text, at), "a brace that closes nothing: write }} for the character")
        else:
            expression = _expression_at(text, at + 1)
            yield expression
            at += len(expression) + 2


def _expression_at(text: str, start: int) -> CelExpression:
    """Return the expression that begins at ``start``.

    It ends before the first closing brace up to which it compiles: an earlier one is part of a map or of a string.
    """
    first: CelSyntaxError | None = None
    for brace in re.finditer("}", text[start:]):
        try:
            return CelExpression(text[start : start + brace.start()])
        except CelSyntaxError as error:
            first = first or error
    line, column = _place(text, start)
    if first is None:
        raise CelSyntaxError(line, column - 1, "a brace that is not closed: write {{ for the character")
    if first.line > 1:
        raise CelSyntaxError(line + first.line - 1, first.column, first.reason)
    raise CelSyntaxError(line, column + first.column - 1, first.reason)


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
