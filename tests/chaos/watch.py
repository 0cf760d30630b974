"""Reads from the database, again and again, which URLs are owed a collection."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

PERIOD_S = 0.5
DATABASE, RECORDS = "inventory", "records"


class Watch:
    """A context manager with a thread. `uri` returns the database's current URI; while it is away nothing is logged."""

    def __init__(self, urls: Mapping[str, str], uri: Callable[[], str]) -> None:
        self.owed: list[tuple[float, frozenset[str]]] = []  # when it was asked (time.monotonic), and the paths
        self._paths = {url: path for path, url in urls.items()}
        self._uri = uri
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos watch", daemon=True)

    def answered_after(self, at: float) -> float:
        """When the database was first asked with success after `at`; infinite when it never was."""
        return next((asked_at for asked_at, _ in self.owed if asked_at > at), math.inf)

    def settled_between(self, path: str, after: float, before: float) -> bool:
        """Whether the path was seen with nothing owed."""
        return any(after < at < before and path not in owed for at, owed in self.owed)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        uri, client = "", None
        while not self._ending.wait(PERIOD_S):
            if client is None or uri != self._uri():
                if client is not None:
                    client.close()
                uri = self._uri()
                client = MongoClient[dict[str, Any]](uri, timeoutMS=1000)
            at = time.monotonic()
            try:
                found = client[DATABASE][RECORDS].find({"job.due_ms": {"$gt": 0}}, {"normalized_url": 1})
                self.owed.append((at, frozenset(self._paths[document["normalized_url"]] for document in found)))
            except PyMongoError:
                pass  # it was killed
        if client is not None:
            client.close()
