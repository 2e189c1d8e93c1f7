"""HTML that is escaped by construction.

There are two kinds of text: `Markup`, which only `element` and `raw` make, and every other value, which is somebody's
words and is escaped where it meets markup. So nothing from a run can become a tag, an attribute or a script by being
forgotten somewhere. Control characters become visible ones on the way.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from converge_cli.output import safe

_VOID = frozenset({"br", "input", "meta", "line", "path", "rect", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def raw(text: str) -> Markup:
    """Return our own text as markup. Never for anything that comes from a run."""
    return Markup(text)


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Return an element: ``element("a", "words", href="#f1", class_="quiet")``.

    In the names of attributes a trailing underscore is dropped and others become hyphens. An attribute that is None or
    False is left out, one that is True stands without a value.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID and not content:
        return Markup(f"<{tag}{written}>" if tag in ("br", "input", "meta") else f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{markup(content)}</{tag}>")


def markup(content: object) -> Markup:
    """Return content as markup: lists, tuples and iterators are what they hold, None is nothing, all else is text."""
    if isinstance(content, Markup):
        return content
    if content is None:
        return Markup("")
    if type(content) in (list, tuple) or isinstance(content, Iterator):
        return Markup("".join(map(markup, content)))  # type: ignore[call-overload]  # all three are iterable
    return Markup(html.escape(safe(str(content))))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(safe(str(value)))}"'
