"""Kills processes at random, again and again: nothing acknowledged is lost, and no URL is collected twice at a time.

The short run belongs to the tests; `TEST_CHAOS=long` (`tox run -e chaos`) is the long one. The seed is printed, and
`TEST_CHAOS_SEED` gives one. It decides what is killed in which order and after which pauses, and what every client
does; when things happen is the machine's.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.chaos.clients import Clients
from tests.chaos.findings import LEASE_S, Findings, judge, owed, read_documents
from tests.chaos.killer import Killer, Kind
from tests.chaos.origin import Manner, Origin
from tests.chaos.watch import Watch
from tests.support.running import Service
from tests.support.waiting import wait_until

ENVIRON = {
    "INVENTORY_LEASE_S": str(LEASE_S),
    "INVENTORY_RENEW_S": "1",
    "INVENTORY_RETRY_BASE_S": "0.2",
    "INVENTORY_RETRY_MAX_S": "1",
    "INVENTORY_STORAGE_TIMEOUT_S": "3",
}
ARGUMENTS = ("--processes", "2", "--lanes", "2", "--allow-destination", "127.0.0.0/8")

HOSTS = [f"127.0.0.{number}" for number in range(2, 18)]
CLIENTS = 12
END_S = 90.0  # for what is owed in the end
# How many of a hundred paths misbehave, and how.
SHARES = {Manner.ERROR: 4, Manner.CUT: 6, Manner.RESET: 5, Manner.SILENT: 3}


@dataclass(frozen=True)
class Plan:
    urls: int
    kills: Mapping[Kind, int]
    pause_s: tuple[float, float]
    collect_timeout_s: float
    limit_s: float


SHORT = Plan(
    urls=240,
    kills={Kind.CHILD: 22, Kind.API: 4, Kind.DATABASE: 4, Kind.FORKSERVER: 2},
    pause_s=(0.1, 1.0),
    collect_timeout_s=2.5,
    limit_s=240,
)
LONG = Plan(
    urls=1200,
    kills={
        Kind.CHILD: 210,
        Kind.API: 22,
        Kind.DATABASE: 22,
        Kind.FORKSERVER: 10,
        Kind.STOPPED_CHILD: 6,
        Kind.STOPPED_API: 8,
        Kind.SUPERVISOR: 3,
    },
    pause_s=(0.2, 3.5),
    collect_timeout_s=8,  # longer than a lease, so that a stopped worker's collections can be under way when it is over
    limit_s=2400,
)
PLAN = LONG if os.environ.get("TEST_CHAOS") == "long" else SHORT
SEED = os.environ.get("TEST_CHAOS_SEED") or secrets.token_hex(4)

pytestmark = [
    pytest.mark.service,
    pytest.mark.timeout(PLAN.limit_s),
    pytest.mark.skipif(sys.platform != "linux", reason="needs every address of 127.0.0.0/8"),
]


def test_random_kills_lose_nothing_and_repeat_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Measuring what its processes cover doubles the time, and who is killed writes nothing down.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    with capsys.disabled():
        sys.stdout.write(f"\nchaos: TEST_CHAOS_SEED={SEED}\n")
    findings = run(tmp_path)
    with capsys.disabled():
        sys.stdout.write(findings.figures.table())
    if report := os.environ.get("TEST_CHAOS_REPORT"):
        Path(report).write_bytes(msgspec.json.format(msgspec.json.encode(findings.figures), indent=2) + b"\n")
    assert findings.figures.acknowledged == PLAN.urls
    assert not findings.problems, "\n".join([f"TEST_CHAOS_SEED={SEED}", *findings.problems])


def run(directory: Path) -> Findings:
    began_at = time.monotonic()
    rng = random.Random(SEED)
    manners = choose_manners(rng)
    kinds = [kind for kind, count in PLAN.kills.items() for _ in range(count)]
    rng.shuffle(kinds)
    with ExitStack() as services:
        with Origin(manners, random.Random(rng.random())) as origin:
            urls = {path: f"http://{rng.choice(HOSTS)}:{origin.port}{path}" for path in manners}
            killer = Killer(lambda: services.enter_context(start(directory)), random.Random(rng.random()))
            clients = Clients(urls, lambda: killer.url, lambda: killer.progress)
            with Watch(urls, lambda: killer.database_uri) as watch:
                clients.start([random.Random(rng.random()) for _ in range(CLIENTS)])
                killer.carry_out(
                    kinds, PLAN.pause_s, busy=lambda: origin.busy, acknowledged=lambda: clients.ledger.news
                )
                clients.finish()
                with suppress(AssertionError):  # what does not end is found by `judge`
                    wait_until(lambda: not owed(read_documents(killer.database_uri, urls)), END_S)
        documents = read_documents(killer.database_uri, urls)
        duration_s = time.monotonic() - began_at
        return judge(
            clients, origin, documents, killer.strikes, watch, manners=manners, seed=SEED, duration_s=duration_s
        )


def start(directory: Path) -> Service:
    """The service on the one data directory, with a log of its own."""
    logs = directory / f"service-{len(list(directory.glob('service-*'))) + 1}"
    logs.mkdir()
    environ = ENVIRON | {"INVENTORY_COLLECT_TIMEOUT_S": str(PLAN.collect_timeout_s)}
    service = Service(logs, "--data-dir", str(directory / "data"), *ARGUMENTS, environ=environ)
    service.wait_for_answer()
    return service


def choose_manners(rng: random.Random) -> dict[str, Manner]:
    manners = [manner for manner, share in SHARES.items() for _ in range(PLAN.urls * share // 100)]
    manners += [Manner.WHOLE] * (PLAN.urls - len(manners))
    rng.shuffle(manners)
    return {f"/{number}": manner for number, manner in enumerate(manners, 1)}
