"""HTTP/3, which has to be allowed: a real QUIC server on loopback, beside a TCP server on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

from metadata_inventory.model.capture import FailureCode, Header
from metadata_inventory.model.destinations import DestinationPolicy
from tests.collect.conftest import Collecting
from tests.support.origin import make_certificates

HEADERS = [(b":status", b"200"), (b"x-one", b"1"), (b"set-cookie", b"a=b; Secure"), (b"x-one", b"2")]


class Answering(QuicConnectionProtocol):
    """Responds to every request with the same page."""

    http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is None:
            return
        for heard in self.http.handle_event(event):
            if isinstance(heard, HeadersReceived):
                self.http.send_headers(heard.stream_id, HEADERS)
                self.http.send_data(heard.stream_id, b"over QUIC", end_stream=True)
                self.transmit()


class Http3Origin:
    def __init__(self, directory: Path) -> None:
        ca, chain = make_certificates(["127.0.0.1"])
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(ca)
        (directory / "chain.pem").write_bytes(chain)
        self._configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
        self._configuration.load_cert_chain(directory / "chain.pem", directory / "chain.pem")
        self.port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(
            serve("127.0.0.1", 0, configuration=self._configuration, create_protocol=Answering)
        )
        port = server._transport.get_extra_info("sockname")[1]  # type: ignore[union-attr]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{port}/"
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
        loop.run_until_complete(asyncio.sleep(0))  # the transport closes its socket in a callback
        loop.close()


@pytest.fixture
def http3_origin(tmp_path: Path) -> Http3Origin:
    return Http3Origin(tmp_path)


def test_an_exchange_over_http3(collecting: Collecting, http3_origin: Http3Origin) -> None:
    collecting.start(allow_http3=True, ca_file=str(http3_origin.ca_file))
    with http3_origin.running() as url:
        captures = [collecting.capture(url) for _ in range(2)]
    for capture in captures:
        (exchange,) = capture.exchanges
        assert exchange.response is not None
        assert exchange.response.http_version == "HTTP/3"
        assert exchange.request.http_version == "HTTP/3"
        assert exchange.response.headers == tuple(Header(n.decode(), v.decode()) for n, v in HEADERS[1:])
        assert [cookie.name for cookie in exchange.response.set_cookies] == ["a"]
        assert exchange.server is not None
        assert exchange.server.ip == "127.0.0.1"
        assert exchange.tls is not None
        assert (exchange.tls.version, exchange.tls.alpn, exchange.tls.verified) == ("TLSv1.3", "h3", True)
        assert exchange.tls.certificate is not None


def test_http3_is_not_tried_unless_allowed(collecting: Collecting, http3_origin: Http3Origin) -> None:
    collecting.start(ca_file=str(http3_origin.ca_file))
    with http3_origin.running() as url:
        assert collecting.failure(url).code is FailureCode.CONNECTION_REFUSED


def test_refused_address_is_refused_over_quic(collecting: Collecting, http3_origin: Http3Origin) -> None:
    class Late(DestinationPolicy):
        """Allows every URL, so that only the check at the socket refuses."""

        def refuses_url(self, url: object) -> bool:
            return False

    collecting.start(allow_http3=True, ca_file=str(http3_origin.ca_file), destinations=Late())
    with http3_origin.running() as url:
        assert collecting.failure(url).code is FailureCode.DESTINATION_IP_PROHIBITED
