"""What the commands of one call share: its global options, the plugins, the ledger."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import SecretStr

from converge_core import Executor, Ledger, Observer, PluginError
from converge_core.deadlines import DEADLINES
from converge_core.experience.query import TENANT
from converge_core.leases import LEASES
from converge_core.ports import BLOBS, CAPACITY, CLOCK, MODELS, QUOTAS, RECALL, TIME_OF_DAY, WATCHER
from converge_core.repository import RECEIPTS
from converge_core.suggestors.catalog import NoConfig, Ports, Site

if TYPE_CHECKING:
    from converge_adapters.plugin_loader import Offers
    from converge_cli.progress import Asking
    from converge_plugins.pcsf.registry import ProviderRegistry

BUILTIN: Mapping[str, Callable[[], object]] = {
    name: partial(importlib.import_module, f"converge_plugins.{name}")
    for name in (
        "rules",
        "scoring",
        "votes",
        "python_code",
        "solvers",
        "recall",
        "evals",
        "llm",
        "pcsf",
        "repo_loop",
        "validation_ring",
        "work_suggester",
        "ceg",
    )
} | {
    "cedar": partial(importlib.import_module, "converge_adapters.cedar"),
    "backends": partial(importlib.import_module, "converge_adapters.backends.catalog"),
}


@dataclass
class Session:
    """One call of ``converge``: ``ledger_url`` is its ``--ledger``, ``keys`` those of ``--key-file``, by provider."""

    third_party: bool = True
    strict: bool = False
    ledger_url: str | None = None
    keys: dict[str, SecretStr] = field(default_factory=dict)
    _ports: list[Ports] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def offers(self) -> Offers:
        """What the plugins offer; those that failed to load are told of on stderr, once."""
        from converge_adapters.plugin_loader import load_plugins
        from converge_cli.output import say

        listed = os.environ.get("CONVERGE_PLUGINS")
        only = None if listed is None else frozenset(name.strip() for name in listed.split(","))
        installed = None if self.third_party else ()
        offers = load_plugins(BUILTIN, installed=installed, only=only, strict=self.strict)
        for plugin in offers.plugins:
            if plugin.state == "failed":
                say(f"plugin {plugin.name!r} failed to load and is skipped: {plugin.error}")
        return offers

    def command(self, name: str) -> click.Command | None:
        """Return the command that a plugin adds under a name, or None. Raises PluginError for what is no command."""
        try:
            entry = self.offers.commands.find(name)
        except LookupError:
            return None
        made = entry.factory(NoConfig(), _site(name))
        if not isinstance(made, click.Command):
            raise PluginError(entry.plugin, f"{name!r} is no click command, but a {type(made).__name__}")
        return made

    def observer(self) -> Observer:
        """Return the observers that the plugins offer, as one."""
        from converge_cli.observing import Observers

        return Observers(self.offers.observers, _site)

    def executor(self, name: str | None, concurrency: int, time_limit_ms: int | None) -> Executor:
        """Return an executor that a plugin offers, or, without a name, the built-in one. Raises click.UsageError.

        Its configuration is what it has a field for: ``concurrency`` and ``time_limit_ms``.
        """
        if name is None:
            from converge_adapters.executors import AnyioExecutor

            return AnyioExecutor(concurrency, time_limit_ms)
        try:
            entry = self.offers.executors.find(name)
        except LookupError as error:
            raise click.UsageError(str(error.args[0])) from error
        options = {"concurrency": concurrency, "time_limit_ms": time_limit_ms}
        config = {field: value for field, value in options.items() if field in entry.config.model_fields}
        return entry.factory(entry.config.model_validate(config), _site(name))

    @cached_property
    def capacity(self) -> ProviderRegistry:
        """The registry of the providers: the one of this process, over what all processes of this home know of them.

        Their keys are looked for in the environment; the file is opened when somebody asks for one.
        """
        from converge_adapters.capacity import SqliteCapacityStore, capacity_path
        from converge_adapters.clocks import wall_clock_ms
        from converge_plugins.pcsf.registry import default_registry

        registry = default_registry(SqliteCapacityStore(capacity_path(os.environ)), wall_clock_ms)
        registry.check_env(os.environ.get)
        return registry

    @cached_property
    def asking(self) -> Asking:
        """Which models are asked right now, in this call."""
        from converge_cli.progress import Asking

        return Asking()

    def ports(self, labels: Mapping[str, str]) -> Ports:
        """Return what the world offers to a run with these labels: a clock, providers, and the past of its tenant.

        The past is that of the ledger of this call, which is opened when somebody asks for it.
        """
        from converge_adapters.backends.blobs import FolderBlobs, blobs_path
        from converge_adapters.clocks import monotonic_ms, wall_clock_ms
        from converge_adapters.deadlines import AnyioDeadlines
        from converge_adapters.leases import MemoryLeases, SqliteLeases, leases_path
        from converge_adapters.ledgers import MEMORY, default_path, ledger_path
        from converge_adapters.recall.lexical import LexicalRecall, index_path
        from converge_adapters.repository.receipts import LedgerReceipts
        from converge_cli.models import PROVIDERS
        from converge_core.llm.backend import KEYS

        url, tenant = self.ledger_url, labels.get(TENANT)
        path = default_path(os.environ) if url is None else ledger_path(url)
        index = None if path is None else index_path(path, tenant)
        past = partial(self.ledger, url, read_only=True)
        recall = LexicalRecall(past, index, tenant)
        ports = Ports().offer(RECALL, recall).offer(RECEIPTS, LedgerReceipts(past, tenant))
        ports.offer(DEADLINES, AnyioDeadlines()).offer(CAPACITY, self.capacity).offer(PROVIDERS, self.capacity)
        ports.offer(QUOTAS, self.capacity).offer(TIME_OF_DAY, wall_clock_ms)
        if path is not None:
            ports.offer(BLOBS, FolderBlobs(blobs_path(path))).offer(LEASES, SqliteLeases(leases_path(path)))
        elif url == MEMORY:  # what lasts no longer than this process needs no file to be told to others
            ports.offer(LEASES, MemoryLeases())
        ports.offer(WATCHER, self.asking)
        self._ports.append(ports)
        return ports.offer(CLOCK, monotonic_ms).offer(KEYS, self.keys)

    async def give_back_connections(self) -> None:
        """Give back what the models of this call hold, on the event loop where they were asked."""
        async with AsyncExitStack() as stack:
            for ports in self._ports:
                if ports.offers(MODELS):
                    stack.push_async_callback(ports.find(MODELS).aclose)

    def ledger(self, url: str | None, *, read_only: bool = False, create: bool = False) -> Ledger:
        """Open the ledger that a URL or path names, or the default one. A plugin may serve other schemes.

        Raises NoLedger where there is none, unless ``create`` says that one may be begun.
        """
        from converge_adapters.ledgers import default_path, open_ledger

        url = url or str(default_path(os.environ))
        scheme = url.partition("://")[0]
        if scheme not in (url, "sqlite"):
            try:
                entry = self.offers.ledgers.find(scheme)
            except LookupError as error:
                raise click.UsageError(f"--ledger {url}: {error.args[0]}") from error
            return entry.factory(NoConfig(), _site(url))
        return open_ledger(url, read_only=read_only, create=create)


def _site(name: str) -> Site:
    """Return the site of what is used outside of any intent: it can load no code."""

    def refuse(reference: str) -> Callable[..., object]:
        raise LookupError(f"{reference!r} cannot be loaded here")

    return Site(name, refuse)


def invocation(words: str, ledger_url: str | None) -> str:
    """Return a command to be typed, for the same ledger as this one's ``--ledger``."""
    elsewhere = ledger_url is not None and ledger_url != os.environ.get("CONVERGE_LEDGER")
    return f"converge {words} --ledger {shlex.quote(str(ledger_url))}" if elsewhere else f"converge {words}"


pass_session = click.make_pass_decorator(Session, ensure=True)


def label(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take a label of a run: 1 to 256 printable characters. Raises click.BadParameter."""
    if value is not None and not (value.strip() and value.isprintable() and len(value) <= 256):
        raise click.BadParameter("a label is 1 to 256 printable characters")
    return value


def _note_ledger(ctx: click.Context, param: click.Parameter, url: str | None) -> str | None:
    ctx.ensure_object(Session).ledger_url = url
    return url


ledger_option = click.option(
    "--ledger",
    "ledger_url",
    metavar="URL",
    envvar="CONVERGE_LEDGER",
    callback=_note_ledger,
    help="A path or URL; default: the user's ledger.",
)


def _note_keys(ctx: click.Context, param: click.Parameter, named: tuple[str, ...]) -> None:
    for each in named:
        provider, _, path = each.partition("=")
        if not (provider and path):
            raise click.BadParameter(f"{each!r} is not PROVIDER=FILE")
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise click.BadParameter(f"the key of {provider} cannot be read from {path}: {reason}") from None
        if not text.strip():
            raise click.BadParameter(f"there is no key of {provider} in {path}")
        ctx.ensure_object(Session).keys[provider] = SecretStr(text.strip())


key_option = click.option(
    "--key-file",
    multiple=True,
    metavar="PROVIDER=FILE",
    callback=_note_keys,
    expose_value=False,
    help="Read the key of a provider from a file, or from stdin (-), and not from keyring or environment. Repeatable.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
