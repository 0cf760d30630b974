"""Owns the state of one collection: its stage, and the results of its hops so far.

Redirects are followed here and not by libcurl, so that every hop is checked and recorded (RFC 9110 §15.4; the method is
always GET). One deadline holds for all hops. The engine leads each hop through `refuse` (is it allowed at all?),
`begin_resolving`, `prepare_hop` (from addresses to a `Hop` for libcurl) and `conclude` (from the ended `Hop` to an
outcome, or to the next hop).
"""

from __future__ import annotations

import dataclasses
import time
from enum import Enum, auto

import pycurl
from msgspec.structs import replace

from metadata_inventory.clock import now
from metadata_inventory.collect.engine.body import build_body
from metadata_inventory.collect.engine.curl_options import name_addresses
from metadata_inventory.collect.engine.exchanges import build_exchange, build_unsent_exchange
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.outcomes import Stop, build_failure, classify, find_truncation
from metadata_inventory.collect.engine.resolver import Resolution, is_address
from metadata_inventory.collect.engine.tls_handshakes import describe_handshake
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.collect.parse.cookie_jar import CookieJar
from metadata_inventory.collect.parse.headers import raw_value
from metadata_inventory.collect.parse.set_cookie import parse_set_cookie
from metadata_inventory.model.capture import (
    Capture,
    CollectionOrder,
    Exchange,
    Failure,
    FailureCode,
    Outcome,
    SetCookie,
)
from metadata_inventory.model.urls import NormalizedUrl, normalize

# Failures whose text by libcurl or OpenSSL is helpful, and never names an address.
_EXPLAINED = frozenset(
    {FailureCode.TLS_CERTIFICATE_ERROR, FailureCode.TLS_PROTOCOL_ERROR, FailureCode.HTTP_PROTOCOL_ERROR}
)


class Stage(Enum):
    """The event that a collection waits for. The engine ends the wait at its `give_up_at`, if it has one."""

    RESOLVING = auto()  # for the addresses of the next hop's host; until `resolve_timeout_s` or the deadline
    WAITING_FOR_SLOT = auto()  # for a slot of the host, its resolution at hand; until the deadline
    TRANSFERRING = auto()  # for the end of its `hop`; libcurl itself ends that at the deadline
    DRAINING_REDIRECT = auto()  # for the end of a redirect's body, to reuse the connection; until `redirect_body_ms`
    ENDED = auto()  # for nothing: it has its outcome, or was abandoned


class Collection:
    """The collection of one order. It starts in `RESOLVING`; a redirect leads back there, and `end` to `ENDED`."""

    def __init__(self, order: CollectionOrder, options: CollectorOptions) -> None:
        self.token = order.token
        self.deadline = time.monotonic() + options.collect_timeout_s
        self.stage = Stage.RESOLVING
        self.give_up_at: float | None = None  # an instant of time.monotonic
        self._options = options
        self._hop: Hop | None = None
        self._resolution = Resolution()  # of the present hop's host
        self._queued_at = 0.0  # when the wait for a slot began
        self._jar = CookieJar()
        self._exchanges: list[Exchange] = []
        self._header_bytes = 0  # of all hops so far
        self._cookies: bytes | None = None
        self._seen: set[tuple[str, bytes | None]] = set()
        self._verify_error: str | None = None  # why the certificate does not verify, if `tls_verify` is "record"
        self._approach(order.url)

    @property
    def remaining_ms(self) -> int:
        return max(1, round((self.deadline - time.monotonic()) * 1000))

    @property
    def host(self) -> str:
        return self._target.host

    @property
    def hop(self) -> Hop:
        """The hop in transfer: in the stages `TRANSFERRING` and `DRAINING_REDIRECT` there is one."""
        assert self._hop is not None
        return self._hop

    @property
    def redirected(self) -> bool:
        """Whether a redirect led to the present hop."""
        return bool(self._exchanges)

    def _approach(self, url: str) -> None:
        self._url = url
        self._target: NormalizedUrl = normalize(url)
        self._started_at = now()
        self._verify_error = None
        self._enter(Stage.RESOLVING)

    def _enter(self, stage: Stage, give_up_at: float | None = None) -> None:
        self.stage, self.give_up_at = stage, give_up_at

    def refuse(self) -> Failure | None:
        """The failure that is certain before the next hop's host is looked up, if there is one."""
        if self._verify_error is not None:  # the same hop again
            return None
        if self._options.destinations.refuses_url(self._target):
            return self.fail(FailureCode.DESTINATION_IP_PROHIBITED)
        self._cookies = self._jar.octets_for(self._url, self._started_at) if self._exchanges else None
        if (self._url, self._cookies) in self._seen or len(self._exchanges) > self._options.max_redirects:
            return self.fail(FailureCode.TOO_MANY_REDIRECTS)
        self._seen.add((self._url, self._cookies))
        return None

    def begin_resolving(self) -> None:
        give_up_at = time.monotonic() + self._options.resolve_timeout_s
        self._enter(Stage.RESOLVING, min(self.deadline, give_up_at))

    def wait_for_slot(self, resolution: Resolution) -> None:
        self._resolution, self._queued_at = resolution, time.monotonic()
        self._enter(Stage.WAITING_FOR_SLOT, self.deadline)

    def end_wait(self) -> Resolution:
        """The resolution that was at hand while waiting for a slot, with that wait added to its `waited_ms`."""
        waited_ms = (time.monotonic() - self._queued_at) * 1000
        return dataclasses.replace(self._resolution, waited_ms=(self._resolution.waited_ms or 0.0) + waited_ms)

    def prepare_hop(self, resolution: Resolution) -> Hop | Failure:
        """Begin `TRANSFERRING` with a hop that the caller adds to libcurl. A failure if no address is allowed."""
        self._resolution = resolution
        if resolution.failure is not None:
            return self.fail(resolution.failure, resolution=resolution)
        host, port = self._target.host, self._target.port
        hop = Hop(self._url, self._limit_headers())
        hop.prepare(timeout_ms=self.remaining_ms, verify_error=self._verify_error, cookies=self._cookies)
        if not is_address(host):
            allowed = tuple(ip for ip in resolution.addresses if self._options.destinations.allows_address(ip, port))
            if not allowed:
                hop.easy.close()
                return self.fail(FailureCode.DESTINATION_IP_PROHIBITED, resolution=resolution)
            name_addresses(hop.easy, host, port, allowed)
        self._hop = hop
        self._enter(Stage.TRANSFERRING)
        return hop

    def drain_redirect(self) -> None:
        """The hop's headers are a redirect: only its body may still come. May be called from a callback."""
        self._enter(Stage.DRAINING_REDIRECT, time.monotonic() + self._options.redirect_body_ms / 1000)

    def fail_without_slot(self) -> Failure:
        """The outcome when all slots of the host were taken until the deadline."""
        words = "This service had as many transfers from the host under way as it may have."
        return self.fail(FailureCode.CONNECTION_TIMEOUT, words, resolution=self.end_wait())

    def _limit_headers(self) -> CollectorOptions:
        """The options, with the header limit lowered to what earlier hops have left of the collection's limit."""
        limits = self._options.headers
        left_bytes = max(0, limits.max_collection_bytes - self._header_bytes)
        if left_bytes >= limits.max_header_bytes:
            return self._options
        return replace(self._options, headers=replace(limits, max_header_bytes=left_bytes))

    def conclude(self, error: int, words: str) -> Outcome | None:
        """Take over the hop, which ended with libcurl's `error`. None if another hop follows, or the same once more.

        The hop's handle is still open; the caller closes it. Raises what one of the hop's callbacks raised.
        """
        hop = self.hop
        self._hop = None
        if hop.fault is not None:
            raise hop.fault
        code = None if hop.reader.complete else self._classify(hop, error)
        unverified = words if code is FailureCode.TLS_CERTIFICATE_ERROR else None
        if unverified is not None and self._options.tls_verify == "record" and self._verify_error is None:
            self._verify_error = unverified
            self._enter(Stage.RESOLVING)
            return None
        if code is not None:
            hop.tls = hop.tls or describe_handshake(hop, unverified)
        cookies = self._read_cookies(hop)
        # A cookie's path and domain come from the URL when its line has none, and can be longer than the line.
        self._header_bytes += hop.reader.size_bytes + sum(len(one.path) + len(one.domain or "") for one in cookies)
        if code is None and self._header_bytes > self._options.headers.max_collection_bytes:
            code, cookies = FailureCode.HTTP_PROTOCOL_ERROR, ()
            words = "The headers of all hops are too long, with the paths of their cookies."
        self._exchanges.append(build_exchange(hop, self._started_at, self._resolution, code, cookies))
        if code is not None:
            explanation = hop.reader.violation or (words if code in _EXPLAINED else "")
            return build_failure(code, explanation, tuple(self._exchanges))
        if hop.redirect is not None:
            self._approach(hop.redirect)
            return None
        return self._capture(hop, error)

    def end(self) -> None:
        """Enter `ENDED`: the collection has its outcome, or was abandoned."""
        self._hop = None
        self._enter(Stage.ENDED)

    def fail(self, code: FailureCode, words: str = "", *, resolution: Resolution | None = None) -> Failure:
        """The failure of a hop that has sent nothing; `resolution` is its host's, if it came so far."""
        self._exchanges.append(build_unsent_exchange(self._url, self._started_at, resolution or Resolution()))
        return build_failure(code, words, tuple(self._exchanges))

    def _classify(self, hop: Hop, error: int) -> FailureCode:
        stop = hop.stop
        if stop is None and error == pycurl.E_COULDNT_CONNECT and hop.refused and not hop.opened:
            stop = Stop.PROHIBITED
        return classify(error, hop.phase, stop)

    def _read_cookies(self, hop: Hop) -> tuple[SetCookie, ...]:
        received_at = now()
        cookies = []
        for header in hop.reader.headers:
            if header.name.lower() == "set-cookie":
                cookie = parse_set_cookie(raw_value(header), hop.url, received_at)
                self._jar.receive(cookie, hop.url, received_at)
                cookies.append(cookie)
        return tuple(cookies)

    def _capture(self, hop: Hop, error: int) -> Capture:
        assert hop.decoder is not None or hop.stop is Stop.SWITCHED
        body, summary, content = build_body(hop, find_truncation(error, hop.stop))
        return Capture(
            final_url=hop.url,
            exchanges=tuple(self._exchanges),
            body=body,
            summary=summary,
            content=content,
            fetched_at=now(),
        )
