"""The memory gate: shut from its limit on, open again below it."""

from __future__ import annotations

import asyncio

import pytest

from metadata_inventory.jobs.memory_gate import MemoryGate


async def is_open(gate: MemoryGate) -> bool:
    waiting = asyncio.ensure_future(gate.wait_open())
    await asyncio.sleep(0)
    return waiting.done() or not waiting.cancel()


@pytest.mark.gen_test
async def test_gate_shuts_at_its_limit_and_opens_below_it() -> None:
    gate = MemoryGate(100)
    with gate.holding(60):
        assert await is_open(gate)
        with gate.holding(40):
            assert not await is_open(gate)
        assert await is_open(gate)


@pytest.mark.gen_test
async def test_gate_opens_when_what_was_held_ends_in_an_error() -> None:
    gate = MemoryGate(1)
    with pytest.raises(RuntimeError), gate.holding(1):
        raise RuntimeError
    assert await is_open(gate)


@pytest.mark.gen_test
async def test_who_waits_is_let_through_when_the_gate_opens() -> None:
    gate = MemoryGate(1)
    with gate.holding(2):
        waiting = asyncio.create_task(gate.wait_open())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
