"""Owns the outcomes that wait in a lane process until its parent fetches them.

Their bytes count against the body budget meanwhile, so that this process stays within it while its parent fetches none.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.model.capture import Capture, Failure, Outcome

MAX_RETURN_BYTES = 4 * 1024 * 1024  # returned at once: the parent's event loop stalls while it unpickles them

Results = tuple[tuple[str, Outcome], ...]  # tokens and outcomes


class ResultQueue:
    """Outcomes in the order in which their collections ended. False when it is empty."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._waiting: deque[tuple[str, Outcome]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, token: str, outcome: Outcome) -> None:
        self._budget.keep(weigh(outcome))
        self._waiting.append((token, outcome))

    def take(self) -> Results:
        """Remove and return the first results: `MAX_RETURN_BYTES` at most, or one that is larger."""
        taken: list[tuple[str, Outcome]] = []
        size = 0
        while self._waiting:
            weight = weigh(self._waiting[0][1])
            size += weight
            if taken and size > MAX_RETURN_BYTES:
                break
            self._budget.hand_over(weight)
            taken.append(self._waiting.popleft())
        return tuple(taken)

    def take_all(self) -> Results:
        """Remove and return every result, however large: for an engine that is not used again."""
        taken, self._waiting = tuple(self._waiting), deque()
        return taken


def weigh(outcome: Outcome) -> int:
    """The outcome's size in bytes, roughly: its body and its response headers, which can be as large."""
    match outcome:
        case Capture():
            size = len(outcome.content)
        case Failure():
            size = 0
        case _:
            assert_never(outcome)
    for exchange in outcome.exchanges:
        if exchange.response is not None:
            size += sum(len(header.name) + len(header.value) for header in exchange.response.headers)
    return size
