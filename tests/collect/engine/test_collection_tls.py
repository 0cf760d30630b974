"""Collections over TLS: parameters, certificates, and what fails. The certificates are made by the tests."""

from __future__ import annotations

import socket

import pytest

from metadata_inventory.model.capture import Capture, FailureCode, Tls
from tests.collect.conftest import Collecting
from tests.support.origin import Origin


def tls_of(capture: Capture) -> Tls:
    tls = capture.exchanges[-1].tls
    assert tls is not None
    return tls


def test_a_verified_connection_is_described(collecting: Collecting, tls_origin: Origin) -> None:
    collecting.start(ca_file=tls_origin.ca_file)
    capture = collecting.capture(tls_origin.url("/"))
    tls = tls_of(capture)
    assert tls.version == "TLSv1.3"
    assert tls.cipher is not None
    assert (tls.verified, tls.verify_error) == (True, None)
    assert tls.certificate is not None
    assert tls.certificate.subject == "CN=localhost"
    assert tls.certificate.issuer == "CN=Origin test CA"
    assert set(tls.certificate.names) == {"localhost", "127.0.0.1"}
    timings = capture.exchanges[0].timings_ms
    assert timings.tls is not None
    assert timings.connect is not None
    assert timings.tls > 0


def test_a_reused_connection_keeps_its_parameters(collecting: Collecting, tls_origin: Origin) -> None:
    collecting.start(ca_file=tls_origin.ca_file)
    first = collecting.capture(tls_origin.url("/"))
    second = collecting.capture(tls_origin.url("/"))
    assert tls_origin.connections == 1
    assert tls_of(second) == tls_of(first)
    assert second.exchanges[0].timings_ms.tls is None


def test_a_second_connection_has_its_own_certificate(collecting: Collecting, tls_origin: Origin) -> None:
    # A resumed handshake would bring none.
    collecting.start(ca_file=tls_origin.ca_file)
    tls_origin.hold("/held")
    order = collecting.order(tls_origin.url("/held"))
    collecting.advance(order)
    collecting.go_on_until(lambda: tls_origin.count("/held") == 1)
    capture = collecting.capture(tls_origin.url("/"))
    assert tls_origin.connections == 2
    assert tls_of(capture).certificate is not None


def test_redirects_over_one_connection_share_its_parameters(collecting: Collecting, tls_origin: Origin) -> None:
    tls_origin.redirect("/a", "/")
    collecting.start(ca_file=tls_origin.ca_file)
    capture = collecting.capture(tls_origin.url("/a"))
    assert capture.exchanges[0].tls == capture.exchanges[1].tls is not None


def test_a_request_repeated_on_a_second_connection_has_the_parameters_of_that(
    collecting: Collecting, tls_origin: Origin
) -> None:
    tls_origin.answer("/cut", b"")
    collecting.start(ca_file=tls_origin.ca_file)
    collecting.capture(tls_origin.url("/"))
    failure = collecting.failure(tls_origin.url("/cut"))
    assert failure.code is FailureCode.CONNECTION_TERMINATED
    assert [request.connection for request in tls_origin.requests] == [1, 1, 2]
    (exchange,) = failure.exchanges
    assert exchange.tls is not None
    assert exchange.tls.version == "TLSv1.3"


def test_a_certificate_of_an_unknown_authority_fails_and_is_shown(collecting: Collecting, tls_origin: Origin) -> None:
    failure = collecting.failure(tls_origin.url("/"))
    assert failure.code is FailureCode.TLS_CERTIFICATE_ERROR
    (exchange,) = failure.exchanges
    assert exchange.response is None
    assert exchange.server is not None
    assert exchange.tls is not None
    assert not exchange.tls.verified
    assert exchange.tls.verify_error == "unable to get local issuer certificate"
    assert exchange.tls.certificate is not None
    assert exchange.tls.certificate.subject == "CN=localhost"
    assert exchange.timings_ms.tls is not None
    assert exchange.timings_ms.send is None
    assert tls_origin.requests == []


def test_a_certificate_for_another_name_fails(collecting: Collecting) -> None:
    with Origin(tls=True, certified=["elsewhere.example"]) as other:
        collecting.start(ca_file=other.ca_file)
        failure = collecting.failure(other.url("/", host="localhost"))
    assert failure.code is FailureCode.TLS_CERTIFICATE_ERROR
    assert failure.exchanges[0].tls is not None
    assert failure.exchanges[0].tls.verify_error == "hostname mismatch"


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_certificate_that_does_not_verify_can_be_recorded(
    collecting: Collecting, tls_origin: Origin, repeats: int
) -> None:
    collecting.start(tls_verify="record")
    for _ in range(repeats):
        capture = collecting.capture(tls_origin.url("/"))
        tls = tls_of(capture)
        assert (tls.verified, tls.verify_error) == (False, "unable to get local issuer certificate")
        assert tls.certificate is not None
        assert len(capture.exchanges) == 1
    assert tls_origin.count("/") == repeats


def test_a_server_without_tls_is_a_protocol_error(collecting: Collecting, origin: Origin) -> None:
    origin.greeting = b"HTTP/1.1 400 Speak TLS not\r\n\r\n"
    failure = collecting.failure(origin.url("/").replace("http:", "https:"))
    assert failure.code is FailureCode.TLS_PROTOCOL_ERROR
    assert failure.exchanges[0].tls is None


def test_a_handshake_that_stalls_is_a_timeout_of_the_connection(collecting: Collecting) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collecting.start(collect_timeout_s=0.3)
        failure = collecting.failure(f"https://127.0.0.1:{silent.getsockname()[1]}/")
    assert failure.code is FailureCode.CONNECTION_TIMEOUT
    assert failure.exchanges[0].timings_ms.tls is not None
