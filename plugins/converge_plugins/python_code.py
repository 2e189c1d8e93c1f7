"""``python``: a suggestor of one's own, named ``module:name``, in the intent's folder or an installed package.

What is found there decides:

* a subclass of ``Suggestor`` is instantiated, with ``with`` as keyword arguments;
* a suggestor (a function decorated with ``@suggestor``, or an instance) is taken as it is, under the name it has here;
* any other function is called with the context, and with ``with`` as keyword arguments. ``reads`` and ``writes`` say
  what wakes it and where it may propose, which the other two say themselves.

Its version is marked with a hash of the source, so that a run that is resumed notices that the code is another.

Everything that can be wrong with this is found when the engine is set up, and is the intent's fault: `IntentError`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import partial

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from converge_core import Catalog, ContextKey, FactPayload, IntentError, Problem, Site, Suggestor, hookimpl, suggestor
from converge_core.ports import SOURCE_DIGEST
from converge_core.suggestors.contract import FunctionSuggestor

MARK = 12
"""Hex digits of the hash of the source that mark a version: enough to tell that it has changed."""


class PythonConfig(BaseModel):
    """Which code, and what it is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    callable: str = Field(pattern=r"^[^:]+:[^:]+$", description="`module:name`.")
    with_: dict[str, JsonValue] = Field(default_factory=dict, alias="with", description="Its keyword arguments.")
    reads: tuple[ContextKey, ...] = Field((), description="What wakes a plain function; each cycle, without it.")
    writes: tuple[ContextKey, ...] = Field((), description="Where a plain function may propose; anywhere, without it.")


def python_suggestor(config: PythonConfig, site: Site) -> Suggestor:
    """Return the suggestor that a configuration names, under the name of its site. Raises IntentError."""
    try:
        found: object = site.load(config.callable)
    except LookupError as error:
        raise _fault("callable", str(error.args[0]) if error.args else f"{config.callable} is not there") from error
    made = _made(found, config, site.name)
    try:
        made.name = site.name
        made.config = config.model_dump(mode="json", by_alias=True)
        made.version = _version(made.version, config.callable, site)
        made.payloads = (*made.payloads, *_payloads_beside(found))
    except AttributeError as error:
        fixed = "`name`, `config` and `version` of a suggestor are set"
        raise _fault("callable", f"{config.callable}: {fixed}: {error}") from error
    return made


def _payloads_beside(found: object) -> list[type[FactPayload]]:
    """Return the payload classes of the module that holds the code: a ledger is read before any of it has run."""
    code = found.function if isinstance(found, FunctionSuggestor) else found
    module = inspect.getmodule(code if inspect.isclass(code) or inspect.isroutine(code) else type(code))
    return (
        [
            thing
            for thing in vars(module).values()
            if isinstance(thing, type) and issubclass(thing, FactPayload) and thing.__module__ == module.__name__
        ]
        if module is not None
        else []
    )


def _version(declared: str, reference: str, site: Site) -> str:
    """Return the version that a suggestor declares, with a mark of its code (as PEP 440 marks a build)."""
    try:
        digest = site.port(SOURCE_DIGEST)(reference)
    except LookupError:  # nobody offers it here, or the module has no file
        return declared
    return f"{declared}+{digest[:MARK]}"


def _made(found: object, config: PythonConfig, name: str) -> Suggestor:
    if isinstance(found, type):
        if not issubclass(found, Suggestor):
            raise _fault("callable", f"{config.callable} is the class {found.__qualname__}, which is no Suggestor")
        _refuse(config, "reads", "writes", because="the class itself says so")
        return _instance(found, config)
    if isinstance(found, Suggestor):
        _refuse(config, "with_", "reads", "writes", because="it is a suggestor already")
        return copy(found)  # the same one may be used twice, under two names
    if not callable(found):
        raise _fault("callable", f"{config.callable} is neither a Suggestor nor a function, but {found!r:.80}")
    _check_arguments(found, config, ctx=(None,))
    function = partial(found, **config.with_) if config.with_ else found
    return suggestor(reads=config.reads, writes=config.writes, name=name)(function)


def _instance(found: type[Suggestor], config: PythonConfig) -> Suggestor:
    _check_arguments(found, config)
    try:
        return found(**config.with_)
    except Exception as error:  # somebody else's code may raise anything
        raise _fault("with", f"{config.callable} cannot be made: {type(error).__name__}: {error}") from error


def _check_arguments(found: Callable[..., object], config: PythonConfig, ctx: tuple[None, ...] = ()) -> None:
    """Refuse keyword arguments that do not fit, before anything is called."""
    try:
        inspect.signature(found).bind(*ctx, **config.with_)
    except TypeError as error:
        takes = "the context and these keyword arguments" if ctx else "these keyword arguments"
        raise _fault("with", f"{config.callable} does not take {takes}: {error}") from error
    except ValueError:  # some that are written in C have no signature to read
        return


def _refuse(config: PythonConfig, *fields: str, because: str) -> None:
    """Refuse options that would have no effect."""
    for field in fields:
        if getattr(config, field):
            name = field.rstrip("_")
            raise _fault(name, f"{config.callable} takes no `{name}`: {because}")


def _fault(path: str, message: str) -> IntentError:
    return IntentError((Problem(path, message),))


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``python``."""
    catalog.add("python", python_suggestor, PythonConfig, "A Suggestor class, a suggestor or a function of your own.")
