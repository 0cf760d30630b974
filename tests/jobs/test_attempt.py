"""An attempt's state: it only goes forward, and who waits for a state is woken by it or by a later one."""

from __future__ import annotations

import asyncio
import time

import pytest

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.jobs.attempt import Attempt, AttemptState, Fence
from metadata_inventory.model.record import Entry, Job, Status
from tests.support.builders import FETCHED_AT, a_lease, a_url

SOON_S = 10.0


def an_attempt(*, fence_in_s: float = 60.0) -> Attempt:
    return Attempt(a_lease(a_url()), Fence(time.monotonic() + fence_in_s))


def an_entry(attempt: Attempt, token: str | None) -> Entry:
    url = attempt.lease.url
    job = Job(queued_at=FETCHED_AT, due_at=FETCHED_AT, attempts=0, losses=0, kept=None, owner="node", token=token)
    return Entry(
        id=url.id,
        url=url.href,
        normalized_url=url.href,
        status=Status.PENDING,
        revision=0,
        requested_at=FETCHED_AT,
        checked_at=None,
        unchanged_count=0,
        settled="",
        capture=None,
        failure=None,
        job=job,
    )


async def waiting_for(attempt: Attempt, state: AttemptState) -> asyncio.Task[None]:
    """A task that has begun to wait."""
    task = asyncio.create_task(attempt.wait_for(state))
    await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.gen_test
async def test_claim_that_is_won_is_being_collected() -> None:
    attempt = an_attempt()
    claimed = asyncio.create_task(attempt.wait_for_claim())
    entry = an_entry(attempt, attempt.lease.token)
    attempt.note_claim(entry)
    assert await claimed is entry
    assert attempt.state is AttemptState.COLLECTING
    assert attempt.job is entry.job
    assert attempt.claim_answered


@pytest.mark.gen_test
@pytest.mark.parametrize("token", ["another", None], ids=["held by another", "held by nobody"])
async def test_claim_that_is_lost_ends_the_attempt(token: str | None) -> None:
    attempt = an_attempt()
    ended = await waiting_for(attempt, AttemptState.ENDED)
    entry = an_entry(attempt, token)
    attempt.note_claim(entry)
    await ended
    assert attempt.job is None
    assert attempt.claim_answered
    assert await attempt.wait_for_claim() is entry


@pytest.mark.gen_test
async def test_claim_that_fails_raises_its_error_to_each_who_waits() -> None:
    attempt = an_attempt()
    claims = [asyncio.create_task(attempt.wait_for_claim()) for _ in range(2)]
    await asyncio.sleep(0)
    attempt.note_claim(StorageUnavailable())
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert [type(result) for result in results] == [StorageUnavailable] * 2
    assert not attempt.claim_answered
    assert attempt.state is AttemptState.ENDED


@pytest.mark.gen_test
async def test_state_never_goes_back() -> None:
    attempt = an_attempt()
    attempt.reach(AttemptState.UNSTORED)
    attempt.reach(AttemptState.SETTLING)
    assert attempt.state is AttemptState.UNSTORED


@pytest.mark.gen_test
async def test_who_waits_is_woken_by_a_later_state_and_not_by_an_earlier_one() -> None:
    attempt = an_attempt()
    unstored = await waiting_for(attempt, AttemptState.UNSTORED)
    attempt.reach(AttemptState.SETTLING)
    await asyncio.sleep(0)
    assert not unstored.done()
    attempt.reach(AttemptState.ENDED)
    await unstored


@pytest.mark.gen_test
async def test_one_who_stops_waiting_leaves_the_others_waiting() -> None:
    attempt = an_attempt()
    gone, other = [await waiting_for(attempt, AttemptState.ENDED) for _ in range(2)]
    gone.cancel()
    await asyncio.sleep(0)
    attempt.reach(AttemptState.ENDED)
    await other
    assert gone.cancelled()


@pytest.mark.gen_test
async def test_fence_cancels_what_it_guards() -> None:
    with pytest.raises(TimeoutError):
        async with Fence(time.monotonic() + 0.01).guard():
            await asyncio.sleep(SOON_S)


@pytest.mark.gen_test
async def test_fence_that_is_moved_into_the_past_cancels_at_once() -> None:
    fence = Fence(time.monotonic() + 60)
    assert not fence.passed
    asyncio.get_running_loop().call_soon(fence.move, 0)
    with pytest.raises(TimeoutError):
        async with fence.guard():
            await asyncio.Event().wait()
    assert fence.passed


@pytest.mark.gen_test
async def test_fence_that_is_moved_on_lets_go_on() -> None:
    fence = Fence(time.monotonic() + 0.2)
    async with fence.guard():
        fence.move(time.monotonic() + 60)
        await asyncio.sleep(0.3)  # beyond where the fence was
    fence.move(0)  # nothing is guarded any more
