"""Reads a request's body as JSON (RFC 8259), strictly: UTF-8, no NaN or Infinity, no member given twice.

It uses Python's parser, which has hooks for all of this: msgspec's parser silently keeps the last of repeated members.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from metadata_inventory.errors import InvalidJson, InvalidParameter, UnsupportedMediaType, UrlRepeated
from metadata_inventory.validation import show


def parse_json(content_type: str | None, body: bytes) -> object:
    """The value. Raises UnsupportedMediaType, InvalidJson, UrlRepeated, InvalidParameter."""
    _check_media_type(content_type)
    if not body:
        raise InvalidJson("The body is empty; it must be JSON.")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_refuse_repeated_members,
            parse_constant=_refuse_constant,
            parse_float=_read_number,
        )
    except UnicodeDecodeError as error:
        raise InvalidJson("The body is not valid JSON: it is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON; see line {error.lineno}, column {error.colno}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting without end
        raise InvalidJson("The body is not JSON that this service reads: too deep, or a number too long.") from error


def _check_media_type(content_type: str | None) -> None:
    if content_type is None:
        raise UnsupportedMediaType("Content-Type is missing; it must be application/json, in UTF-8.")
    essence, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if essence.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise UnsupportedMediaType(f"Content-Type must be application/json, in UTF-8, not {show(content_type)}.")


def _refuse_repeated_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        name = "url" if counts["url"] > 1 else next(name for name in value if counts[name] > 1)
        refusal = UrlRepeated if name == "url" else InvalidParameter
        raise refusal(f"The member {show(name)} is given {counts[name]} times; give it once.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"The body is not valid JSON: {name} is no JSON number.")


def _read_number(text: str) -> float:
    """A number with a zero fraction is an integer in JSON Schema, 60.0 like 60 (Validation 2020-12 §6.1.1)."""
    value = float(text)
    return int(value) if value.is_integer() else value
