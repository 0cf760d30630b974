"""One collection: its hops from the order to the outcome. Redirects are followed by hand, one deadline over all.

Each hop goes through `next_host` (where to look), `dial` (addresses → a prepared hop) and `settle` (an ended hop →
an outcome, or None when another hop is due). Which of them to call and when libcurl runs is the worker's affair.
Redirects: RFC 9110 §15.4; the method is always GET.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime

import pycurl
from msgspec.structs import replace

from metadata_inventory.collect.engine.body import build_body
from metadata_inventory.collect.engine.curl_options import name_addresses
from metadata_inventory.collect.engine.exchanges import build_exchange, round_ms
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.outcomes import DETAILS, Stop, classify, find_truncation
from metadata_inventory.collect.engine.resolver import Resolution, is_address
from metadata_inventory.collect.engine.tls_handshakes import describe_handshake
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.collect.parse.cookie_jar import CookieJar, parse_set_cookie
from metadata_inventory.collect.parse.headers import HeaderReader, raw_value
from metadata_inventory.errors import InvalidUrl
from metadata_inventory.model.capture import (
    Capture,
    CollectionOrder,
    Exchange,
    Failure,
    FailureCode,
    Outcome,
    Request,
    SetCookie,
    Timings,
)
from metadata_inventory.model.urls import NormalizedUrl, normalize, resolve

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")

# Words of libcurl and OpenSSL that help and cannot name an address.
_TELLING = frozenset(
    {FailureCode.TLS_CERTIFICATE_ERROR, FailureCode.TLS_PROTOCOL_ERROR, FailureCode.HTTP_PROTOCOL_ERROR}
)


class Collection:
    """The state between hops. `now` gives aware UTC in whole milliseconds."""

    def __init__(
        self,
        order: CollectionOrder,
        options: CollectorOptions,
        now: Callable[[], datetime],
    ) -> None:
        self.token = order.token
        self.deadline = time.monotonic() + options.collect_timeout_s
        self.hop: Hop | None = None
        self._options = options
        self._now = now
        self._jar = CookieJar()
        self._exchanges: list[Exchange] = []
        self._header_bytes = 0  # of all hops so far
        self._cookies: bytes | None = None
        self._seen: set[tuple[str, bytes | None]] = set()
        self._verify_error: str | None = None  # why the certificate does not verify, when that is overlooked
        self._approach(order.url)

    @property
    def remaining_ms(self) -> int:
        return max(1, round((self.deadline - time.monotonic()) * 1000))

    @property
    def host(self) -> str:
        return self._target.host

    @property
    def redirected(self) -> bool:
        """Whether the next hop is a later one."""
        return bool(self._exchanges)

    def _approach(self, url: str) -> None:
        self._url = url
        self._target: NormalizedUrl = normalize(url)
        self._started_at = self._now()
        self._verify_error = None

    def refuse(self) -> Failure | None:
        """What is certain about the next hop before anything is looked up."""
        if self._verify_error is not None:  # the same hop again
            return None
        if self._options.destinations.refuses_url(self._target):
            return self.fail(FailureCode.DESTINATION_IP_PROHIBITED)
        self._cookies = self._jar.octets_for(self._url, self._started_at) if self._exchanges else None
        if (self._url, self._cookies) in self._seen or len(self._exchanges) > self._options.max_redirects:
            return self.fail(FailureCode.TOO_MANY_REDIRECTS)
        self._seen.add((self._url, self._cookies))
        return None

    def dial(self, answer: Resolution) -> Hop | Failure:
        """A hop, ready to be added; a failure when there is no address that may be dialled."""
        self._answer = answer
        if answer.failure is not None:
            return self.fail(answer.failure, timings=_name_timings(answer))
        host, port = self._target.host, self._target.port
        hop = Hop(self._url, self._hop_options(), self._find_redirect)
        hop.prepare(timeout_ms=self.remaining_ms, verify_error=self._verify_error, cookies=self._cookies)
        if not is_address(host):
            allowed = tuple(ip for ip in answer.addresses if self._options.destinations.allows_address(ip, port))
            if not allowed:
                hop.easy.close()
                return self.fail(FailureCode.DESTINATION_IP_PROHIBITED, timings=_name_timings(answer))
            name_addresses(hop.easy, host, port, allowed)
        self.hop = hop
        return hop

    def fail_for_want_of_place(self, answer: Resolution) -> Failure:
        """The outcome when as many transfers as may be were under way at the host until the deadline."""
        return self.fail(
            FailureCode.CONNECTION_TIMEOUT,
            "This service had as many transfers as it may under way at the host.",
            timings=_name_timings(answer),
        )

    def _hop_options(self) -> CollectorOptions:
        """The options, with what earlier hops have left of the headers' budget."""
        limits = self._options.headers
        left_bytes = max(0, limits.max_collection_bytes - self._header_bytes)
        if left_bytes >= limits.max_header_bytes:
            return self._options
        return replace(self._options, headers=replace(limits, max_header_bytes=left_bytes))

    def settle(self, error: int, words: str) -> Outcome | None:
        """Conclude the hop that ended with libcurl's `error`; None when the next one is due, or the same again."""
        hop = self.hop
        assert hop is not None
        self.hop = None
        if hop.fault is not None:
            raise hop.fault
        code = None if hop.reader.complete else self._classify(hop, error)
        unverified = words if code is FailureCode.TLS_CERTIFICATE_ERROR else None
        if unverified is not None and self._options.tls_verify == "record" and self._verify_error is None:
            self._verify_error = unverified
            return None
        if code is not None:
            hop.tls = hop.tls or describe_handshake(hop, unverified)
        cookies = self._read_cookies(hop)
        # A cookie's path and domain come from the URL when its line has none, and can be longer than the line.
        self._header_bytes += hop.reader.size_bytes + sum(len(one.path) + len(one.domain or "") for one in cookies)
        if code is None and self._header_bytes > self._options.headers.max_collection_bytes:
            code, cookies = FailureCode.HTTP_PROTOCOL_ERROR, ()
            words = "The headers of all hops are too long, with the paths of their cookies."
        self._exchanges.append(build_exchange(hop, self._started_at, self._answer, code, cookies))
        if code is not None:
            return self._failure(code, hop.reader.violation or (words if code in _TELLING else ""))
        if hop.redirect is not None:
            self._approach(hop.redirect)
            return None
        return self._capture(hop, error)

    def end_by_fault(self) -> Failure:
        """The outcome when a step here raised."""
        self.hop = None
        return self.fail(FailureCode.INTERNAL_ERROR)

    def fail(self, code: FailureCode, detail: str = "", *, timings: Timings | None = None) -> Failure:
        """A failure of a hop that sent nothing."""
        request = Request(method="GET", url=self._url, http_version="", headers=())
        self._exchanges.append(
            Exchange(
                started_at=self._started_at,
                request=request,
                response=None,
                timings_ms=timings or Timings(),
                server=None,
                tls=None,
            )
        )
        return self._failure(code, detail)

    def _failure(self, code: FailureCode, words: str) -> Failure:
        detail = f"{DETAILS[code]} ({words})" if words else DETAILS[code]
        return Failure(code=code, detail=detail, at=self._now(), exchanges=tuple(self._exchanges))

    def _classify(self, hop: Hop, error: int) -> FailureCode:
        stop = hop.stop
        if stop is None and error == pycurl.E_COULDNT_CONNECT and hop.refused and not hop.opened:
            stop = Stop.PROHIBITED
        return classify(error, hop.phase, stop)

    def _find_redirect(self, reader: HeaderReader) -> str | None:
        """Where the response leads; None when it is an answer itself, such as one whose Location nobody can follow."""
        # An empty one leads nowhere, as in browsers.
        locations = [raw_value(one) for one in reader.headers if one.name.lower() == "location" and one.value]
        if reader.status_code not in REDIRECTS or not locations:
            return None
        url = resolve(self._url, _escape(locations[0]))
        if url is None:
            return None
        try:
            normalize(url)
        except InvalidUrl:  # another scheme, userinfo, a host that cannot be dialled
            return None
        return url

    def _read_cookies(self, hop: Hop) -> tuple[SetCookie, ...]:
        now = self._now()
        cookies = []
        for header in hop.reader.headers:
            if header.name.lower() == "set-cookie":
                cookie = parse_set_cookie(raw_value(header), hop.url, now)
                self._jar.receive(cookie, hop.url, now)
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
            fetched_at=self._now(),
        )


def _escape(location: bytes) -> str:
    """Octets beyond ASCII as escapes, in whatever charset they are: so browsers send them back."""
    return _BEYOND_ASCII.sub(lambda match: b"%%%02X" % match[0][0], location).decode("ascii")


def _name_timings(answer: Resolution) -> Timings:
    return Timings(blocked=round_ms(answer.waited_ms), dns=round_ms(answer.took_ms))
