from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.model.capture import Capture, FailureCode, Header
from metadata_inventory.model.policy import fullness, retryable
from metadata_inventory.service.setting_sources import load
from tests.support.builders import FETCHED_AT, a_capture, a_failure, a_policy, a_url

POLICY = replace(a_policy(), retry_base_s=2, retry_max_s=5, rules="a")

ATTEMPTS = {
    FailureCode.DNS_ERROR: 3,
    FailureCode.DNS_TIMEOUT: 3,
    FailureCode.DESTINATION_IP_PROHIBITED: 1,
    FailureCode.CONNECTION_REFUSED: 3,
    FailureCode.CONNECTION_TIMEOUT: 3,
    FailureCode.CONNECTION_TERMINATED: 3,
    FailureCode.TLS_CERTIFICATE_ERROR: 1,
    FailureCode.TLS_PROTOCOL_ERROR: 1,
    FailureCode.HTTP_PROTOCOL_ERROR: 1,
    FailureCode.HTTP_RESPONSE_TIMEOUT: 3,
    FailureCode.HTTP_RESPONSE_INCOMPLETE: 3,
    FailureCode.TOO_MANY_REDIRECTS: 1,
    FailureCode.WORKER_LOST: 3,
    FailureCode.INTERNAL_ERROR: 2,
}


@pytest.mark.parametrize("code", FailureCode)
def test_each_code_gets_its_attempts_and_no_more(code: FailureCode) -> None:
    made = 1
    while POLICY.retry_delay_s(code, made, 0.5) is not None:
        made += 1
    assert made == ATTEMPTS[code]
    assert retryable(code) == (ATTEMPTS[code] > 1)


def test_setting_bounds_the_attempts_and_takes_no_more_than_it_can_grant() -> None:
    most = max(ATTEMPTS.values())
    assert load(None, {"INVENTORY_MAX_ATTEMPTS": str(most)}, {}).max_attempts == most
    with pytest.raises(
        InvalidSettings, match=f"INVENTORY_MAX_ATTEMPTS: max_attempts must be a whole number from 1 to {most}, not "
    ):
        load(None, {"INVENTORY_MAX_ATTEMPTS": str(most + 1)}, {})
    assert replace(POLICY, max_attempts=1).retry_delay_s(FailureCode.DNS_ERROR, 1, 0) is None


def test_backoff_doubles_up_to_its_bound_and_half_of_it_is_jitter() -> None:
    policy = replace(POLICY, max_attempts=3)
    code = FailureCode.CONNECTION_REFUSED
    assert [policy.retry_delay_s(code, attempts, 0.0) for attempts in (1, 2)] == [1.0, 2.0]
    assert replace(policy, retry_max_s=1.5).retry_delay_s(code, 2, 0.0) == 0.75
    assert policy.retry_delay_s(code, 1, 0.999) == pytest.approx(2.0, rel=0.001)


def an_answer(status: int, *headers: Header) -> Capture:
    capture = a_capture(a_url(), headers=headers)
    (exchange,) = capture.exchanges
    assert exchange.response is not None
    return replace(capture, exchanges=(replace(exchange, response=replace(exchange.response, status_code=status)),))


@pytest.mark.parametrize(("truncated", "expected"), [(None, None), ("length", None), ("time", 13), ("disconnect", 13)])
def test_body_that_was_cut_by_others_is_unfinished(truncated: str | None, expected: int | None) -> None:
    capture = a_capture(a_url(), b"<p>hello</p>")
    assert fullness(replace(capture, body=replace(capture.body, truncated=truncated))) == expected


@pytest.mark.parametrize(
    ("status", "value", "asked_s"),
    [
        (429, "7", 7),
        (503, " 120 ", 120),
        (503, "99999999999", 300),
        (503, "Fri, 02 Jan 2026 03:04:15 GMT", 9.322),
        (503, "Fri, 02 Jan 2026 03:00:00 GMT", 0),
        (429, "soon", None),
        (429, "-1", None),
        (429, "", None),
        (429, "Fri, 02 Jan 99999999999999999999 03:04:15 GMT", None),
        (429, "Fri, 02 Jan 2026 03:04:15 +99999999999999999", None),
        (429, "Fri, 01 Jan 0001 00:00:00 +2359", 0),
        (429, "Fri, 31 Dec 9999 23:59:59 -2359", 300),
        (200, "7", None),
        (500, "7", None),
    ],
)
def test_retry_after_is_respected_within_the_bound(status: int, value: str, asked_s: float | None) -> None:
    answer = an_answer(status, Header("Retry-After", value))
    assert fullness(answer) == (None if asked_s is None else 0)
    if asked_s is not None:
        delays = [POLICY.capture_retry_delay_s(answer, attempts, 0.0) for attempts in (1, 2, 3)]
        assert delays == [pytest.approx(asked_s + 1), pytest.approx(asked_s + 2), None]


def test_answer_that_names_no_time_is_final() -> None:
    assert fullness(an_answer(503)) is None


def test_stored_failure_answers_until_its_time() -> None:
    stored = POLICY.stored_failure(a_failure(), 3, None)
    assert stored.retry_at == FETCHED_AT + timedelta(seconds=300)
    assert POLICY.failure_answers(stored, FETCHED_AT + timedelta(seconds=299))
    assert not POLICY.failure_answers(stored, FETCHED_AT + timedelta(seconds=300))


def test_refusal_is_short_lived_and_void_under_other_rules() -> None:
    stored = POLICY.stored_failure(a_failure(FailureCode.DESTINATION_IP_PROHIBITED), 1, None)
    assert stored.retry_at == FETCHED_AT + timedelta(seconds=60)
    assert POLICY.failure_answers(stored, FETCHED_AT)
    assert not replace(POLICY, rules="b").failure_answers(stored, FETCHED_AT)
    other = POLICY.stored_failure(a_failure(), 3, None)
    assert replace(POLICY, rules="b").failure_answers(other, FETCHED_AT)


@pytest.mark.parametrize(
    ("freshness_s", "max_age_s", "age_s", "stale"),
    [(0, None, 10**9, False), (0, 60, 59, False), (0, 60, 61, True), (60, None, 61, True), (60, None, 59, False),
     (60, 120, 100, False), (0, 0, 1, True)],
)  # fmt: skip
def test_staleness(freshness_s: float, max_age_s: float | None, age_s: float, stale: bool) -> None:
    capture = a_capture(a_url())
    policy = replace(POLICY, freshness_s=freshness_s)
    assert policy.stale(capture, FETCHED_AT + timedelta(seconds=age_s), max_age_s) is stale
