"""Host slots: how many transfers one lane has at a host, redirects included, counted at the host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from metadata_inventory.collect.engine.host_slots import HostSlots
from metadata_inventory.model.capture import Capture, Failure, FailureCode
from tests.collect.conftest import Collecting
from tests.collect.pool.lanes import collect, run, running, until
from tests.support.origin import Origin

TARGET, OTHER, *SOURCES = (f"127.0.0.{number}" for number in range(1, 15))


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(addresses=[TARGET, OTHER, *SOURCES]) as origin:
        yield origin


def arrived(origin: Origin, host: str = TARGET) -> list[str]:
    return [request.path for request in list(origin.requests) if request.headers["host"].startswith(f"{host}:")]


def go_through(collecting: Collecting, origin: Origin) -> None:
    """Let all collections go as far as they can: meanwhile one of another host makes two hops."""
    origin.redirect("/through", origin.url("/", host=OTHER))
    assert isinstance(collecting.collect(origin.url("/through", host=OTHER)), Capture)


def lead(origin: Origin, path: str, source: str = SOURCES[0]) -> str:
    """A URL that redirects to a held page of the target."""
    origin.page(path)
    origin.hold(path)
    origin.redirect(f"/to{path}", origin.url(path, host=TARGET))
    return origin.url(f"/to{path}", host=source)


def hold(origin: Origin, path: str) -> str:
    origin.page(path)
    origin.hold(path)
    return origin.url(path, host=TARGET)


def test_a_host_that_many_redirect_to_gets_no_more_than_its_slots_and_others_go_on(origin: Origin) -> None:
    at_once = 4
    paths = [f"/{number}" for number in range(len(SOURCES))]
    for path, source in zip(paths, SOURCES, strict=True):
        lead(origin, path, source)
    directs = ["/direct-1", "/direct-2", "/direct-3"]
    for path in directs:
        hold(origin, path)

    async def test() -> None:
        async with running(lanes=1, host_concurrency=at_once) as lanes:
            tasks = [
                asyncio.create_task(collect(lanes, origin, f"/to{path}", source))
                for path, source in zip(paths, SOURCES, strict=True)
            ]
            await until(lambda: len(arrived(origin)) == at_once)
            tasks += [asyncio.create_task(collect(lanes, origin, path, TARGET)) for path in directs]
            for number in range(len(tasks)):
                expected = min(len(tasks), at_once + number)
                await until(lambda expected=expected: len(arrived(origin)) >= expected)
                assert isinstance(await collect(lanes, origin, host=OTHER), Capture)
                assert len(arrived(origin)) == expected
                origin.release(arrived(origin)[number])
            assert {type(await task) for task in tasks} == {Capture}

    run(test())
    assert set(directs) < set(arrived(origin)[:10]), "they take turns with redirected hops"


def test_the_wait_for_a_slot_is_recorded_as_blocked(collecting: Collecting, origin: Origin) -> None:
    collecting.start(host_concurrency=1)
    first, second = collecting.order(hold(origin, "/1")), collecting.order(lead(origin, "/2"))
    collecting.advance(first)
    collecting.go_on_until(lambda: origin.count("/1") == 1)
    collecting.advance(second)
    go_through(collecting, origin)
    assert collecting.advance(wait_ms=100) == {}
    origin.release("/1")
    origin.release("/2")
    quick, slow = collecting.finish(first, second)
    assert (quick.exchanges[0].timings_ms.blocked or 0) < 90
    assert (slow.exchanges[0].timings_ms.blocked or 0) < 90
    assert (slow.exchanges[1].timings_ms.blocked or 0) > 90


def test_the_wait_for_a_slot_ends_with_the_deadline_and_takes_no_slot(collecting: Collecting, origin: Origin) -> None:
    collecting.start(host_concurrency=1, collect_timeout_s=2)
    older = collecting.order(lead(origin, "/older"))
    origin.hold("/to/older")
    collecting.advance(older)
    collecting.go_on_until(lambda: origin.count("/to/older") == 1)
    assert collecting.advance(wait_ms=500) == {}
    holder = collecting.order(hold(origin, "/holder"))  # outlasts the collection that waits for its slot
    collecting.advance(holder)
    collecting.go_on_until(lambda: origin.count("/holder") == 1)
    origin.release("/to/older")
    (failure,) = collecting.finish(older)
    assert isinstance(failure, Failure)
    assert failure.code is FailureCode.CONNECTION_TIMEOUT
    assert "This service" in failure.detail, "it does not blame the host"
    first, second = failure.exchanges
    assert first.response is not None
    assert second.response is None
    assert second.request.url == origin.url("/older", host=TARGET)
    assert 500 < (second.timings_ms.blocked or 0) < 2000
    assert second.timings_ms.connect is None
    younger = collecting.order(origin.url("/", host=TARGET))
    collecting.advance(younger)
    origin.release("/holder")
    assert isinstance(collecting.finish(younger)[0], Capture)
    assert arrived(origin) == ["/holder", "/"]


@pytest.mark.parametrize("abandoned", [(0, 1), (1, 0), (1,)], ids=["holder, waiting", "waiting, holder", "waiting"])
def test_an_abandoned_collection_gives_up_its_slot_and_its_wait(
    collecting: Collecting, origin: Origin, abandoned: tuple[int, ...]
) -> None:
    collecting.start(host_concurrency=1)
    orders = [collecting.order(hold(origin, "/0")), *(collecting.order(lead(origin, path)) for path in ("/1", "/2"))]
    for path, order in zip(("/0", "/to/1", "/to/2"), orders, strict=True):
        collecting.advance(order)
        collecting.go_on_until(lambda path=path: origin.count(path) == 1)
        go_through(collecting, origin)
    collecting.advance(abandoned=tuple(orders[number].token for number in abandoned), wait_ms=0)
    origin.release("/2")
    if 0 not in abandoned:
        go_through(collecting, origin)
        assert arrived(origin) == ["/0"]
        origin.release("/0")
    assert isinstance(collecting.finish(orders[2])[0], Capture)
    assert arrived(origin) == ["/0", "/2"]


def test_hosts_that_redirect_to_one_another_do_not_wait_for_one_another(collecting: Collecting, origin: Origin) -> None:
    collecting.start(host_concurrency=1)
    hosts = SOURCES[:2]
    orders = []
    for number in range(10):
        here, there = hosts[number % 2], hosts[1 - number % 2]
        origin.redirect(f"/{number}/a", origin.url(f"/{number}/b", host=there))
        origin.redirect(f"/{number}/b", origin.url("/", host=here))
        orders.append(collecting.order(origin.url(f"/{number}/a", host=here)))
    assert {type(outcome) for outcome in collecting.finish(*orders)} == {Capture}


def test_a_redirect_within_its_host_keeps_the_slot(collecting: Collecting, origin: Origin) -> None:
    collecting.start(host_concurrency=1)
    origin.redirect("/1", "/2")
    origin.redirect("/2", "/3")
    origin.page("/3")
    origin.hold("/1")
    orders = [collecting.order(origin.url(path, host=TARGET)) for path in ("/1", "/")]
    collecting.advance(*orders)
    collecting.go_on_until(lambda: origin.count("/1") == 1)
    origin.release("/1")
    assert {type(outcome) for outcome in collecting.finish(*orders)} == {Capture}
    assert arrived(origin) == ["/1", "/2", "/3", "/"]


def test_a_repeated_hop_keeps_the_slot(collecting: Collecting, tls_origin: Origin) -> None:
    collecting.start(host_concurrency=1, tls_verify="record")
    orders = [collecting.order(tls_origin.url("/")) for _ in range(3)]
    assert {type(outcome) for outcome in collecting.finish(*orders)} == {Capture}


# --- HostSlots itself


def take_all(slots: HostSlots) -> list[str]:
    return list(iter(slots.take, None))


def test_first_hops_and_redirected_hops_get_slots_in_turn() -> None:
    slots = HostSlots(at_once=1)
    assert slots.enter("holder", "a", redirected=False)
    for token in ("r1", "r2", "r3", "r4"):
        assert not slots.enter(token, "a", redirected=True)
    for token in ("f1", "f2"):
        assert not slots.enter(token, "a", redirected=False)
    assert slots.enter("elsewhere", "b", redirected=True)
    order = ["holder"]
    while order[-1:] != ["r4"]:
        slots.leave(order[-1])
        (token,) = take_all(slots)
        order.append(token)
    assert order == ["holder", "f1", "r1", "f2", "r2", "r3", "r4"]


def test_hosts_are_forgotten_when_nothing_is_left() -> None:
    slots = HostSlots(at_once=2)
    tokens = [f"{host}{number}" for host in "ab" for number in range(6)]
    entered = [slots.enter(token, token[0], redirected=token[1] in "246") for token in tokens]
    assert sum(entered) == 4
    for token in tokens[:4] + tokens[:4]:  # those with a slot and those that wait, and both again after that
        slots.leave(token)
    for token in reversed(tokens):
        slots.leave(token, unless="c")
    assert take_all(slots) == []
    assert [table for table in vars(slots).values() if isinstance(table, dict) and table] == []


def test_a_slot_is_kept_for_the_same_host_only() -> None:
    slots = HostSlots(at_once=1)
    assert slots.enter("one", "a", redirected=False)
    slots.leave("one", unless="a")
    assert slots.enter("one", "a", redirected=True)
    assert not slots.enter("two", "a", redirected=True)
    slots.leave("one", unless="b")
    assert take_all(slots) == ["two"]
