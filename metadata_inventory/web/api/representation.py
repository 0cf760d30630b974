"""How a record is represented in an answer: the fields that the client has chosen, their JSON, and the ETag."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec

from metadata_inventory.errors import InvalidParameter
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import Entry
from metadata_inventory.model.view import Record, build_record
from metadata_inventory.validation import choices, show
from metadata_inventory.web.http.parameters import suggest

FIELDS = Record.__struct_fields__
# A larger body is decoded and encoded in a thread, so that the event loop goes on.
THREAD_BYTES = 256 * 1024

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def choose_fields(fields: str) -> frozenset[str]:
    """The names of the fields to answer with; `fields` is the parameter. Raises InvalidParameter."""
    given = [name.strip() for name in fields.split(",") if name.strip()]
    left_out = {name[1:] for name in given if name.startswith("-")}
    chosen = {name for name in given if not name.startswith("-")}
    if left_out and chosen:
        raise InvalidParameter(
            'fields must name either the fields to answer with or, each with a "-", the fields to leave out, not both.'
        )
    unknown = next((name for name in given if name.removeprefix("-") not in FIELDS), None)
    if unknown is not None:
        raise InvalidParameter(_describe_unknown(unknown.removeprefix("-")))
    return frozenset(chosen) or frozenset(FIELDS) - left_out


def _describe_unknown(name: str) -> str:
    suggested = suggest(name, FIELDS)
    names = f"did you mean {suggested}?" if suggested else f"its fields are {choices(FIELDS, 'and')}."
    return f"fields must name fields of a record, not {show(name)}; {names}"


def encode_record(entry: Entry, capture: Capture, content: bytes, names: frozenset[str]) -> bytes:
    """The JSON of the record with the fields `names`; `content` is the body's zstd frame, b"" without `page_source`."""
    record = build_record(entry, capture, content)
    if len(names) == len(FIELDS):
        return msgspec.json.encode(record)
    return msgspec.json.encode({name: getattr(record, name) for name in FIELDS if name in names})


def etag(entry: Entry, names: frozenset[str]) -> str:
    """A strong ETag: `settled` changes with everything that a record shows, the last part with the chosen fields."""
    choice = hashlib.sha256(",".join(sorted(names)).encode()).hexdigest()[:8]
    return f'"{entry.revision}-{entry.settled}-{choice}"'


async def run_aside(
    body_length: int,
    function: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """Call `function`, which works on a body of this length: in a thread when that could hold up the event loop."""
    if body_length > THREAD_BYTES:
        return await asyncio.to_thread(function, *arguments, **named)
    return function(*arguments, **named)
