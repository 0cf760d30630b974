"""Kills the service's processes at random, one after another, and logs each kill."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import psutil

from tests.support.running import Service, alive
from tests.support.waiting import wait_until

VICTIM_S = 60.0  # for a process of a kind to be there (again)
HURTS_S = 2.0  # for a good moment
# Longer than the brief lease of the test. A lane's process that is silent for 10 s is given up and killed.
STOP_S = (5.0, 13.0)


class Kind(StrEnum):
    """Which process is killed (SIGKILL), or stopped (SIGSTOP, for longer than its leases last)."""

    CHILD = "collector process"
    FORKSERVER = "forkserver"
    API = "API worker"
    DATABASE = "database"
    SUPERVISOR = "supervisor, and all with it"
    STOPPED_CHILD = "collector process, stopped"
    STOPPED_API = "API worker, stopped"


STOPS = {Kind.STOPPED_CHILD, Kind.STOPPED_API}


@dataclass(slots=True)
class Strike:
    """One kill or stop. Instants are of time.monotonic."""

    at: float
    kind: Kind
    pid: int
    over_at: float  # when a stopped process went on, and another supervisor's service answered; else `at`


class Killer:
    """`service` is the running one: when the supervisor was killed, `start` starts another service."""

    def __init__(self, start: Callable[[], Service], rng: random.Random) -> None:
        self.service = start()
        self.url = self.service.url
        self.database_uri = self.service.database_uri
        self.strikes: list[Strike] = []
        self.progress = 0.0  # 1: all is done
        self._start = start
        self._rng = rng

    def carry_out(
        self,
        plan: Sequence[Kind],
        pause_s: tuple[float, float],
        *,
        busy: Callable[[], bool],
        acknowledged: Callable[[], int],
    ) -> None:
        """Kill one after another, with random pauses and at a bad moment: while the origin is `busy` with a collection,
        and the database right after something new was `acknowledged`.
        """
        for number, kind in enumerate(plan, 1):
            time.sleep(self._rng.uniform(*pause_s))
            if kind is Kind.SUPERVISOR:
                self._restart()
            else:
                self._strike(kind, busy, acknowledged)
            self.progress = number / len(plan)

    def _restart(self) -> None:
        self.service.descendants()
        strike = self._note(Kind.SUPERVISOR, self.service.process.pid)
        self.service.process.kill()
        self.service.process.wait()
        self.service = self._start()
        self.url, self.database_uri = self.service.url, self.service.database_uri
        strike.over_at = time.monotonic()

    def _strike(self, kind: Kind, busy: Callable[[], bool], acknowledged: Callable[[], int]) -> None:
        """Kill or stop a process of the kind; try again until one was alive when it was hit."""
        while True:
            victim = self._rng.choice(wait_until(lambda: self._find(kind), VICTIM_S, what=kind))
            hurts = partial(_differs, acknowledged, acknowledged()) if kind is Kind.DATABASE else busy
            with suppress(AssertionError):  # now and then nothing goes on
                wait_until(hurts, HURTS_S)
            strike = self._note(kind, victim.pid)
            with suppress(psutil.NoSuchProcess):
                if kind in STOPS:
                    self._stop(victim)
                    strike.over_at = time.monotonic()
                else:
                    victim.send_signal(signal.SIGKILL)
                return

    def _stop(self, victim: psutil.Process) -> None:
        victim.suspend()
        time.sleep(self._rng.uniform(*STOP_S))
        with suppress(psutil.NoSuchProcess):
            victim.resume()

    def _note(self, kind: Kind, pid: int) -> Strike:
        now = time.monotonic()
        self.strikes.append(Strike(now, kind, pid, over_at=now))
        return self.strikes[-1]

    def _find(self, kind: Kind) -> list[psutil.Process]:
        if kind is Kind.DATABASE:
            return self.service.children("secantus")
        workers = self.service.children("metadata_inventory.service.worker")
        if kind in (Kind.API, Kind.STOPPED_API):
            return workers
        forkservers = [process for worker in workers for process in below(worker, "forkserver")]
        if kind is Kind.FORKSERVER:
            return forkservers
        return [process for forkserver in forkservers for process in below(forkserver, "")]


def _differs(count: Callable[[], int], known: int) -> bool:
    return count() != known


def below(parent: psutil.Process, word: str) -> list[psutil.Process]:
    """The running children that have the word in their command line."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in parent.children():
            with suppress(psutil.NoSuchProcess):
                if alive(child) and word in " ".join(child.cmdline()):
                    found.append(child)
    return found
