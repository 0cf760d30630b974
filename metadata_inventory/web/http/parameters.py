"""Converts query strings and JSON bodies to the types that operations declare.

A refusal names the parameter or member, the value as it came and the values that are accepted. An unknown name is
refused: in a query string it is most often the rest of a `url` that was not percent-encoded, and an answer about
another URL than the client meant would be worse.
"""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from metadata_inventory.errors import InvalidParameter, UrlMissing, UrlRepeated
from metadata_inventory.validation import MAX_SHOWN, ValueMismatch, choices, convert, expectation, show

Shape = TypeVar("Shape", bound=Struct)
Noun = Literal["parameter", "member"]  # a parameter is text, and is read as what it spells; a member has a JSON type

_ENCODE = "percent-encode the URL: & must be written %26."


def read_query(arguments: Mapping[str, list[bytes]], shape: type[Shape]) -> Shape:
    """A query string, as Tornado parses it, as `shape`. Raises UrlMissing, UrlRepeated, InvalidParameter."""
    values: dict[str, str] = {}
    for latin_name, given in arguments.items():
        name = latin_name.encode("latin-1").decode("utf-8", "replace")  # Tornado reads the bytes of names as Latin-1
        if len(given) > 1:
            refusal = UrlRepeated if name == "url" else InvalidParameter
            hint = f" If one of them belongs to url, {_ENCODE}" if "url" in _fields(shape) else ""
            raise refusal(f"The parameter {show(name)} is given {len(given)} times; give it once.{hint}")
        try:
            values[name] = given[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidParameter(f"The parameter {show(name)} must be percent-encoded UTF-8.") from error
    return _convert("parameter", values, shape)


def read_members(value: object, shape: type[Shape]) -> Shape:
    """A JSON value as `shape`. Raises UrlMissing, InvalidParameter."""
    if not isinstance(value, dict):
        members = ", ".join(_fields(shape))
        raise InvalidParameter(f"The body must be a JSON object (members: {members}), not {show(value)}.")
    return _convert("member", value, shape)


def suggest(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` is most likely a misspelling of."""
    return next(iter(difflib.get_close_matches(name[:MAX_SHOWN], known, n=1)), None)


def _convert(noun: Noun, values: Mapping[str, Any], shape: type[Shape]) -> Shape:
    """The values as `shape`; when they do not fit, one by one, to find out which of them does not."""
    try:
        return msgspec.convert(values, shape, strict=noun == "member")
    except (msgspec.ValidationError, UnicodeError):  # UnicodeError: a lone surrogate in a name
        _check_names(noun, values, shape)
        return shape(
            **{name: _convert_one(noun, name, item, _fields(shape)[name].type) for name, item in values.items()}
        )


def _convert_one(noun: Noun, name: str, value: object, kind: Any) -> Any:
    try:
        return convert(name, value, kind, strict=noun == "member")
    except ValueMismatch as error:
        if noun == "member":
            raise InvalidParameter(str(error)) from error
        expected = expectation(_without_null(kind))
        raise InvalidParameter(f"{name} must be {expected}, not {show(value)}.") from error


def _check_names(noun: Noun, names: Collection[str], shape: type[Struct]) -> None:
    """Raises UrlMissing or InvalidParameter when a required name is missing, InvalidParameter for an unknown one."""
    fields = _fields(shape)
    unknown = next((name for name in names if name not in fields), None)
    missing = next((name for name, field in fields.items() if field.required and name not in names), None)
    if missing is not None:
        refusal = UrlMissing if missing == "url" else InvalidParameter
        hint = "" if unknown is None else f" There is no {noun} {show(unknown)}."
        raise refusal(f"The {noun} {missing} is missing.{hint}")
    if unknown is not None:
        raise InvalidParameter(_describe_unknown(noun, unknown, list(fields)))


def _describe_unknown(noun: Noun, name: str, known: list[str]) -> str:
    sentence = f"There is no {noun} {show(name)}"
    suggested = suggest(name, known)
    if suggested is not None:
        sentence += f"; did you mean {suggested}"
    elif noun == "member" or "url" not in known:
        sentence += f"; there are {choices(known, 'and')}"
    end = "?" if suggested else "."
    hint = f" If it belongs to url, {_ENCODE}" if noun == "parameter" and "url" in known else ""
    return f"{sentence}{end}{hint}"


def _without_null(kind: Any) -> Any:
    """The type without null: a query string has no null, and a parameter that is not given stands for it."""
    options = tuple(option for option in get_args(kind) if option is not NoneType)
    return functools.reduce(operator.or_, options) if NoneType in get_args(kind) else kind


@functools.cache
def _fields(shape: type[Struct]) -> dict[str, FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(shape)}
