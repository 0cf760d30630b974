"""A collector without a lane process: the tests call the functions of `entry` in their own process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backports import zstd

from metadata_inventory.collect.engine import entry
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, Outcome
from metadata_inventory.model.destinations import DestinationPolicy
from tests.support.options import collector_options
from tests.support.origin import Origin

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")  # that the origin answers for
LOOPBACK = DestinationPolicy.parse(["127.0.0.0/8", "::1"])
DEADLINE_S = 20.0


def content(capture: Capture) -> bytes:
    """The body of the capture, decompressed."""
    return zstd.decompress(capture.content)


class Collecting:
    """Calls `entry.start` on the first use, with the options that were set before."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {"destinations": LOOPBACK}
        self._tokens = (f"token-{number}" for number in itertools.count())
        self._started = False
        self._handed_over: set[str] = set()
        self._got: dict[str, Outcome] = {}

    def start(self, **options: Any) -> Collecting:
        entry.stop()
        self.options |= options
        entry.start(collector_options(**self.options))
        self._started = True
        return self

    def order(self, url: str) -> CollectionOrder:
        return CollectionOrder(token=next(self._tokens), url=url)

    def advance(
        self, *orders: CollectionOrder, abandoned: tuple[str, ...] = (), wait_ms: int = 50
    ) -> dict[str, Outcome]:
        if not self._started:
            self.start()
        self._handed_over.update(order.token for order in orders)
        return dict(entry.advance(orders, abandoned, wait_ms))

    def finish(self, *orders: CollectionOrder) -> list[Outcome]:
        """The outcomes of the orders, in the order given. Orders that were not handed over yet are."""
        new = [order for order in orders if order.token not in self._handed_over]
        self._got |= self.advance(*new, wait_ms=0)
        deadline = time.monotonic() + DEADLINE_S
        while any(order.token not in self._got for order in orders):
            assert time.monotonic() < deadline, "the collections do not end"
            self._got |= self.advance()
        return [self._got.pop(order.token) for order in orders]

    def go_on_until(self, holds: Callable[[], bool]) -> None:
        """Advance until the condition holds; no collection may end before."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, "the condition never holds"
            assert self.advance() == {}

    def collect(self, url: str) -> Outcome:
        return self.finish(self.order(url))[0]

    def capture(self, url: str) -> Capture:
        outcome = self.collect(url)
        assert isinstance(outcome, Capture), outcome
        return outcome

    def failure(self, url: str) -> Failure:
        outcome = self.collect(url)
        assert isinstance(outcome, Failure), outcome
        return outcome


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collecting]:
    monkeypatch.setenv("RES_OPTIONS", "timeout:1 attempts:1")  # otherwise `start` would leave its own value behind
    monkeypatch.setattr("gc.freeze", lambda: None)  # meant for a lane process, and not for this one
    yield Collecting()
    entry.stop()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(addresses=HOSTS) as origin:
        yield origin


@pytest.fixture
def tls_origin() -> Iterator[Origin]:
    with Origin(tls=True) as origin:
        yield origin
