"""The marker `service` is not forgotten: without it a test cannot start the program."""

from __future__ import annotations

import operator
from pathlib import Path

import pytest

from tests.support import running
from tests.support.running import Service


@pytest.fixture
def starter() -> type[Service]:
    """Names the class, as a fixture does that starts the program."""
    return Service


@pytest.fixture
def behind(starter: type[Service]) -> type[Service]:
    return starter


def test_service_is_refused_to_a_test_without_the_marker(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("service") is None
    with pytest.raises(AssertionError, match=r"test_service_is_refused.* lacks the marker: pytest\.mark\.service"):
        operator.attrgetter("Service")(running)(tmp_path)  # not named, so that this test is not marked
    assert not list(tmp_path.iterdir())


def test_test_that_names_the_service_is_marked(request: pytest.FixtureRequest) -> None:
    assert Service
    assert request.node.get_closest_marker("service") is not None


def test_test_that_uses_a_fixture_that_names_the_service_is_marked(
    behind: type[Service], request: pytest.FixtureRequest
) -> None:
    assert request.node.get_closest_marker("service") is not None
