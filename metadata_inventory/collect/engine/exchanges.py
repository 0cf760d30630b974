"""Builds the exchange of a hop that has ended: what was sent and received, from where, and how long each phase took.

libcurl's times all count from the start of the transfer (curl_easy_getinfo(3), TIMES). They are turned into the phases
of HAR 1.2, which do not overlap. When a hop fails, libcurl sets the times of phases that it did not reach to the time
of the end. So the hop's own phase decides which phases took place.
"""

from __future__ import annotations

from datetime import datetime

import pycurl
from msgspec.structs import replace

from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.outcomes import Phase
from metadata_inventory.collect.engine.resolver import Resolution
from metadata_inventory.collect.parse.headers import read_request
from metadata_inventory.model.capture import (
    Exchange,
    FailureCode,
    Request,
    Response,
    Server,
    SetCookie,
    Timings,
    Tls,
)


def build_exchange(
    hop: Hop,
    started_at: datetime,
    resolution: Resolution,
    failure: FailureCode | None,
    set_cookies: tuple[SetCookie, ...],
) -> Exchange:
    """The exchange of a hop that reached libcurl; `failure` says why its final headers are not complete."""
    method, http_version, headers = read_request(hop.sent) if hop.sent else ("GET", "", ())
    # A failed hop has no response, with one exception: unacceptable headers are shown as far as they came.
    shown = failure is None or (failure is FailureCode.HTTP_PROTOCOL_ERROR and hop.reader.final)
    return Exchange(
        started_at=started_at,
        request=Request(method=method, url=hop.url, http_version=http_version, headers=headers),
        response=_build_response(hop, set_cookies) if shown else None,
        timings_ms=measure(hop, resolution),
        server=find_server(hop, failure),
        tls=_find_tls(hop),
    )


def build_unsent_exchange(url: str, started_at: datetime, resolution: Resolution) -> Exchange:
    """The exchange of a hop that ended before libcurl had it."""
    return Exchange(
        started_at=started_at,
        request=Request(method="GET", url=url, http_version="", headers=()),
        response=None,
        timings_ms=Timings(blocked=round_ms(resolution.waited_ms), dns=round_ms(resolution.took_ms)),
        server=None,
        tls=None,
    )


def _build_response(hop: Hop, set_cookies: tuple[SetCookie, ...]) -> Response:
    reader = hop.reader
    return Response(
        status_code=reader.status_code,
        reason=reader.reason,
        http_version=reader.http_version,
        headers=tuple(reader.headers),
        set_cookies=set_cookies,
    )


def _find_tls(hop: Hop) -> Tls | None:
    """The TLS parameters. libcurl does not report QUIC's ALPN, which is always h3 for HTTP/3 (RFC 9114 §3.1)."""
    if hop.tls is not None and hop.reader.http_version == "HTTP/3":
        return replace(hop.tls, alpn="h3")
    return hop.tls


def find_server(hop: Hop, failure: FailureCode | None) -> Server | None:
    """The address that was connected to; None if there was no connection or the destination policy refused it."""
    if failure is FailureCode.DESTINATION_IP_PROHIBITED:
        return None
    if hop.server is not None or hop.phase is not Phase.HANDSHAKE:
        return hop.server
    return Server(hop.easy.getinfo(pycurl.PRIMARY_IP), hop.easy.getinfo(pycurl.PRIMARY_PORT))


def measure(hop: Hop, resolution: Resolution) -> Timings:
    """The phases in milliseconds; None for a phase that did not take place, as connecting on a reused connection."""
    queued, connected, secured, sent, began, ended = (
        hop.easy.getinfo(info) / 1000
        for info in (
            pycurl.QUEUE_TIME_T,
            pycurl.CONNECT_TIME_T,
            pycurl.APPCONNECT_TIME_T,
            pycurl.POSTTRANSFER_TIME_T,
            pycurl.STARTTRANSFER_TIME_T,
            pycurl.TOTAL_TIME_T,
        )
    )
    phase = hop.phase
    connect = tls = send = wait = receive = None
    if phase is Phase.CONNECT:
        connect = ended - queued
    elif connected:
        connect = connected - queued
    if phase is Phase.HANDSHAKE:
        tls = ended - connected
    elif connected and secured:
        tls = secured - connected
    if phase >= Phase.REQUEST:
        sent = max(sent, secured, connected, queued)
        send = sent - max(secured, connected, queued)
        began = ended if phase is Phase.REQUEST else max(began, sent)
        wait = began - sent
    if phase > Phase.REQUEST:
        receive = ended - began
    return Timings(
        blocked=round_ms((resolution.waited_ms or 0.0) + queued),
        dns=round_ms(resolution.took_ms),
        connect=round_ms(connect),
        tls=round_ms(tls),
        send=round_ms(send),
        wait=round_ms(wait),
        receive=round_ms(receive),
    )


def round_ms(duration_ms: float | None) -> float | None:
    """The duration in milliseconds with whole microseconds, as it is recorded."""
    return None if duration_ms is None else round(max(0.0, duration_ms), 3)
