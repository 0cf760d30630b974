from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from metadata_inventory.collect.engine import resolver as module
from metadata_inventory.collect.engine.engine import Engine
from metadata_inventory.collect.engine.resolver import Resolution, Resolver
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode
from metadata_inventory.model.destinations import DestinationPolicy
from tests.support.options import collector_options
from tests.support.origin import Origin
from tests.support.waiting import wait_until

DEADLINE_S = 20.0


@dataclass
class HeldNames:
    """In place of the host's own: names that hold are not answered until told so. Real name servers need port 53."""

    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, host: str) -> tuple[str, ...]:
        with self.changed:
            self.asked.append(host)
            self.changed.notify_all()
        if host.startswith("slow"):
            self.let_go.wait(DEADLINE_S)
        if host in self.known:
            return self.known[host]
        raise socket.gaierror(socket.EAI_NONAME, "made up")

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, DEADLINE_S)


@pytest.fixture
def resolver() -> Iterator[HeldNames]:
    resolver = HeldNames()
    yield resolver
    resolver.let_go.set()


class Looking:
    """A resolver, and a wait for what they answer."""

    def __init__(self, resolver: Callable[[str], tuple[str, ...]], *, at_once: int = 4, per_domain: int = 2) -> None:
        self._woken = threading.Event()
        self.names = Resolver(
            at_once=at_once, per_domain=per_domain, cache_ms=60_000, wake=self._woken.set, resolve=resolver
        )

    def take(self, count: int = 1) -> dict[str, Resolution]:
        got: dict[str, Resolution] = {}
        deadline = time.monotonic() + DEADLINE_S
        while len(got) < count:
            assert self._woken.wait(deadline - time.monotonic())
            self._woken.clear()
            got |= dict(self.names.take())
        return got


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::1"])
def test_an_address_is_not_looked_up(resolver: HeldNames, host: str) -> None:
    assert Looking(resolver).names.ask("t", host) == Resolution()
    assert resolver.asked == []


def test_a_name_is_asked_for_once_and_then_remembered(resolver: HeldNames) -> None:
    resolver.known["slow.test"] = ("192.0.2.1", "2001:db8::1")
    looking = Looking(resolver)
    assert looking.names.ask("a", "slow.test") is None
    assert looking.names.ask("b", "slow.test") is None
    resolver.let_go.set()
    got = looking.take(2)
    assert got["a"].addresses == got["b"].addresses == ("192.0.2.1", "2001:db8::1")
    assert got["a"].took_ms is not None
    assert looking.names.ask("c", "slow.test") == Resolution(addresses=("192.0.2.1", "2001:db8::1"))
    assert resolver.asked == ["slow.test"]


def test_a_name_that_does_not_exist_is_an_error_and_not_remembered(resolver: HeldNames) -> None:
    looking = Looking(resolver)
    for _ in range(2):
        assert looking.names.ask("a", "none.test") is None
        assert looking.take()["a"].failure is FailureCode.DNS_ERROR
    assert resolver.asked == ["none.test", "none.test"]


def test_silence_is_told_from_a_server_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str) -> tuple[str, ...]:
        raise socket.gaierror(socket.EAI_AGAIN, "made up")

    looking = Looking(fail)
    looking.names.ask("a", "x.test")
    assert looking.take()["a"].failure is FailureCode.DNS_ERROR
    monkeypatch.setattr(module, "RESOLVER_TIMEOUT_S", 0)
    looking.names.ask("a", "x.test")
    assert looking.take()["a"].failure is FailureCode.DNS_TIMEOUT


def test_few_names_of_one_domain_are_looked_up_at_once(resolver: HeldNames) -> None:
    looking = Looking(resolver, at_once=4, per_domain=2)
    resolver.known["quick.example"] = ("192.0.2.1",)
    for number in range(10):
        looking.names.ask(f"slow-{number}", f"slow{number}.stalled.test")
    resolver.wait_for(2)
    looking.names.ask("quick", "quick.example")
    assert looking.take()["quick"].addresses
    assert resolver.asked[2:] == ["quick.example"]
    resolver.let_go.set()
    assert len(looking.take(10)) == 10


def test_a_look_up_that_waits_is_dropped_with_its_last_ticket(resolver: HeldNames) -> None:
    looking = Looking(resolver, at_once=1)
    looking.names.ask("first", "slow.test")
    looking.names.ask("a", "other.example")
    looking.names.ask("b", "other.example")
    looking.names.forget("a", "other.example")
    looking.names.forget("b", "other.example")
    looking.names.forget("first", "slow.test")
    resolver.let_go.set()
    looking.names.ask("c", "last.example")
    assert set(looking.take()) == {"c"}
    assert resolver.asked == ["slow.test", "last.example"]


def test_this_hosts_resolver_is_asked() -> None:
    assert set(module.resolve_here("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError):  # noqa: PT011 - whichever subclass
        module.resolve_here("a..b")


# --- in a worker


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@dataclass
class Working:
    resolver: HeldNames
    workers: list[Engine] = field(default_factory=list)

    def start(self, *allow: str, **options: float) -> Engine:
        policy = DestinationPolicy.parse(allow or ["127.0.0.0/8", "192.0.2.0/24"])
        worker = Engine(collector_options(destinations=policy, **options), resolve=self.resolver)
        self.workers.append(worker)
        return worker

    def collect(self, worker: Engine, url: str) -> Capture | Failure:
        got = dict(worker.advance([CollectionOrder(token="asked", url=url)], (), 0))
        deadline = time.monotonic() + DEADLINE_S
        while "asked" not in got:
            assert time.monotonic() < deadline
            got |= dict(worker.advance((), (), 50))
        return got["asked"]


@pytest.fixture
def working(resolver: HeldNames) -> Iterator[Working]:
    working = Working(resolver)
    yield working
    for worker in working.workers:
        worker.close()


@pytest.mark.parametrize("host", ["a.example", "a.example.", "xn--bcher-kva.example", "a_b.example"])
def test_a_name_is_dialled_where_it_leads(working: Working, origin: Origin, host: str) -> None:
    working.resolver.known[host] = ("127.0.0.1",)
    capture = working.collect(working.start(), origin.url("/", host=host))
    assert isinstance(capture, Capture)
    timings = capture.exchanges[0].timings_ms
    assert timings.dns is not None
    assert capture.exchanges[0].server is not None
    assert origin.requests[0].headers["host"] == f"{host}:{origin.port}"


def test_names_that_nobody_answers_do_not_hold_up_others(working: Working, origin: Origin) -> None:
    worker = working.start(max_unresolved_names=8, max_unresolved_per_domain=4)
    slow = [CollectionOrder(token=f"slow-{n}", url=f"http://slow{n}.stalled.example/") for n in range(100)]
    assert worker.advance(slow, (), 0) == ()
    working.resolver.wait_for(4)
    working.resolver.known["quick.test.example"] = ("127.0.0.1",)
    working.resolver.known["quick.example.org"] = ("127.0.0.1",)
    assert isinstance(working.collect(worker, origin.url("/", host="quick.example.org")), Capture)
    assert isinstance(working.collect(worker, origin.url("/")), Capture)


def test_a_name_that_is_not_answered_in_time_is_a_time_out(working: Working) -> None:
    worker = working.start(resolve_timeout_s=0.1)
    failure = working.collect(worker, "http://slow.example/")
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.DNS_TIMEOUT
    assert failure.exchanges[0].timings_ms.dns == 100
    assert failure.exchanges[0].response is None


def test_a_name_that_leads_only_to_refused_addresses_is_prohibited_and_they_are_not_told(working: Working) -> None:
    working.resolver.known["inside.example"] = ("10.1.2.3", "169.254.169.254")
    failure = working.collect(working.start(), "http://inside.example/")
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.DESTINATION_IP_PROHIBITED
    assert "10.1.2.3" not in repr(failure)
    assert "169.254" not in repr(failure)


def test_of_several_addresses_only_allowed_ones_are_dialled(working: Working, origin: Origin) -> None:
    working.resolver.known["both.example"] = ("10.1.2.3", "127.0.0.1")
    capture = working.collect(working.start(), origin.url("/", host="both.example"))
    assert isinstance(capture, Capture)
    assert capture.exchanges[0].server is not None
    assert capture.exchanges[0].server.ip == "127.0.0.1"


def test_an_abandoned_look_up_is_forgotten(working: Working) -> None:
    worker = working.start()
    worker.advance([CollectionOrder(token="slow", url="http://slow.example/")], (), 0)
    working.resolver.wait_for(1)
    worker.advance((), ("slow",), 0)
    working.resolver.let_go.set()
    assert isinstance(working.collect(worker, "http://none.example/"), Failure)


def test_a_thousand_that_wait_for_a_host_may_end_at_once(working: Working, origin: Origin) -> None:
    """As when the host's name comes to lead where nobody may go: each that is let in ends, and lets in the next."""
    worker = working.start(host_concurrency=1, name_cache_ms=0)
    working.resolver.known["a.example"] = ("127.0.0.1",)
    origin.page("/held")
    origin.hold("/held")
    worker.advance([CollectionOrder(token="held", url=origin.url("/held", host="a.example"))], (), 0)
    wait_until(lambda: worker.advance((), (), 10) == () and origin.count("/held") == 1, DEADLINE_S)
    working.resolver.known["a.example"] = ("10.1.2.3",)
    url = origin.url("/", host="a.example")
    got = dict(worker.advance([CollectionOrder(token=str(number), url=url) for number in range(1500)], (), 100))
    assert got == {}
    origin.release("/held")
    deadline = time.monotonic() + DEADLINE_S
    while len(got) < 1501:
        assert time.monotonic() < deadline
        got |= dict(worker.advance((), (), 50))
    assert isinstance(got.pop("held"), Capture)
    codes = {outcome.code for outcome in got.values() if isinstance(outcome, Failure)}
    assert codes == {FailureCode.DESTINATION_IP_PROHIBITED}
