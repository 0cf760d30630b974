"""Runs every target on the seeds, on variations of them by Hypothesis, and on earlier findings of the fuzzer.

`tox run -e fuzz` searches for longer. A finding is fixed and its input is kept in `FINDINGS`.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

FINDINGS: Final[dict[str, tuple[bytes, ...]]] = {}


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed of which one part is replaced, left out or repeated."""
    places = st.tuples(st.integers(0, len(seed)), st.integers(0, len(seed))).map(sorted)
    inserted = st.binary(max_size=8) | st.sampled_from([b"\r\n", b";", b"=", b":", b",", b"\0", b"\xff", b"\xc3\xa9"])
    return st.builds(lambda ends, new: seed[: ends[0]] + new + seed[ends[1] :], places, inserted)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_findings_hold(name: str) -> None:
    assert SEEDS[name]
    for data in (b"", *SEEDS[name], *FINDINGS.get(name, ())):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(derandomize=True, deadline=None, max_examples=200, database=None)
@given(st.data())
def test_mutated_seeds_hold(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(st.sampled_from(SEEDS[name]).flatmap(mutated) | st.binary(max_size=200)))
