"""Values from outside: what fits, and the sentence about what does not."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from metadata_inventory.validation import ValueMismatch, convert


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


REFUSED = [
    pytest.param(Literal["A", "B", "C"], "x", 'name must be one of A, B or C, not "x".', id="literal"),
    pytest.param(Colour, "green", 'name must be one of red or blue, not "green".', id="enum"),
    pytest.param(
        Annotated[int, Meta(ge=0, le=30)], 31, "name must be a whole number from 0 to 30, not 31.", id="range"
    ),
    pytest.param(Annotated[int, Meta(ge=1024)], 5, "name must be a whole number of at least 1024, not 5.", id="least"),
    pytest.param(int, 1.5, "name must be a whole number, not 1.5.", id="fraction"),
    pytest.param(
        Annotated[float, Meta(gt=0, le=3600)],
        "0",
        'name must be a number above 0 and at most 3600, not "0".',
        id="above",
    ),
    pytest.param(Annotated[float, Meta(le=5)], 6, "name must be a number of at most 5, not 6.", id="most"),
    pytest.param(bool, "maybe", 'name must be true or false, not "maybe".', id="truth value"),
    pytest.param(str, None, "name must be text, not null.", id="null"),
    pytest.param(Annotated[str, Meta(min_length=1)], "", 'name must be text that is not empty, not "".', id="empty"),
    pytest.param(str | None, 5, "name must be text or null, not 5.", id="optional"),
    pytest.param(
        Annotated[str, Meta(pattern="^a", extra={"expected": "a word with a"})],
        "b",
        'name must be a word with a, not "b".',
    ),
    pytest.param(
        Annotated[datetime, Meta(tz=True)],
        "2026-01-31",
        'name must be an instant with its time zone, such as 2026-01-31T09:30:00Z, not "2026-01-31".',
        id="instant",
    ),
    pytest.param(tuple[str, ...], "x", 'name must be a list, not "x".', id="no list"),
    pytest.param(tuple[str, ...], {"a": 1}, "name must be a list, not an object.", id="object"),
    pytest.param(str, [1], "name must be text, not a list.", id="list"),
    pytest.param(
        tuple[Colour, ...], ["red", "green"], 'Each item of name must be one of red or blue, not "green".', id="item"
    ),
    pytest.param(
        Annotated[tuple[int, ...], Meta(description="d")] | None,
        ["x"],
        'Each item of name must be a whole number, not "x".',
    ),
    pytest.param(dict[str, int], "x", 'name must be an object, not "x".', id="not an object"),
]


@pytest.mark.parametrize(("kind", "value", "sentence"), REFUSED)
def test_value_that_does_not_fit_is_told_with_what_would(kind: Any, value: object, sentence: str) -> None:
    with pytest.raises(ValueMismatch) as caught:
        convert("name", value, kind, strict=not isinstance(value, str))
    assert str(caught.value) == sentence


def test_long_and_unprintable_values_are_shown_on_one_short_line() -> None:
    with pytest.raises(ValueMismatch) as caught:
        convert("name", "\x1b[31m\n" + "x" * 10_000, int, strict=False)
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "text", "value"), [(int, "5", 5), (float, "0.5", 0.5), (bool, "true", True), (Colour, "red", Colour.RED)]
)
def test_text_is_read_as_what_it_spells_unless_strict(kind: Any, text: str, value: object) -> None:
    assert convert("name", text, kind, strict=False) == value
    if kind is not Colour:
        with pytest.raises(ValueMismatch):
            convert("name", text, kind, strict=True)
