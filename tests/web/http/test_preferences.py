"""Reading the Prefer header (RFC 7240)."""

from __future__ import annotations

import time

import pytest

from metadata_inventory.web.http.preferences import WaitPreference, read_preferences, read_wait_preference


@pytest.mark.parametrize(
    "given", ["a" * 90_000 + "!", "a" * 40_000 + " " * 40_000 + "!", "wait=" + "9" * 80_000, '"' * 80_000, "," * 80_000]
)
def test_time_for_reading_preferences_is_linear_in_their_length(given: str) -> None:
    began = time.monotonic()
    read_preferences(given)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", {"": ""}),
        ('WAIT = "7" ; x=y, respond-async', {"wait": "7", "respond-async": ""}),
        ("wait=1, wait=20", {"wait": "1"}),
    ],
)
def test_preferences_are_read_as_rfc_7240_says(given: str, expected: dict[str, str]) -> None:
    assert read_preferences(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("wait=5", WaitPreference(5, "wait=5")),
        ("wait=31", WaitPreference(30, "wait=30")),
        ("wait=999999999", WaitPreference(30, "wait=30")),
        ("wait=9999999999", None),
        ("wait=-1", None),
        ("wait=²", None),
        ("respond-async", WaitPreference(0, "respond-async")),
        ("respond-async, wait=5", WaitPreference(5, "wait=5")),
        ("wait=x, respond-async", WaitPreference(0, "respond-async")),
        ("return=minimal", None),
    ],
)
def test_wait_of_at_most_30_seconds_comes_before_respond_async(given: str, expected: WaitPreference | None) -> None:
    assert read_wait_preference(given) == expected
