"""The declaration of an operation: one method on one path, with what it accepts and what it answers.

The same declaration reads requests and makes the OpenAPI document, so that the document cannot differ from the code.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from metadata_inventory.access.keys import Scope
from metadata_inventory.errors import InventoryError
from metadata_inventory.web.http.json_body import parse_json
from metadata_inventory.web.http.parameters import read_members, read_query

Method = TypeVar("Method", bound=Callable[..., Awaitable[None]])

METHODS = ("get", "post", "put", "patch", "delete")


class Answer(Struct, frozen=True):
    """One status that an operation answers with: its meaning, and the type of its body, None for no body.

    `partial`: the client may choose which members of the body it gets.
    """

    description: str
    body: type | None = None
    headers: tuple[str, ...] = ()
    partial: bool = False


class Operation(Struct, frozen=True, kw_only=True):
    """What a method accepts and answers. `failures`: it can also answer with a stored failure.

    `scope` is the scope that an API key must have, where keys are in force; None: no key is needed.
    """

    summary: str
    scope: Scope | None = Scope.READ
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    answers: Mapping[int, Answer]
    errors: tuple[type[InventoryError], ...] = ()
    failures: bool = False


def operation(declared: Operation) -> Callable[[Method], Method]:
    """Declare a handler's method. It is called with the query and then the body, where these are declared."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        async def answer(handler: Any, **path: str) -> None:
            arguments: list[Struct] = []
            if declared.query is not None:
                arguments.append(read_query(handler.request.query_arguments, declared.query))
            if declared.body is not None:
                value = parse_json(handler.request.headers.get("Content-Type"), handler.body.content)
                arguments.append(read_members(value, declared.body))
            await method(handler, *arguments, **path)

        answer.operation = declared  # type: ignore[attr-defined]
        return answer  # type: ignore[return-value]

    return decorate


def find_operation(handler: object, method: str) -> Operation | None:
    """The operation that a handler, or its class, declares for a method in lower case; `head` is served by `get`."""
    function = getattr(handler, "get" if method == "head" else method, None)
    return getattr(function, "operation", None)


def operations(handler: type) -> Iterator[tuple[str, Operation]]:
    """The methods that a handler declares, in lower case, each with its declaration."""
    for method in METHODS:
        declared = find_operation(handler, method)
        if declared is not None:
            yield method, declared
