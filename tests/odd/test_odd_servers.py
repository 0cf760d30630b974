"""Every case through the collector: its outcome, its time and its memory; and the page that lists them all."""

from __future__ import annotations

import pickle
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.model.capture import Capture, Exchange, FailureCode, Outcome
from tests.collect.conftest import Collecting
from tests.odd.case import MIB, Case, failure, page
from tests.odd.catalogue import CASES, tables
from tests.odd.certificates import authority_pem
from tests.odd.server import OddServer, answers, keeps_answering, whole
from tests.odd.weighing import weigh
from tests.support.options import collector_options

MARGIN_S = 1.0  # for the collector to notice that the time is over, on a busy machine
BUFFER_BYTES = 64 * 1024  # libcurl's, as `collect.curl_options` sets it
DOCUMENT = Path(__file__).parents[2] / "docs" / "odd-servers.md"


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_bytes(authority_pem())
    return str(path)


def options_of(case: Case, ca_file: str) -> dict[str, Any]:
    """What can be said in JSON; destinations are the fixture's."""
    trust = {"ca_file": ca_file} if case.trusting else {}
    return {"collect_timeout_s": case.deadline_ms / 1000} | trust | dict(case.options)


class Held:
    """The most bytes that bodies held at once, and how many came in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        self.admitted = 0
        admits = BodyBudget.admits

        def watch(budget: BodyBudget, hop: Hop, size: int) -> bool:
            admitted = admits(budget, hop, size)
            self.admitted += size if admitted else 0
            self.most = max(self.most, budget.total)
            return admitted

        monkeypatch.setattr(BodyBudget, "admits", watch)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_odd_server(case: Case, collecting: Collecting, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    collecting.start(**options_of(case, ca_file))
    with OddServer(case.serve) as server:
        for path in case.before:
            collecting.capture(case.url(server.port, path))
        orders = [collecting.order(case.url(server.port)) for _ in range(case.at_once)]
        began = time.monotonic()
        outcomes = collecting.finish(*orders)
        elapsed_s = time.monotonic() - began
    for outcome in outcomes:
        case.expect.hold_against(outcome, server)
        make_sense(outcome, elapsed_s)
    deadline_s = case.deadline_ms / 1000
    assert elapsed_s < deadline_s + (MARGIN_S if case.waits else 0)
    assert elapsed_s > deadline_s * 0.9 or not case.waits
    options = collector_options(**collecting.options)
    # Past the lane's budget there may be one body, decoded and still coded, and what libcurl hands over at once.
    assert held.most <= options.lane_body_bytes + 2 * options.max_body_bytes + BUFFER_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", [case for case in CASES if case.grows_mib], ids=lambda case: case.name)
def test_a_process_does_not_grow_beyond_its_budget(case: Case, ca_file: str) -> None:
    assert case.grows_mib is not None
    with OddServer(case.serve) as server:
        before = [case.url(server.port, path) for path in case.before]
        grown = weigh(case.url(server.port), before, case.at_once, options_of(case, ca_file))
    assert grown < case.grows_mib * MIB


def test_outcomes_that_are_not_handed_over_yet_count_as_held(
    collecting: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 bodies that do not compress are taken in faster than they are handed over, 4 MiB at a time."""
    limit, count, noise = 16 * MIB, 64, random.Random(1).randbytes(MIB)
    held = Held(monkeypatch)
    collecting.start(lane_body_bytes=limit)
    with OddServer(keeps_answering(whole(body=noise))) as server:
        orders = [collecting.order(f"http://127.0.0.1:{server.port}/") for _ in range(count)]
        got = collecting.advance(*orders)
        most = held.admitted
        while len(got) < count:
            more = collecting.advance()
            most = max(most, held.admitted - len(got) * MIB)
            got |= more
    assert {type(outcome) for outcome in got.values()} == {Capture}
    assert most <= limit + MIB


def make_sense(outcome: Outcome, elapsed_s: float) -> None:
    """What holds of every outcome, whatever the server did."""
    assert pickle.loads(pickle.dumps(outcome)) == outcome  # it crosses a process boundary …
    msgspec.json.encode(outcome)  # … and becomes JSON, which takes no half of a surrogate pair
    for exchange in outcome.exchanges[:-1]:
        assert exchange.response is not None
        assert exchange.server is not None
    for exchange in outcome.exchanges:
        make_sense_in_time(exchange, elapsed_s)
        if exchange.request.url.startswith("https:") and exchange.response is not None:
            assert exchange.tls is not None
            assert exchange.tls.certificate is not None


def make_sense_in_time(exchange: Exchange, elapsed_s: float) -> None:
    phases = [value for value in msgspec.structs.astuple(exchange.timings_ms) if value is not None]
    assert all(value >= 0 for value in phases)
    assert sum(phases) / 1000 <= elapsed_s + 0.1


def test_there_are_at_least_sixty_cases_and_no_two_of_one_name() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_a_case_can_fail(collecting: Collecting) -> None:
    with OddServer(answers(whole())) as server:
        outcome = collecting.collect(f"http://127.0.0.1:{server.port}/")
    page(body=b"hello").hold_against(outcome, server)
    for wrong in (page(body=b"other"), page(status=500), page(hops=2), failure(FailureCode.DNS_ERROR)):
        with pytest.raises(AssertionError):
            wrong.hold_against(outcome, server)


def test_the_page_of_odd_servers_shows_every_case() -> None:
    assert tables() in DOCUMENT.read_text(), "renew it: python -m tests.odd.catalogue"
