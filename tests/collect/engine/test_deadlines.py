"""Stages that are due come in order, and those that have ended do not come at all."""

from __future__ import annotations

from metadata_inventory.collect.engine.collection import Collection
from metadata_inventory.collect.engine.deadlines import Deadlines
from metadata_inventory.collect.engine.resolver import Resolution
from metadata_inventory.model.capture import CollectionOrder
from tests.collect.conftest import LOOPBACK
from tests.support.options import collector_options


def begin(token: str, **options: float) -> Collection:
    order = CollectionOrder(token=token, url="http://127.0.0.1/")
    return Collection(order, collector_options(destinations=LOOPBACK, **options))


def queue(*collections: Collection) -> Deadlines:
    deadlines = Deadlines({collection.token: collection for collection in collections})
    for collection in collections:
        collection.begin_resolving()
        deadlines.add(collection)
    return deadlines


def test_a_stage_that_is_due_comes_once_and_the_earliest_comes_first() -> None:
    late, early, future = begin("late"), begin("early"), begin("future")
    for collection, deadline in ((late, 2.0), (early, 1.0)):
        collection.deadline = deadline  # long ago
    deadlines = queue(late, future, early)
    assert list(deadlines.take_due()) == [early, late]
    assert list(deadlines.take_due()) == []
    assert len(deadlines) == 1


def test_a_stage_that_has_ended_is_not_given_up() -> None:
    collection, other = begin("one", resolve_timeout_s=0), begin("other", resolve_timeout_s=0)
    deadlines = queue(collection, other)
    collection.wait_for_slot(Resolution())
    deadlines.add(collection)
    other.end()
    assert list(deadlines.take_due()) == []


def test_stages_that_have_ended_take_no_room() -> None:
    collection = begin("one")
    deadlines = queue(collection)
    most = 0
    for _ in range(1000):
        collection.begin_resolving()
        deadlines.add(collection)
        most = max(most, len(deadlines))
    assert most < 100
