from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collect.engine.engines import HeldNames, Working


@pytest.fixture
def resolver() -> Iterator[HeldNames]:
    resolver = HeldNames()
    yield resolver
    resolver.let_go.set()


@pytest.fixture
def working(resolver: HeldNames) -> Iterator[Working]:
    working = Working(resolver)
    yield working
    for engine in working.engines:
        engine.close()
