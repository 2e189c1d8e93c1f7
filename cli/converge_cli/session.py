"""What the commands of one call share: its global options, the plugins, the ledger."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from converge_adapters.plugin_loader import Offers
    from converge_core.ports import Ledger

BUILTIN: Mapping[str, Callable[[], object]] = {
    name: partial(importlib.import_module, f"converge_plugins.{name}")
    for name in ("rules", "scoring", "votes", "python_code")
}


@dataclass
class Session:
    """One call of ``converge``."""

    debug: bool = False
    third_party: bool = True
    strict: bool = False

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

    def command(self, name: str) -> object | None:
        """Return the command that a plugin adds under a name, or None."""
        from converge_core.suggestors.catalog import NoConfig

        try:
            entry = self.offers.commands.find(name)
        except LookupError:
            return None
        return entry.factory(NoConfig(), self.site(name))

    def site(self, name: str) -> Any:
        """Return the site of what is used outside of any intent: it can load no code."""
        from converge_core.suggestors.catalog import Site

        def refuse(reference: str) -> Callable[..., object]:
            raise LookupError(f"{reference!r} cannot be loaded here")

        return Site(name, refuse)

    def ledger(self, url: str | None, *, read_only: bool = False) -> Ledger:
        """Open the ledger that a URL or path names, or the default one. A plugin may serve other schemes."""
        from converge_adapters.ledgers import default_path, open_ledger

        scheme = url.partition("://")[0] if url and "://" in url else None
        if scheme not in (None, "sqlite"):
            entry = self.offers.ledgers.find(str(scheme))
            return entry.factory(entry.config.model_validate({"url": url}), self.site(str(url)))
        return open_ledger(url or str(default_path(os.environ)), read_only=read_only)


pass_session = click.make_pass_decorator(Session, ensure=True)

ledger_option = click.option(
    "--ledger", "ledger_url", metavar="URL", envvar="CONVERGE_LEDGER", help="A path or URL; default: the user's ledger."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
