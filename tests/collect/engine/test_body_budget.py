"""The body budget: which hops are paused, and when they go on."""

from __future__ import annotations

import pytest

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.model.capture import Capture
from tests.collect.conftest import Collecting, content
from tests.support.origin import Origin


class Easy:
    def __init__(self) -> None:
        self.resumed = 0

    def pause(self, bitmask: int) -> None:
        self.resumed += 1


class FakeHop:
    """The parts of a hop that the budget uses."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.easy = Easy()


def take(budget: BodyBudget, hop: FakeHop, size: int) -> bool:
    admitted = budget.admits(hop, size)  # type: ignore[arg-type]
    if admitted:
        hop.held_bytes += size
    return admitted


def release(budget: BodyBudget, hop: FakeHop) -> None:
    budget.release(hop)  # type: ignore[arg-type]


def test_a_hop_that_needs_more_than_is_left_is_paused_until_another_ends() -> None:
    budget, first, second = BodyBudget(100), FakeHop(), FakeHop()
    assert take(budget, first, 60)
    assert take(budget, second, 40)
    assert not take(budget, second, 1)
    budget.resume()
    assert second.easy.resumed == 0
    release(budget, first)
    budget.resume()
    assert second.easy.resumed == 1
    assert take(budget, second, 60)


def test_the_first_hop_is_admitted_whatever_is_left() -> None:
    budget, first, second = BodyBudget(100), FakeHop(), FakeHop()
    assert take(budget, first, 50)
    assert take(budget, second, 50)
    assert not take(budget, second, 50)
    assert take(budget, first, 500)
    release(budget, first)
    budget.resume()
    assert take(budget, second, 500)


def test_a_paused_hop_that_becomes_the_first_goes_on_although_nothing_is_left() -> None:
    budget, first, second, third = BodyBudget(100), FakeHop(), FakeHop(), FakeHop()
    assert take(budget, first, 60)
    assert take(budget, second, 20)
    assert take(budget, third, 20)
    assert not take(budget, second, 1)
    assert not take(budget, third, 1)
    release(budget, first)
    budget.keep(60)  # its outcome waits for the parent, which may fetch nothing for long
    budget.resume()
    assert (second.easy.resumed, third.easy.resumed) == (1, 0)
    assert take(budget, second, 500)


def test_a_hop_that_has_ended_holds_nothing() -> None:
    budget, hop = BodyBudget(100), FakeHop()
    take(budget, hop, 60)
    take(budget, hop, 0)
    assert budget.total == 60
    release(budget, hop)
    release(budget, hop)
    assert budget.total == 0


@pytest.mark.parametrize("limit", [100_000, 1_200_000])
def test_bodies_over_the_budget_wait_and_are_all_kept_whole(
    collecting: Collecting, origin: Origin, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    page = b"0123456789" * 50_000
    for number in range(8):
        origin.page(f"/{number}", page)
    answers, totals = [], []
    admits = BodyBudget.admits

    def watch(budget: BodyBudget, hop: Hop, size: int) -> bool:
        answers.append(admits(budget, hop, size))
        totals.append(budget.total)
        return answers[-1]

    monkeypatch.setattr(BodyBudget, "admits", watch)
    collecting.start(lane_body_bytes=limit)
    orders = [collecting.order(origin.url(f"/{number}")) for number in range(8)]
    for outcome in collecting.finish(*orders):
        assert isinstance(outcome, Capture)
        assert content(outcome) == page
    assert not all(answers)
    assert max(totals) <= limit + len(page)
