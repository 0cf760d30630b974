"""What a batch holds, and what becomes of its items when it fails."""

from __future__ import annotations

import asyncio

import pytest

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.storage.batching import Batcher


class Recorder:
    """Doubles numbers. Each batch waits until the test releases `gate`; 13 fails its batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Semaphore(0)
        self.entered = asyncio.Semaphore(0)

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.release()
        await self.gate.acquire()
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


@pytest.mark.gen_test
async def test_items_that_arrive_during_a_batch_are_the_next_one() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder)
    first = asyncio.ensure_future(batcher(1))
    await recorder.entered.acquire()
    assert recorder.batches == [[1]], "a lone operation does not wait"
    others = [asyncio.ensure_future(batcher(n)) for n in (2, 3, 4)]
    recorder.gate.release()
    await recorder.entered.acquire()
    recorder.gate.release()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert recorder.batches == [[1], [2, 3, 4]]


@pytest.mark.gen_test
async def test_batches_are_bounded_in_items_and_bytes() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, max_items=3, max_bytes=10, size=lambda item: item)
    calls = [asyncio.ensure_future(batcher(n)) for n in (1, 1, 1, 1, 6, 6, 99, 1)]
    for _ in range(5):
        recorder.gate.release()
    assert await asyncio.gather(*calls) == [2, 2, 2, 2, 12, 12, 198, 2]
    assert recorder.batches == [[1, 1, 1], [1, 6], [6], [99], [1]]


@pytest.mark.gen_test
async def test_failure_of_a_batch_reaches_all_of_it_and_no_other() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, max_items=2)
    calls = [asyncio.ensure_future(batcher(n)) for n in (1, 13, 2)]
    for _ in range(2):
        recorder.gate.release()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError, int]


@pytest.mark.gen_test
async def test_item_may_fail_alone() -> None:
    async def run(items: list[int]) -> list[int | Exception]:
        return [ValueError() if item == 13 else item for item in items]

    batcher = Batcher(run)
    results = await asyncio.gather(*(batcher(n) for n in (1, 13, 2)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int]


@pytest.mark.gen_test
async def test_items_behind_an_unavailable_database_fail_at_once() -> None:
    calls = 0

    async def run(items: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise StorageUnavailable

    batcher = Batcher(run, max_items=1)
    results = await asyncio.gather(*(batcher(n) for n in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [StorageUnavailable] * 5
    assert calls == 1


@pytest.mark.gen_test
async def test_cancelled_item_is_left_out() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder)
    first = asyncio.ensure_future(batcher(1))
    await recorder.entered.acquire()
    gone, stays = asyncio.ensure_future(batcher(2)), asyncio.ensure_future(batcher(3))
    await asyncio.sleep(0)
    gone.cancel()
    for _ in range(2):
        recorder.gate.release()
    assert await asyncio.gather(first, stays) == [2, 6]
    assert recorder.batches == [[1], [3]]


@pytest.mark.gen_test
async def test_wrong_number_of_results_fails_one_batch_only() -> None:
    results: list[list[int]] = [[], [2]]

    async def run(items: list[int]) -> list[int]:
        return results.pop(0)

    batcher = Batcher(run)
    with pytest.raises(ValueError, match="0 results for 1 items"):
        await batcher(1)
    assert await batcher(1) == 2


@pytest.mark.gen_test
async def test_close_cancels_every_caller() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder)
    calls = [asyncio.ensure_future(batcher(1))]
    await recorder.entered.acquire()
    calls.append(asyncio.ensure_future(batcher(2)))
    await asyncio.sleep(0)
    await batcher.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
