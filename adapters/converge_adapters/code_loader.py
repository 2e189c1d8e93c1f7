"""Code that an intent names: ``module:callable``, from the intent's own folder or from an installed package.

Nothing else is ever imported by name: not the standard library, not the current directory, not a path that leads out
of the folder by a link.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import SourceFileLoader
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

_REFERENCE = re.compile(r"((?:[A-Za-z]\w*\.)*[A-Za-z]\w*):([A-Za-z]\w*)", re.ASCII)


_DIGESTS: dict[str, str] = {}
"""SHA-256 (hex) of the files of modules, as they were when they were loaded."""


class CodeLoader:
    """Turns ``module:callable`` into the callable. ``folder`` is the intent's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def __call__(self, reference: str) -> Callable[..., Any]:
        """Return the callable. Raises LookupError, with a sentence, for anything that may not or cannot be loaded."""
        module_name, name = _parts(reference)
        found = getattr(self._module(module_name), name, None)
        if found is None:
            raise LookupError(f"{module_name!r} has no {name!r}")
        if not callable(found):
            raise LookupError(f"{reference!r} is a {type(found).__name__}, which cannot be called")
        return found  # type: ignore[no-any-return]  # callable() narrows to an untyped callable

    def source_digest(self, reference: str) -> str:
        """Return the SHA-256 (hex) of the file of the module that a reference names, as it was when it was loaded.

        What that module imports is not covered. Raises LookupError for what cannot be loaded, or has no file.
        """
        module = self._module(_parts(reference)[0])
        if module.__name__ not in _DIGESTS:
            if module.__file__ is None:
                raise LookupError(f"{module.__name__!r} has no file")
            _DIGESTS[module.__name__] = _digest(Path(module.__file__))
        return _DIGESTS[module.__name__]

    def _module(self, name: str) -> ModuleType:
        module = self._from_folder(name) or _from_package(name)
        if module is None:
            raise LookupError(f"{name!r} is neither in the intent's folder nor in an installed package")
        return module

    def _from_folder(self, module_name: str) -> ModuleType | None:
        path = self._folder.joinpath(*module_name.split(".")).with_suffix(".py")
        if not path.is_file():
            return None
        if not path.resolve().is_relative_to(self._folder):
            raise LookupError(f"{module_name!r} leads out of the intent's folder")
        place = hashlib.sha256(str(self._folder).encode()).hexdigest()[:12]
        qualified = f"_converge_intent_{place}_{module_name.replace('.', '_')}"
        if qualified in sys.modules:
            return sys.modules[qualified]
        loader = _SourceLoader(qualified, str(path))
        spec = importlib.util.spec_from_file_location(qualified, path, loader=loader)
        if spec is None or spec.loader is None:
            raise LookupError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        _DIGESTS[qualified] = _digest(path)
        sys.modules[qualified] = module
        sys.path.append(str(self._folder))  # last, so that its modules find each other and shadow nobody
        try:
            with _importing(path.name):
                spec.loader.exec_module(module)
        except LookupError:
            del sys.modules[qualified]
            raise
        finally:
            sys.path.remove(str(self._folder))
        return module


class _SourceLoader(SourceFileLoader):
    """Compiles the source each time. Cached bytecode is told from stale by second and size alone, and the hash that a
    ledger keeps is of the source: what runs must be what was hashed.
    """

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Give no time by which a cache could be judged fresh; then the import system neither reads nor writes one."""
        raise OSError(f"{path} is read anew")


def _parts(reference: str) -> tuple[str, str]:
    """Return module and name. Raises LookupError for another form."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise LookupError(f"{reference!r} is not of the form module:callable")
    return match[1], match[2]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _from_package(module_name: str) -> ModuleType | None:
    if module_name.partition(".")[0] not in packages_distributions():
        return None
    with _importing(repr(module_name)):
        return importlib.import_module(module_name)


@contextmanager
def _importing(what: str) -> Iterator[None]:
    """Turn whatever an import raises into a LookupError. What it prints goes to stderr: stdout is for data."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        raise LookupError(f"{what} cannot be imported: {type(error).__name__}: {error}") from error
