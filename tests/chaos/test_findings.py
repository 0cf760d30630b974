"""What the judge of a run forgives, and what not."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence

import pytest

from tests.chaos.clients import Clients
from tests.chaos.findings import LEASE_S, NOTICE_S, RECLAIM_S, Findings, judge
from tests.chaos.killer import Kind, Strike
from tests.chaos.origin import Manner, Origin, Overlap, Visit
from tests.chaos.watch import Watch

PATH = "/1"
STOPPED, LANE, OTHER = 10, 11, 20
STOP = Strike(100.0, Kind.STOPPED_API, STOPPED, over_at=110.0)
DUE_S = LEASE_S + RECLAIM_S


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


def judged(
    strikes: Sequence[Strike],
    *,
    overlaps: Sequence[Overlap] = (),
    visits: Sequence[Visit] = (),
    seen: Sequence[tuple[float, frozenset[str]]] = (),
    manner: Manner = Manner.WHOLE,
) -> Findings:
    """Of one path, of which no client was told anything."""
    manners = {PATH: manner}
    watch = Watch({}, str)
    watch.owed.extend(seen)
    with Origin(manners, random.Random(1)) as origin:
        origin.overlaps.extend(overlaps)
        origin.visits.extend(visits)
    return judge(Clients({}, str, float), origin, {}, strikes, watch, manners=manners, seed="", duration_s=1)


def overlap(at: float, *processes: int) -> Overlap:
    one, other = processes
    return Overlap(PATH, at, at - 1, ((one, 2, 1), (other, 3, 1)))


@pytest.mark.parametrize("at", [STOP.at + LEASE_S, STOP.over_at, STOP.over_at + NOTICE_S])
@pytest.mark.parametrize("processes", [(STOPPED, OTHER), (OTHER, STOPPED)])
def test_overlap_with_a_process_that_was_stopped_is_forgiven(at: float, processes: tuple[int, int]) -> None:
    findings = judged([STOP], overlaps=[overlap(at, *processes)])
    assert not findings.problems
    assert findings.figures.overlaps_in_stops == 1


def test_overlap_with_a_process_below_a_stopped_one_is_forgiven() -> None:
    below = Overlap(PATH, 106.0, 101.0, ((OTHER, 3, 1), (LANE, 12, STOPPED, 1)))
    assert not judged([STOP], overlaps=[below]).problems


@pytest.mark.parametrize(
    ("strike", "at", "processes"),
    [
        pytest.param(STOP, 106.0, (OTHER, OTHER), id="of two others"),
        pytest.param(STOP, 99.0, (STOPPED, OTHER), id="before the stop"),
        pytest.param(STOP, 101.0, (STOPPED, OTHER), id="before a lease ran out"),
        pytest.param(STOP, 112.5, (STOPPED, OTHER), id="long after the stop"),
        pytest.param(Strike(100, Kind.API, STOPPED, over_at=110), 106.0, (STOPPED, OTHER), id="of a killed one"),
        pytest.param(Strike(100, Kind.DATABASE, STOPPED, over_at=110), 106.0, (STOPPED, OTHER), id="database away"),
    ],
)
def test_other_overlaps_are_problems(strike: Strike, at: float, processes: tuple[int, int]) -> None:
    findings = judged([strike], overlaps=[overlap(at, *processes)])
    assert [problem.partition(" ")[0] for problem in findings.problems] == ["overlap:"]
    assert findings.figures.overlaps_in_stops == 0


def test_overlap_of_unknown_processes_is_a_problem() -> None:
    assert judged([STOP], overlaps=[Overlap(PATH, 106.0, 101.0, ((), ()))]).problems


def broken_off(connection: socket.socket, again_after_s: float) -> list[Visit]:
    """A visit that is broken off at 200, and the next one."""
    again_at = 200 + again_after_s
    return [
        Visit(PATH, 1, 199.0, connection, ended_at=200.0),
        Visit(PATH, 2, again_at, connection, ended_at=again_at + 1, answered=True),
    ]


def killed(at: float, kind: Kind = Kind.API, over_at: float = 0.0) -> Strike:
    return Strike(at, kind, 1, over_at=over_at or at)


def back(at: float) -> tuple[float, frozenset[str]]:
    """The database answers, and the path is owed."""
    return at, frozenset({PATH})


CAUSES = [
    pytest.param([killed(199.9)], [], 0, id="worker"),
    pytest.param([killed(199.9, Kind.CHILD)], [], 0, id="collector"),
    pytest.param([killed(199.9), killed(201)], [], LEASE_S, id="two workers"),
    pytest.param([killed(199.9), killed(201, Kind.CHILD)], [], 0, id="worker, then a collector"),
    pytest.param([killed(200, Kind.SUPERVISOR, over_at=203)], [], 3, id="supervisor"),
    pytest.param([killed(199.9), killed(201, Kind.DATABASE)], [back(200.5), back(205)], 4, id="worker and database"),
    pytest.param(
        [killed(199.9), killed(201, Kind.DATABASE), killed(202, Kind.DATABASE)], [back(205)], 4, id="database twice"
    ),
    pytest.param([killed(190, Kind.DATABASE), killed(199.9)], [back(195)], 0, id="database before"),
]


@pytest.mark.parametrize(("strikes", "seen", "more_s"), CAUSES)
def test_reclaim_has_a_lease_and_what_was_away_meanwhile(
    connection: socket.socket, strikes: list[Strike], seen: list[tuple[float, frozenset[str]]], more_s: float
) -> None:
    in_time = judged(strikes, visits=broken_off(connection, DUE_S + more_s - 0.1), seen=seen)
    assert not in_time.problems
    assert in_time.figures.collections_broken_off == 1
    late = judged(strikes, visits=broken_off(connection, DUE_S + more_s + 0.1), seen=seen)
    assert [problem.partition(" ")[0] for problem in late.problems] == ["late:"]
    assert late.figures.reclaims_late == 1


def test_request_after_the_collection_had_ended_is_no_reclaim(connection: socket.socket) -> None:
    ended = (201.0, frozenset[str]())
    assert not judged([killed(199.9)], visits=broken_off(connection, 60), seen=[ended]).problems


def test_silent_path_is_no_reclaim(connection: socket.socket) -> None:
    assert not judged([killed(199.9)], visits=broken_off(connection, 60), manner=Manner.SILENT).problems
