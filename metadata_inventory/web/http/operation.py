"""An operation declares what it takes and answers; the same types read the request and make the OpenAPI document."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.access.keys import Scope

Method = TypeVar("Method", bound=Callable[..., Awaitable[None]])


class Answer(Struct, frozen=True):
    """One status that an operation answers with: its meaning, and the type of its body, None for no body."""

    description: str
    body: type | None = None
    headers: tuple[str, ...] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """What the OpenAPI document says of a method. `failures`: a stored failure can be the answer.

    `scope` is what a caller's key has to allow, where keys are asked for; None: anybody may.
    """

    summary: str
    scope: Scope | None = Scope.READ
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    answers: Mapping[int, Answer]
    errors: tuple[type[errors.InventoryError], ...] = ()
    failures: bool = False


def operation(declared: Operation) -> Callable[[Method], Method]:
    """Declare a handler's method; it is called with the query, then the body, where these are declared."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        async def answer(handler: Any, **path: str) -> None:
            arguments: list[Struct] = []
            if declared.query is not None:
                arguments.append(read_query(handler.request.query_arguments, declared.query))
            if declared.body is not None:
                arguments.append(read_body(handler.request.headers.get("Content-Type"), handler.body, declared.body))
            await method(handler, *arguments, **path)

        answer.operation = declared  # type: ignore[attr-defined]
        return answer  # type: ignore[return-value]

    return decorate


def read_query(arguments: Mapping[str, list[bytes]], shape: type[Struct]) -> Struct:
    """The query as its type. Raises UrlMissing, UrlRepeated, InvalidParameter.

    An unknown parameter is refused: it is most often the rest of a `url` that was not percent-encoded, and the record
    of a URL that nobody asked for would be the worse answer.
    """
    values: dict[str, str] = {}
    for name, given in arguments.items():
        if len(given) > 1:
            raise errors.UrlRepeated if name == "url" else errors.InvalidParameter(f"{name} is given more than once.")
        try:
            values[name] = given[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise errors.InvalidParameter(f"{name} is not UTF-8.") from error
    return _convert(values, shape, strict=False)


def read_body(content_type: str | None, body: bytes, shape: type[Struct]) -> Struct:
    """The JSON body as its type. Raises the subclasses of InvalidRequest."""
    essence, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if essence.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise errors.UnsupportedMediaType
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unrepeated,
            parse_constant=_refuse_constant,
            parse_float=_read_number,
        )
    except (ValueError, RecursionError) as error:
        raise errors.InvalidJson from error
    return _convert(value, shape, strict=True)


def _convert(value: Any, shape: type[Struct], *, strict: bool) -> Struct:
    if isinstance(value, dict) and "url" in shape.__struct_fields__ and "url" not in value:
        raise errors.UrlMissing
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise errors.InvalidParameter(f"{error}.") from error
    except UnicodeError as error:  # a lone surrogate in a name
        raise errors.InvalidParameter from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise errors.UrlRepeated if names.count("url") > 1 else errors.InvalidParameter("A member is given twice.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_number(text: str) -> float:
    """A number with a zero fraction is an integer in JSON Schema, 60.0 like 60 (Validation 2020-12 §6.1.1)."""
    value = float(text)
    return int(value) if value.is_integer() else value
