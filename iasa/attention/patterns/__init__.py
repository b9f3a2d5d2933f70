"""The gallery of attention patterns, one file each, and the registry by which `attention="svg2"` finds them.

A pattern's file bears its name. Nothing is imported before a pattern is asked for, so that a wrong name is answered at
once. `register` also takes a pattern that is defined elsewhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, TypeVar

from iasa.config import InputError

if TYPE_CHECKING:
    from iasa.attention.pattern import Pattern

P = TypeVar("P", bound="type[Pattern]")
_known: dict[str, type[Pattern]] = {}


def register(pattern: P) -> P:
    """Class decorator: the pattern can be chosen by its name from now on."""
    _known[pattern.name] = pattern
    return pattern


def pattern_names() -> tuple[str, ...]:
    """Every name that `find_pattern` takes; "dense" stands beside the interface, in iasa/attention/pattern.py."""
    return tuple(sorted({"dense", *(module.name for module in pkgutil.iter_modules(__path__)), *_known}))


def check_pattern(name: str) -> None:
    """Raises InputError unless there is such a pattern; loads nothing."""
    if name not in pattern_names():
        raise InputError(f"the attention is {name!r}; accepted: {', '.join(pattern_names())}")


def find_pattern(name: str) -> type[Pattern]:
    """The class of a pattern. Raises InputError on a name that no pattern has."""
    check_pattern(name)
    if name not in _known:
        importlib.import_module("iasa.attention.pattern" if name == "dense" else f"{__name__}.{name}")
    return _known[name]


def make_pattern(attention: str | Pattern, **options: Any) -> Pattern:
    """A pattern by its name and options; one that is made already is handed back. Raises InputError."""
    return find_pattern(attention)(**options) if isinstance(attention, str) else attention
