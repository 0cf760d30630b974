"""Outcomes that wait for the parent: their order, how many are returned at once, and their share of the body budget."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.collect.engine.results import MAX_RETURN_BYTES, ResultQueue, weigh
from metadata_inventory.model.capture import Header
from tests.support.builders import a_capture, a_failure, a_url, an_exchange

NOISE = random.Random(1).randbytes(MAX_RETURN_BYTES // 2)
HEADERS = (Header("Name", "value"), Header("X", "y" * 100))
HEADER_BYTES = 110


def test_body_and_headers_are_weighed() -> None:
    url = a_url()
    capture = a_capture(url, b"page", HEADERS)
    failure = replace(a_failure(), exchanges=(an_exchange(url.href, HEADERS), an_exchange(url.href, HEADERS)))
    assert weigh(capture) == len(capture.content) + HEADER_BYTES
    assert weigh(failure) == 2 * HEADER_BYTES
    assert weigh(a_failure()) == 0


@pytest.mark.parametrize(
    ("pages", "returned"), [([b"a", b"b", b"c"], 3), ([NOISE, b"b", NOISE], 2), ([NOISE * 3, b"b"], 1)]
)
def test_results_are_returned_in_order_and_within_the_limit_or_one_alone(pages: list[bytes], returned: int) -> None:
    results = ResultQueue(BodyBudget(1))
    captures = [a_capture(a_url(), page) for page in pages]
    for number, capture in enumerate(captures):
        results.add(str(number), capture)
    expected = tuple((str(number), capture) for number, capture in enumerate(captures))
    assert results.take() == expected[:returned]
    assert results.take_all() == expected[returned:]
    assert len(results) == 0


def test_results_count_against_the_budget_until_they_are_taken() -> None:
    budget = BodyBudget(1)
    results = ResultQueue(budget)
    captures = [a_capture(a_url(), NOISE, HEADERS) for _ in range(3)]
    for capture in captures:
        results.add("it", capture)
    assert budget.total == sum(weigh(capture) for capture in captures)
    taken = results.take()
    assert budget.total == sum(weigh(capture) for capture in captures[len(taken) :]) > 0
