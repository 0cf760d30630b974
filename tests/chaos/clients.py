"""Clients that send requests while processes are killed, and keep every acknowledged answer."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from tests.support.client import send

PATIENCE_S = 15.0  # with one request; a stopped worker keeps its clients waiting
PAUSE_S = (0.0, 0.1)
WAITS = ("wait=0", "wait=0", "wait=7")
AGAIN_S = 0.1  # after a request that came to nothing
END_S = 120.0  # for what a client is about in the end

NEVER = datetime.min.replace(tzinfo=UTC)
SERVABLE = {200, 201}
FAILED = {502, 504}


@dataclass(slots=True)
class Known:
    """What the service has acknowledged of a URL so far."""

    revision: int = 0
    fetched_at: datetime = NEVER
    serials: dict[int, int] = field(default_factory=dict)  # revision → which of the origin's answers it is


class Ledger:
    """All acknowledged answers by path, and the answers that contradict them. Safe for use by all client threads."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self.lost: list[str] = []
        self.twice: list[str] = []
        self.odd: list[str] = []
        self.news = 0  # how often something was acknowledged that nobody was told before
        self._lock = threading.Lock()

    def before(self, path: str) -> tuple[int, datetime] | None:
        """The state that an answer to a request sent now must not be older than; None when nothing was acknowledged."""
        with self._lock:
            known = self.known.get(path)
            return (known.revision, known.fetched_at) if known else None

    def note(self, path: str, method: str, status: int, body: Any, before: tuple[int, datetime] | None) -> None:
        with self._lock:
            if status in SERVABLE:
                self._note_record(path, method, body, before)
            elif status == 404 and before is not None:
                self.lost.append(f"{path}: unknown after it was acknowledged")
            elif status not in {202, 404} | FAILED:
                self.odd.append(f"{path}: {method} answered {status} {body}")
            elif method == "GET" and before is not None and before[0]:
                self.lost.append(f"{path}: GET answered {status} after revision {before[0]} was acknowledged")
            if status != 404 and path not in self.known:
                self.known[path] = Known()
                self.news += 1

    def _note_record(self, path: str, method: str, body: Any, before: tuple[int, datetime] | None) -> None:
        revision, fetched_at = body["revision"], datetime.fromisoformat(body["fetched_at"])
        if before is not None and (revision < before[0] or fetched_at < before[1]):
            self.lost.append(
                f"{path}: {method} answered revision {revision} of {fetched_at} after {before[0]} of {before[1]}"
            )
        known = self.known.setdefault(path, Known())
        self.news += revision > known.revision
        known.revision = max(known.revision, revision)
        known.fetched_at = max(known.fetched_at, fetched_at)
        serial = int(body["page_source"].split(" ", 1)[0])
        if known.serials.setdefault(revision, serial) != serial:
            self.twice.append(f"{path}: revision {revision} is answer {known.serials[revision]} and {serial}")
        if len(set(known.serials.values())) < len(known.serials):
            self.twice.append(f"{path}: one answer under two revisions, {known.serials}")


class Clients:
    """Threads that request new URLs while processes are killed, and refresh and read the earlier ones."""

    def __init__(self, urls: Mapping[str, str], base: Callable[[], str], progress: Callable[[], float]) -> None:
        """`urls` by path. `base` returns the service's URL; `progress` the share of URLs to request, from 0 to 1."""
        self.ledger = Ledger()
        self.requests = 0
        self.unanswered = 0  # broken connections and 503
        self._urls = urls
        self._base = base
        self._progress = progress
        self._brought: list[str] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, rngs: Sequence[random.Random]) -> None:
        """Start one thread for each source of randomness."""
        self._threads = [
            threading.Thread(target=self._run, args=(rng,), name=f"client {number}", daemon=True)
            for number, rng in enumerate(rngs, 1)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Request the remaining URLs and end."""
        self._ending.set()
        deadline = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not [thread for thread in self._threads if thread.is_alive()], "a client still waits for an answer"

    def look(self, path: str) -> tuple[int, Any]:
        """The stored record. Asks until it is answered; starts no collection."""
        return self._ask(path, "GET", "collect=false")

    def _run(self, rng: random.Random) -> None:
        while True:
            new = self._bring_in()
            if new is not None:
                method = rng.choice(["POST", "GET"])
                self._ask(new, method, rng.choice(WAITS))
            elif self._ending.is_set():
                return
            elif self._brought:
                old = rng.choice(self._brought)
                if rng.random() < 0.5:
                    self._ask(old, "POST", rng.choice(WAITS))
                else:
                    self.look(old)
            time.sleep(rng.uniform(*PAUSE_S))

    def _bring_in(self) -> str | None:
        """A path that was not requested yet, if the progress allows one more."""
        with self._lock:
            count = len(self._brought)
            if count == len(self._urls) or count > len(self._urls) * self._progress():
                return None
            path = list(self._urls)[count]
            self._brought.append(path)
            return path

    def _ask(self, path: str, method: str, query: str) -> tuple[int, Any]:
        url = self._urls[path]
        while True:
            if method == "POST":
                body, target = json.dumps({"url": url}).encode(), f"/api/metadata/?{query}"
            else:
                body, target = None, f"/api/metadata/?url={quote(url, safe='')}&{query}"
            request = urllib.request.Request(self._base() + target, body, {"Content-Type": "application/json"})
            before = self.ledger.before(path)
            self.requests += 1
            try:
                status, answer = send(request, timeout_s=PATIENCE_S)
            except (OSError, HTTPException):
                status, answer = 503, None
            if status != 503:
                self.ledger.note(path, method, status, answer, before)
                return status, answer
            self.unanswered += 1
            time.sleep(AGAIN_S)
