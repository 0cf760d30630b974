"""The resolver: which names it looks up, how many at once, and with what results."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from metadata_inventory.collect.engine import resolver as module
from metadata_inventory.collect.engine.resolver import Resolution, Resolver
from metadata_inventory.model.capture import FailureCode
from tests.collect.engine.engines import DEADLINE_S, HeldNames


class Looking:
    """A resolver, and a wait for its results."""

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


def test_a_domain_is_forgotten_when_nothing_of_it_is_looked_up_any_more(resolver: HeldNames) -> None:
    looking = Looking(resolver)
    looking.names.ask("a", "slow.one.test")
    looking.names.ask("b", "slow.two.test")
    assert len(looking.names.busy_domains) == 2
    resolver.let_go.set()
    looking.take(2)
    assert looking.names.busy_domains == frozenset()


def test_silence_is_distinguished_from_a_server_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_names_are_looked_up_by_this_hosts_resolver() -> None:
    assert set(module.resolve_here("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        module.resolve_here("a..b")
