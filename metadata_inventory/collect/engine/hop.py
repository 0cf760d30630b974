"""Owns one request on one easy handle of libcurl: the options, the callbacks and what they noted. A hop is used once.

Callbacks must not raise (pycurl prints the exception and goes on) and must not query the handle (pycurl refuses that
while libcurl runs). So they only note what comes; `Collection.conclude` reads the rest once the hop has ended.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from typing import Any, Protocol

import pycurl

from metadata_inventory.collect.engine import curl_options
from metadata_inventory.collect.engine.memory_limit import end_exhausted
from metadata_inventory.collect.engine.outcomes import Phase, Stop
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.collect.parse.content_coding import BodyDecoder, parse_codings
from metadata_inventory.collect.parse.headers import SWITCHING_PROTOCOLS, HeaderReader
from metadata_inventory.collect.parse.redirects import find_redirect
from metadata_inventory.model.capture import Server, Tls

_MAX_NOTES = 400  # debug lines that are kept; libcurl writes about 40 for a handshake


class Budget(Protocol):
    """The bound on the bytes of bodies, as a hop sees it."""

    def admits(self, hop: Hop, size: int) -> bool:
        """Whether the hop may keep `size` more bytes. If not, the hop pauses and is resumed from outside."""


class Hop:
    """The progress of the request. Its owner sets `budget`, `on_connected` and `on_redirect`, and closes `easy`."""

    def __init__(self, url: str, options: CollectorOptions) -> None:
        self.url = url
        self.easy = pycurl.Curl()
        self.stop: Stop | None = None
        self.fault: Exception | None = None
        self.server: Server | None = None
        self.tls: Tls | None = None  # of the connection, once there is one
        self.verify_error: str | None = None  # why the certificate does not verify, if that is only recorded
        self.notes: list[str] = []  # libcurl's debug lines since the request was last sent
        self.handshake_notes: list[str] = []  # the debug lines before that, from which `tls` is read
        self.refused = 0  # addresses that the destination policy refused
        self.opened = 0  # sockets opened
        self.requests = 0  # how often libcurl has sent the request, or has begun to
        self.sent = b""  # the request's header as it was last sent
        self.budget: Budget | None = None  # None: no bound
        self.on_connected: Callable[[Hop], None] = lambda hop: None
        self.on_redirect: Callable[[], None] = lambda: None
        self._options = options
        self._forget_response()

    def _forget_response(self) -> None:
        self.reader = HeaderReader(self._options.headers)
        self.redirect: str | None = None
        self.codings: tuple[str, ...] = ()
        self.decoder: BodyDecoder | None = None
        self.wire_hash = hashlib.sha256()
        self.wire_length = 0

    def prepare(self, *, timeout_ms: int, verify_error: str | None, cookies: bytes | None) -> None:
        """Set every option and callback. With a `verify_error` the certificate is not verified again.

        `cookies` is the value of the Cookie header.
        """
        easy = self.easy
        self.verify_error = verify_error
        curl_options.configure(easy, self._options, self.url, timeout_ms=timeout_ms, verify=verify_error is None)
        if cookies is not None:
            easy.setopt(pycurl.COOKIE, cookies)
        easy.setopt(pycurl.OPENSOCKETFUNCTION, self._guard(self._open_socket, pycurl.SOCKET_BAD))
        easy.setopt(pycurl.PREREQFUNCTION, self._guard(self._begin_request, pycurl.PREREQFUNC_ABORT))
        easy.setopt(pycurl.HEADERFUNCTION, self._guard(self._take_header, 0))
        easy.setopt(pycurl.WRITEFUNCTION, self._guard(self._take_body, 0))
        easy.setopt(pycurl.DEBUGFUNCTION, self._guard(self._take_note, None))
        easy.setopt(pycurl.VERBOSE, 1)

    @property
    def held_bytes(self) -> int:
        """The memory that the body takes now."""
        return 0 if self.decoder is None else self.decoder.held_bytes

    @property
    def phase(self) -> Phase:
        """How far the hop came. Not to be asked from a callback."""
        if self.reader.complete:
            return Phase.BODY
        if self.reader.started:
            return Phase.HEADERS
        if self.requests:
            return Phase.REQUEST
        return Phase.HANDSHAKE if self.easy.getinfo(pycurl.CONNECT_TIME_T) else Phase.CONNECT

    def _guard(self, callback: Callable[..., Any], refusal: object) -> Callable[..., Any]:
        """The callback, made to return `refusal` to libcurl where it would raise."""

        def call(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except MemoryError:
                end_exhausted()
            except Exception as fault:  # a boundary: nothing may be raised through libcurl
                self.fault = fault
                self.stop = Stop.FAULT
                return refusal

        return call

    def _open_socket(self, purpose: int, address: pycurl.CurlSockAddr) -> socket.socket | int:
        if not self._may_connect(address):
            self.refused += 1
            return pycurl.SOCKET_BAD
        self.opened += 1
        return curl_options.open_socket(address)

    def _may_connect(self, address: pycurl.CurlSockAddr) -> bool:
        """Ask the destination policy, and the kernel for addresses that this host got after its own were read.

        Decided before anything is sent, so that not even a closed port or a TLS server's alert is told to the client.
        """
        ip, port = str(address.addr[0]), int(address.addr[1])
        destinations = self._options.destinations
        if not destinations.allows_address(ip, port):
            return False
        return destinations.allows_own(ip, port) or not curl_options.is_own(ip, port)

    def _begin_request(self, ip: str, local_ip: str, port: int, local_port: int) -> int:
        """Called on a new and on a reused connection, and again when libcurl repeats the request by itself."""
        self.requests += 1
        if not self._options.destinations.allows_connection(ip, port, local_ip):
            self.stop = Stop.PROHIBITED
            return pycurl.PREREQFUNC_ABORT
        self.server = Server(ip, port)
        self.handshake_notes, self.notes = self.notes, []
        self.on_connected(self)  # before a refusal too: libcurl keeps the connection for other hops
        if self.requests > self._options.max_repeats:
            self.stop = Stop.REPEATED
            return pycurl.PREREQFUNC_ABORT
        self.sent = b""
        self._forget_response()
        return pycurl.PREREQFUNC_OK

    def _take_header(self, line: bytes) -> int | None:
        reader = self.reader
        was_complete = reader.complete
        reader.feed(line)
        if reader.violation is not None:
            self.stop = Stop.HEADERS
            return 0
        if reader.complete and not was_complete:
            return self._begin_body()
        return None

    def _begin_body(self) -> int | None:
        if self.reader.status_code == SWITCHING_PROTOCOLS:
            self.stop = Stop.SWITCHED
            return 0
        self.redirect = find_redirect(self.url, self.reader)
        if self.redirect is not None:
            self.on_redirect()
        self.codings = parse_codings(self.reader.values("content-encoding"))
        self.decoder = BodyDecoder(self.codings, self._options.max_body_bytes)
        return None

    def _take_body(self, chunk: bytes) -> int | None:
        if self.redirect is not None:
            return self._skip_body(chunk)
        assert self.decoder is not None
        if self.budget is not None and not self.budget.admits(self, len(chunk)):
            return pycurl.WRITEFUNC_PAUSE
        part = chunk[: self._options.max_wire_bytes - self.wire_length]
        self.wire_length += len(part)
        self.wire_hash.update(part)
        self.decoder.feed(part)
        if len(part) < len(chunk) or self.decoder.overflow:
            self.stop = Stop.BODY_LENGTH
            return 0
        return None

    def _skip_body(self, chunk: bytes) -> int | None:
        """Read a redirect's body only to keep the connection usable; one that is too long is not worth that."""
        self.wire_length += len(chunk)
        return 0 if self.wire_length > self._options.redirect_body_bytes else None

    def _take_note(self, kind: int, data: bytes) -> None:
        if kind == pycurl.INFOTYPE_HEADER_OUT:
            self.sent += data
        elif kind == pycurl.INFOTYPE_TEXT and len(self.notes) < _MAX_NOTES:
            self.notes.append(data.decode("utf-8", "replace").rstrip("\n"))
