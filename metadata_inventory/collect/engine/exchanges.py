"""An ended hop → an exchange: what was sent and answered, where, and how long each phase took.

Timings are taken from libcurl's figures, which all count from the transfer's start (curl_easy_getinfo(3), TIMES), and
turned into HAR 1.2's phases, which do not overlap. When a hop fails, libcurl sets the figures of phases that were not
reached to its end, so what took place is decided by the hop's own phase.
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
    answer: Resolution,
    failure: FailureCode | None,
    set_cookies: tuple[SetCookie, ...],
) -> Exchange:
    """The exchange of a hop; `failure` is why it has no final headers."""
    method, http_version, headers = read_request(hop.sent) if hop.sent else ("GET", "", ())
    # A failing hop has no response, except that headers which are not acceptable are shown as far as they came.
    shown = failure is None or (failure is FailureCode.HTTP_PROTOCOL_ERROR and hop.reader.final)
    return Exchange(
        started_at=started_at,
        request=Request(method=method, url=hop.url, http_version=http_version, headers=headers),
        response=_build_response(hop, set_cookies) if shown else None,
        timings_ms=measure(hop, answer),
        server=find_server(hop, failure),
        tls=_find_tls(hop),
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
    """The connection's session. Of QUIC's ALPN libcurl says nothing; HTTP/3 is only spoken as h3 (RFC 9114 §3.1)."""
    if hop.tls is not None and hop.reader.http_version == "HTTP/3":
        return replace(hop.tls, alpn="h3")
    return hop.tls


def find_server(hop: Hop, failure: FailureCode | None) -> Server | None:
    """The peer, once there was a connection; never one that was refused."""
    if failure is FailureCode.DESTINATION_IP_PROHIBITED:
        return None
    if hop.server is not None or hop.phase is not Phase.HANDSHAKE:
        return hop.server
    return Server(hop.easy.getinfo(pycurl.PRIMARY_IP), hop.easy.getinfo(pycurl.PRIMARY_PORT))


def measure(hop: Hop, answer: Resolution) -> Timings:
    """The phases in milliseconds; null for one that did not take place, such as connecting on a reused connection."""
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
        blocked=round_ms((answer.waited_ms or 0.0) + queued),
        dns=round_ms(answer.took_ms),
        connect=round_ms(connect),
        tls=round_ms(tls),
        send=round_ms(send),
        wait=round_ms(wait),
        receive=round_ms(receive),
    )


def round_ms(duration_ms: float | None) -> float | None:
    """To whole microseconds, as they are recorded."""
    return None if duration_ms is None else round(max(0.0, duration_ms), 3)
