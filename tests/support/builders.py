"""Builds complete captures, failures, claims and leases; a test gives only the fields that it checks."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

from backports import zstd

from metadata_inventory.model.capture import (
    Body,
    Capture,
    Exchange,
    Failure,
    FailureCode,
    Header,
    Property,
    Request,
    Response,
    Server,
    SetCookie,
    Summary,
    Timings,
)
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.model.record import ClaimRequest, Lease
from metadata_inventory.model.urls import NormalizedUrl, normalize

FETCHED_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def a_url(path: str = "") -> NormalizedUrl:
    """A URL that no other test has."""
    return normalize(f"https://{uuid.uuid4().hex}.example/{path}")


def a_lease(url: NormalizedUrl, owner: str = "node-1") -> Lease:
    return Lease(url, owner, uuid.uuid4().hex)


def a_claim(
    url: NormalizedUrl, lease: Lease | None = None, *, known_settled: str | None = None, run_now: bool = False
) -> ClaimRequest:
    return ClaimRequest(
        url=url,
        given_url=url.href,
        requested_at=FETCHED_AT,
        lease=lease,
        known_settled=known_settled,
        run_now=run_now,
    )


def an_exchange(url: str, headers: tuple[Header, ...] = (), cookies: tuple[SetCookie, ...] = ()) -> Exchange:
    return Exchange(
        started_at=FETCHED_AT,
        request=Request(method="GET", url=url, http_version="1.1", headers=(Header("Host", "example"),)),
        response=Response(status_code=200, reason="OK", http_version="1.1", headers=headers, set_cookies=cookies),
        timings_ms=Timings(dns=1.5, connect=2.0, send=0.1, wait=20.0, receive=3.0),
        server=Server("192.0.2.1", 443),
        tls=None,
    )


def a_capture(url: NormalizedUrl, page: bytes = b"<p>hello</p>", headers: tuple[Header, ...] = ()) -> Capture:
    content = zstd.compress(page)
    sha256 = hashlib.sha256(page).hexdigest()
    return Capture(
        final_url=url.href,
        exchanges=(an_exchange(url.href, headers),),
        body=Body(
            sha256=sha256,
            length=len(page),
            stored_length=len(content),
            wire_length=len(page),
            wire_sha256=sha256,
            content_codings=(),
            coding_error=None,
            media_type="text/html",
            charset="utf-8",
            charset_source="content-type",
            encoding=None,
            truncated=None,
        ),
        summary=Summary(title="A page", open_graph=(Property("og:title", "$title"),)),
        content=content,
        fetched_at=FETCHED_AT,
    )


def a_failure(code: FailureCode = FailureCode.CONNECTION_REFUSED) -> Failure:
    return Failure(code=code, detail="The connection was refused.", at=FETCHED_AT)


def a_policy() -> CollectPolicy:
    return CollectPolicy(
        max_attempts=3,
        retry_base_s=1,
        retry_max_s=60,
        retry_after_max_s=300,
        failure_ttl_s=300,
        freshness_s=0,
        rules="rules",
    )
