"""Shared by the tests of the engine: engines in this process, and look-ups that the test holds back."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from metadata_inventory.collect.engine.engine import Engine
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure
from metadata_inventory.model.destinations import DestinationPolicy
from tests.support.options import collector_options

DEADLINE_S = 20.0


@dataclass
class HeldNames:
    """In place of the resolver of this host: names that begin with "slow" wait for `let_go`.

    A real name server would need port 53.
    """

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


@dataclass
class Working:
    """Engines that look names up in `resolver`."""

    resolver: HeldNames
    engines: list[Engine] = field(default_factory=list)

    def start(self, *allow: str, **options: float) -> Engine:
        policy = DestinationPolicy.parse(allow or ["127.0.0.0/8", "192.0.2.0/24"])
        engine = Engine(collector_options(destinations=policy, **options), resolve=self.resolver)
        self.engines.append(engine)
        return engine

    def collect(self, engine: Engine, url: str) -> Capture | Failure:
        got = dict(engine.advance([CollectionOrder(token="asked", url=url)], (), 0))
        deadline = time.monotonic() + DEADLINE_S
        while "asked" not in got:
            assert time.monotonic() < deadline
            got |= dict(engine.advance((), (), 50))
        return got["asked"]
