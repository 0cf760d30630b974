"""A real engine with a resolver of the test's own, an origin that it may connect to, and traps where it may not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from metadata_inventory.collect.engine.engine import Engine
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.urls import NormalizedUrl
from tests.hostile.trap import ORIGIN, Trap, turn
from tests.support.options import collector_options
from tests.support.origin import Origin

DEADLINE_S = 20.0


class SocketsOnly(DestinationPolicy):
    """Allows every URL, so that only the check at the socket remains: it has to be enough by itself."""

    def refuses_url(self, url: NormalizedUrl) -> bool:
        return False


class NoRules(SocketsOnly):
    """Allows every destination: shows that the traps would notice a connection."""

    def allows_address(self, ip: str, port: int) -> bool:
        return True

    def allows_own(self, ip: str, port: int) -> bool:
        return True

    def allows_connection(self, ip: str, port: int, local_ip: str) -> bool:
        return True


class Zone:
    """A resolver that returns the given answers of a name in order, and the last one again and again."""

    def __init__(self, **answers: list[tuple[str, ...]]) -> None:
        self.asked: list[str] = []
        self._answers = {f"{name}.example": list(given) for name, given in answers.items()}

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if host.rstrip(".") not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        given = self._answers[host.rstrip(".")]
        return given.pop(0) if len(given) > 1 else given[0]


def leads_inside(host: str) -> tuple[str, ...]:
    """A resolver that answers every name with loopback."""
    return ("127.0.0.1",)


class Collector:
    """A lane process's engine, run in this process. Connections are kept between collections."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {"collect_timeout_s": 5.0}
        self.resolve: Callable[[str], tuple[str, ...]] = Zone()
        self._engine: Engine | None = None

    def collect(self, url: str) -> Outcome:
        got = dict(self._exchange(CollectionOrder(token="it", url=url)))
        deadline = time.monotonic() + DEADLINE_S
        while not got:
            assert time.monotonic() < deadline, "the collection does not end"
            got = dict(self._exchange())
        return got["it"]

    def capture(self, url: str) -> Capture:
        outcome = self.collect(url)
        assert isinstance(outcome, Capture), outcome
        return outcome

    def refused(self, url: str) -> Failure:
        """Collect; the failure has to be a prohibited destination, and to tell nothing of the last hop."""
        outcome = self.collect(url)
        assert isinstance(outcome, Failure), outcome
        assert outcome.code is FailureCode.DESTINATION_IP_PROHIBITED
        last = outcome.exchanges[-1]
        assert (last.server, last.response, last.tls, last.request.headers) == (None, None, None, ())
        return outcome

    def springs(self, url: str, trap: Trap) -> bool:
        """Whether the collection connects to the trap; it is abandoned then."""
        got = self._exchange(CollectionOrder(token="it", url=url))
        deadline = time.monotonic() + DEADLINE_S
        while not (caught := trap.sprung()) and not got:
            assert time.monotonic() < deadline, "the collection does not end"
            got = self._exchange()
        return bool(caught)

    def _exchange(self, *orders: CollectionOrder) -> tuple[tuple[str, Outcome], ...]:
        if self._engine is None:
            self._engine = Engine(collector_options(**self.options), resolve=lambda host: self.resolve(host))
        return self._engine.advance(orders, (), 50)

    def start_anew(self) -> None:
        """Close the engine; the next collection starts one with the current options."""
        self.close()
        self._engine = None

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Take the turn for the web ports before the test's time starts to count (pytest-timeout's wrapper is inside)."""
    with turn() if "trap" in getattr(item, "fixturenames", ()) else nullcontext():
        return (yield)


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as trap:
        yield trap


@pytest.fixture
def origin(trap: Trap) -> Iterator[Origin]:
    """An origin on the trap's port: the two differ by their address alone."""
    origin = Origin(addresses=[ORIGIN])
    origin.port = trap.port
    with origin:
        yield origin


@pytest.fixture
def collector(trap: Trap) -> Iterator[Collector]:
    """A collector with the default rules, which may also reach the origin. A connection to a trap fails the test."""
    collector = Collector()
    collector.options["destinations"] = DestinationPolicy.parse([f"{ORIGIN}:{trap.port}"])
    yield collector
    collector.close()
    assert trap.sprung() == []
