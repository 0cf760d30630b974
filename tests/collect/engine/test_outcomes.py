"""Every error of libcurl and every stop of ours has a failure code, or says why a body is truncated."""

from __future__ import annotations

import pycurl
import pytest

from metadata_inventory.collect.engine.outcomes import CODES, DETAILS, FAULTS, Phase, Stop, classify, find_truncation
from metadata_inventory.model.capture import FailureCode

ERRORS = {
    name: getattr(pycurl, name) for name in dir(pycurl) if name.startswith("E_") and not name.startswith("E_MULTI_")
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_of_libcurl_is_mapped_once(name: str) -> None:
    error = ERRORS[name]
    assert (error in CODES) + (error in FAULTS) + (error == pycurl.E_OPERATION_TIMEDOUT) == 1


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.BODY])
def test_every_error_has_a_code_in_every_phase(phase: Phase) -> None:
    for error in set(ERRORS.values()):
        code = classify(error, phase, None)
        assert code is not FailureCode.DESTINATION_IP_PROHIBITED  # only our callbacks know that
        assert (code is FailureCode.INTERNAL_ERROR) == (error in FAULTS), error


def test_an_unknown_error_is_an_internal_error() -> None:
    assert classify(12345, Phase.REQUEST, None) is FailureCode.INTERNAL_ERROR


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.NAME, FailureCode.DNS_TIMEOUT),
        (Phase.CONNECT, FailureCode.CONNECTION_TIMEOUT),
        (Phase.HANDSHAKE, FailureCode.CONNECTION_TIMEOUT),
        (Phase.REQUEST, FailureCode.HTTP_RESPONSE_TIMEOUT),
        (Phase.HEADERS, FailureCode.HTTP_RESPONSE_TIMEOUT),
    ],
)
def test_the_code_of_a_timeout_comes_from_its_phase(phase: Phase, code: FailureCode) -> None:
    assert classify(pycurl.E_OPERATION_TIMEDOUT, phase, None) is code


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (Stop.HEADERS, FailureCode.HTTP_PROTOCOL_ERROR),
        (Stop.PROHIBITED, FailureCode.DESTINATION_IP_PROHIBITED),
        (Stop.REPEATED, FailureCode.CONNECTION_TERMINATED),
        (Stop.FAULT, FailureCode.INTERNAL_ERROR),
    ],
)
def test_the_code_of_a_stopped_transfer_comes_from_the_stop(stop: Stop, code: FailureCode) -> None:
    assert classify(pycurl.E_WRITE_ERROR, Phase.HEADERS, stop) is code


@pytest.mark.parametrize(
    ("error", "stop", "expected"),
    [
        (pycurl.E_OK, None, None),
        (pycurl.E_WRITE_ERROR, Stop.SWITCHED, None),
        (pycurl.E_WRITE_ERROR, Stop.BODY_LENGTH, "length"),
        (pycurl.E_OPERATION_TIMEDOUT, None, "time"),
        (pycurl.E_PARTIAL_FILE, None, "disconnect"),
        (pycurl.E_RECV_ERROR, None, "disconnect"),
        (pycurl.E_HTTP2, None, "disconnect"),
    ],
)
def test_a_body_that_ends_early_says_why(error: int, stop: Stop | None, expected: str | None) -> None:
    assert find_truncation(error, stop) == expected


def test_every_failure_has_a_sentence() -> None:
    assert set(DETAILS) == set(FailureCode)
    assert all(detail.endswith(".") for detail in DETAILS.values())
