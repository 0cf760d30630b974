"""An engine in this process: look-ups of its collections, and their stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from metadata_inventory.collect.engine.collection import Stage
from metadata_inventory.collect.engine.engine import Engine
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode
from tests.collect.engine.engines import DEADLINE_S, Working
from tests.support.origin import Origin, head
from tests.support.waiting import wait_until


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.mark.parametrize("host", ["a.example", "a.example.", "xn--bcher-kva.example", "a_b.example"])
def test_a_name_is_connected_to_at_its_address(working: Working, origin: Origin, host: str) -> None:
    working.resolver.known[host] = ("127.0.0.1",)
    capture = working.collect(working.start(), origin.url("/", host=host))
    assert isinstance(capture, Capture)
    timings = capture.exchanges[0].timings_ms
    assert timings.dns is not None
    assert capture.exchanges[0].server is not None
    assert origin.requests[0].headers["host"] == f"{host}:{origin.port}"


def test_names_that_are_not_answered_do_not_hold_up_others(working: Working, origin: Origin) -> None:
    engine = working.start(max_unresolved_names=8, max_unresolved_per_domain=4)
    slow = [CollectionOrder(token=f"slow-{n}", url=f"http://slow{n}.stalled.example/") for n in range(100)]
    assert engine.advance(slow, (), 0) == ()
    working.resolver.wait_for(4)
    working.resolver.known["quick.test.example"] = ("127.0.0.1",)
    working.resolver.known["quick.example.org"] = ("127.0.0.1",)
    assert isinstance(working.collect(engine, origin.url("/", host="quick.example.org")), Capture)
    assert isinstance(working.collect(engine, origin.url("/")), Capture)


def test_a_name_that_is_not_answered_in_time_is_a_timeout(working: Working) -> None:
    engine = working.start(resolve_timeout_s=0.1)
    failure = working.collect(engine, "http://slow.example/")
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.DNS_TIMEOUT
    assert failure.exchanges[0].timings_ms.dns == 100
    assert failure.exchanges[0].response is None


def test_a_look_up_that_ends_too_late_is_ignored(working: Working) -> None:
    engine = working.start(resolve_timeout_s=0.1, max_unresolved_per_domain=1)
    engine.advance([CollectionOrder(token="late", url="http://slow.one.example/")], (), 0)
    (failure,) = dict(engine.advance((), (), round(DEADLINE_S * 1000))).values()
    assert isinstance(failure, Failure)
    working.resolver.let_go.set()
    other = working.collect(engine, "http://none.one.example/")  # is not looked up before the late one has ended
    assert isinstance(other, Failure)
    assert other.code is FailureCode.DNS_ERROR


def test_a_name_with_refused_addresses_only_is_prohibited_and_they_are_kept_secret(working: Working) -> None:
    working.resolver.known["inside.example"] = ("10.1.2.3", "169.254.169.254")
    failure = working.collect(working.start(), "http://inside.example/")
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.DESTINATION_IP_PROHIBITED
    assert "10.1.2.3" not in repr(failure)
    assert "169.254" not in repr(failure)


def test_of_several_addresses_only_allowed_ones_are_connected_to(working: Working, origin: Origin) -> None:
    working.resolver.known["both.example"] = ("10.1.2.3", "127.0.0.1")
    capture = working.collect(working.start(), origin.url("/", host="both.example"))
    assert isinstance(capture, Capture)
    assert capture.exchanges[0].server is not None
    assert capture.exchanges[0].server.ip == "127.0.0.1"


def test_an_abandoned_look_up_is_forgotten(working: Working) -> None:
    engine = working.start()
    engine.advance([CollectionOrder(token="slow", url="http://slow.example/")], (), 0)
    working.resolver.wait_for(1)
    engine.advance((), ("slow",), 0)
    working.resolver.let_go.set()
    assert isinstance(working.collect(engine, "http://none.example/"), Failure)


def test_a_thousand_that_wait_for_a_host_may_end_at_once(working: Working, origin: Origin) -> None:
    """As when a name begins to resolve to a refused address: each that gets the slot fails and frees it."""
    engine = working.start(host_concurrency=1, name_cache_ms=0)
    working.resolver.known["a.example"] = ("127.0.0.1",)
    origin.page("/held")
    origin.hold("/held")
    engine.advance([CollectionOrder(token="held", url=origin.url("/held", host="a.example"))], (), 0)
    wait_until(lambda: engine.advance((), (), 10) == () and origin.count("/held") == 1, DEADLINE_S)
    working.resolver.known["a.example"] = ("10.1.2.3",)
    url = origin.url("/", host="a.example")
    got = dict(engine.advance([CollectionOrder(token=str(number), url=url) for number in range(1500)], (), 100))
    assert got == {}
    origin.release("/held")
    deadline = time.monotonic() + DEADLINE_S
    while len(got) < 1501:
        assert time.monotonic() < deadline
        got |= dict(engine.advance((), (), 50))
    assert isinstance(got.pop("held"), Capture)
    codes = {outcome.code for outcome in got.values() if isinstance(outcome, Failure)}
    assert codes == {FailureCode.DESTINATION_IP_PROHIBITED}


# --- stages


def go_on_until(engine: Engine, holds: Callable[[], bool]) -> None:
    """Turn the engine until the condition holds; no collection ends before."""
    wait_until(lambda: engine.advance((), (), 10) == () and holds(), DEADLINE_S, what="the stage")


class Staged:
    """The collection "it", led from stage to stage by the test. "other" has the one slot of the redirect's target."""

    def __init__(self, working: Working, origin: Origin, *, redirect_body_ms: int = 60_000) -> None:
        self._origin = origin
        self._names = working.resolver
        self.engine = working.start(host_concurrency=1, redirect_body_ms=redirect_body_ms)
        for name in ("slow.example", "target.test"):
            working.resolver.known[name] = ("127.0.0.1",)
        target = origin.url("/target", host="target.test")
        lines = [("Location", target), ("Content-Length", "10")]
        origin.answer("/source", head(302, lines), b"x", stall=True)
        for path in ("/target", "/source"):
            origin.hold(path)
        self.engine.advance([CollectionOrder(token="other", url=target)], (), 0)
        go_on_until(self.engine, lambda: origin.count("/target") == 1)
        self.engine.advance([CollectionOrder(token="it", url=origin.url("/source", host="slow.example"))], (), 0)

    def lead_to(self, stage: Stage) -> None:
        if stage is not Stage.RESOLVING:
            self._names.let_go.set()
            go_on_until(self.engine, lambda: self._origin.count("/source") == 1)
        if stage is Stage.DRAINING_REDIRECT:
            self._origin.release("/source")
            go_on_until(self.engine, lambda: self.stage is stage)
        assert self.stage is stage

    @property
    def stage(self) -> Stage | None:
        return self.engine.stages.get("it")


def test_a_collection_goes_from_stage_to_stage(working: Working, origin: Origin) -> None:
    staged = Staged(working, origin, redirect_body_ms=200)
    for stage in (Stage.RESOLVING, Stage.TRANSFERRING, Stage.DRAINING_REDIRECT):
        staged.lead_to(stage)
    go_on_until(staged.engine, lambda: staged.stage is Stage.WAITING_FOR_SLOT)
    assert staged.engine.stages["other"] is Stage.TRANSFERRING
    origin.release("/target")
    got: dict[str, Capture | Failure] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(got) < 2:
        assert time.monotonic() < deadline
        got |= dict(staged.engine.advance((), (), 50))
    assert {type(outcome) for outcome in got.values()} == {Capture}
    assert staged.engine.stages == {}


@pytest.mark.parametrize("stage", [Stage.RESOLVING, Stage.TRANSFERRING, Stage.DRAINING_REDIRECT])
def test_a_collection_can_be_abandoned_in_every_stage(working: Working, origin: Origin, stage: Stage) -> None:
    """For the fourth stage, waiting for a slot, see the host slots' tests."""
    staged = Staged(working, origin)
    staged.lead_to(stage)
    staged.engine.advance((), ("it",), 0)
    assert staged.engine.stages == {"other": Stage.TRANSFERRING}
    if stage is Stage.RESOLVING:
        working.resolver.let_go.set()
    else:
        origin.release("/source")  # a held request does not notice that its connection is closed
        origin.wait_until(lambda: origin.closed == 1)
    origin.release("/target")
    assert isinstance(working.collect(staged.engine, origin.url("/", host="slow.example")), Capture)
    assert origin.count("/source") == (stage is not Stage.RESOLVING)
