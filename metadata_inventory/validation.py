"""Converts a value from outside to a type, and says in one sentence what is wrong with a value that does not fit.

The sentence names the value's name, what would be right, and the value as it came:
`log_level must be one of DEBUG, INFO, WARNING or ERROR, not "verbose".`

Types are those of `msgspec` with its constraints (`Meta`). Where a constraint says too little, as a pattern does, the
type has the words: `Meta(extra={"expected": "a MongoDB URI"})`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

MAX_SHOWN = 60  # characters of a refused value that are shown

_LIST_TYPES = (inspect.VarTupleType, inspect.ListType, inspect.SetType, inspect.FrozenSetType)


class ValueMismatch(ValueError):
    """A value does not fit its type. The text is a whole sentence for the person who gave the value."""


def convert(name: str, value: object, kind: Any, *, strict: bool) -> Any:
    """The value as `kind`; raises ValueMismatch.

    `name` is what the person called the value. Not `strict`: text is read as the number or truth value it spells, as
    needed for the environment and for query strings, which hold nothing but text.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, UnicodeError):  # UnicodeError: a lone surrogate in a name
        wrong = _find_wrong_item(value, kind, strict=strict)
        if wrong is not None:
            item, item_kind = wrong
            raise ValueMismatch(f"Each item of {name} must be {expectation(item_kind)}, not {show(item)}.") from None
        raise ValueMismatch(f"{name} must be {expectation(kind)}, not {show(value)}.") from None


def expectation(kind: Any) -> str:
    """The words for a value of this type that follow "must be"."""
    return _describe(inspect.type_info(kind))


def show(value: object) -> str:
    """The value as it came, in one line and shortened: text in quotes, a list or an object by its kind alone."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float | None) else str(value)
    shown = "".join(one if one.isprintable() else "�" for one in shown)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"


def choices(names: Sequence[object], last: str = "or") -> str:
    """A list in words: `a, b or c`."""
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _find_wrong_item(value: object, kind: Any, *, strict: bool) -> tuple[object, Any] | None:
    """The first item that does not fit, and what it should be, when `kind` is a list and `value` is one."""
    information = _plain(inspect.type_info(kind))
    if not isinstance(value, list | tuple) or not isinstance(information, _LIST_TYPES):
        return None
    item_kind = _item_kind(kind)
    for item in value:
        try:
            msgspec.convert(item, item_kind, strict=strict)
        except (msgspec.ValidationError, UnicodeError):
            return item, item_kind
    return None


def _item_kind(kind: Any) -> Any:
    """The items' type of a list's type, below `Annotated` and beside `None`."""
    for argument in getattr(kind, "__args__", ()):
        if isinstance(_plain(inspect.type_info(kind)), _LIST_TYPES) and argument not in (Ellipsis, type(None)):
            inner = _plain(inspect.type_info(argument))
            return _item_kind(argument) if isinstance(inner, _LIST_TYPES) else argument
    return Any


def _plain(information: inspect.Type) -> inspect.Type:
    """The type without its annotations and without null."""
    while isinstance(information, inspect.Metadata):
        information = information.type
    if isinstance(information, inspect.UnionType):
        others = [one for one in information.types if not isinstance(one, inspect.NoneType)]
        if len(others) == 1:
            return _plain(others[0])
    return information


def _describe(information: inspect.Type) -> str:
    if isinstance(information, inspect.Metadata):
        expected = (information.extra or {}).get("expected")
        return str(expected) if expected else _describe(information.type)
    return _DESCRIPTIONS.get(type(information), lambda _: "an object")(information)


def _describe_bounds(information: inspect.IntType | inspect.FloatType) -> str:
    least, most = information.ge, information.le
    if information.gt is not None:
        above = f" above {information.gt}"
        return above if most is None else f"{above} and at most {most}"
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"


_DESCRIPTIONS: Mapping[type[inspect.Type], Callable[[Any], str]] = {
    inspect.UnionType: lambda kind: choices([_describe(one) for one in kind.types]),
    inspect.NoneType: lambda kind: "null",
    inspect.BoolType: lambda kind: "true or false",
    inspect.IntType: lambda kind: f"a whole number{_describe_bounds(kind)}",
    inspect.FloatType: lambda kind: f"a number{_describe_bounds(kind)}",
    inspect.LiteralType: lambda kind: f"one of {choices(kind.values)}",
    inspect.EnumType: lambda kind: f"one of {choices([member.value for member in kind.cls])}",
    inspect.DateTimeType: lambda kind: "an instant with its time zone, such as 2026-01-31T09:30:00Z",
    inspect.StrType: lambda kind: "text that is not empty" if kind.min_length else "text",
    inspect.VarTupleType: lambda kind: "a list",
    inspect.ListType: lambda kind: "a list",
}
