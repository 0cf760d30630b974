"""The token bucket of each client."""

from __future__ import annotations

import pytest

from metadata_inventory.access import rate
from metadata_inventory.access.rate import Grant, RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_burst_is_granted_at_once_and_then_as_much_as_time_brings() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock=clock)
    assert [limit.take("a") for _ in range(4)] == [
        Grant(True, 2, 0.0),
        Grant(True, 1, 0.0),
        Grant(True, 0, 0.0),
        Grant(False, 0, 0.5),
    ]
    clock.now += 0.5
    assert limit.take("a").allowed
    assert not limit.take("a").allowed
    clock.now += 1_000_000
    assert limit.take("a").remaining == 2, "no more is saved than the burst"


def test_refused_attempts_cost_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 1, clock=clock)
    limit.take("a")
    clock.now += 0.5
    assert limit.take("a").wait_s == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.take("a").allowed


def test_clients_do_not_share() -> None:
    limit = RateLimit(1.0, 1, clock=Clock())
    assert limit.take("a").allowed
    assert limit.take("b").allowed
    assert not limit.take("a").allowed


def test_table_is_bounded_and_forgets_who_was_away_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MAX_CLIENTS", 2)
    limit = RateLimit(1.0, 1, clock=Clock())
    for client in ("a", "b", "a", "c"):
        limit.take(client)
    assert not limit.take("a").allowed
    assert limit.take("b").allowed


def test_window_is_what_an_empty_bucket_needs() -> None:
    assert RateLimit(3.0, 100, clock=Clock()).window_s == 34
