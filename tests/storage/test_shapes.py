"""Documents of every version that was ever written can be read, and today's are of the versions that they carry.

`shapes/` holds one document of each version, as a database returned it (extended JSON, canonical):
`unversioned-first.json` and `unversioned-last.json` were written by the first and the last release without versions.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC
from pathlib import Path
from typing import Any, get_args

import pytest
from bson import json_util
from bson.int64 import Int64
from msgspec.structs import replace

from metadata_inventory.model.capture import (
    Body,
    Capture,
    Certificate,
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
    Tls,
)
from metadata_inventory.model.record import ClaimRequest, Entry, Job, Lease, Status, StoredFailure
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.documents import to_entry, to_instant
from metadata_inventory.storage.migrations import VERSIONS, Part
from metadata_inventory.storage.mongo import MongoStore
from tests.storage.conftest import due, found
from tests.support.builders import FETCHED_AT
from tests.support.waiting import wait_until_async

SHAPES = Path(__file__).parent / "shapes"
PARTS: tuple[Part, ...] = get_args(Part)
CANONICAL = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, tzinfo=UTC)

URL = normalize("https://shapes.example/page?q=1")
PAGE = b"<title>A page</title>"
CONTENT = base64.b64decode("KLUv/SAVqQAAPHRpdGxlPkEgcGFnZTwvdGl0bGU+")  # its zstd frame, as it was stored then
QUEUED_MS, DUE_MS = 1_767_323_045_678, 1_767_323_060_678


def an_exchange(url: str, status_code: int, location: str | None = None) -> Exchange:
    """With a value in every field that can have one."""
    headers = [Header("Server", "nginx"), Header("X-Odd", "café", "Y2Fm6Q==")]
    if location is not None:
        headers.append(Header("Location", location))
    cookie = SetCookie(
        name="session",
        value="1",
        domain="shapes.example",
        path="/",
        expires=FETCHED_AT,
        max_age=60,
        secure=True,
        http_only=True,
        same_site="Lax",
        partitioned=False,
        host_only=False,
        raw="session=1; Domain=shapes.example",
    )
    certificate = Certificate(
        subject="CN=shapes.example",
        issuer="CN=Example CA",
        names=("shapes.example",),
        serial="0a",
        not_before=FETCHED_AT,
        not_after=FETCHED_AT,
        sha256="ab" * 32,
    )
    return Exchange(
        started_at=FETCHED_AT,
        request=Request(method="GET", url=url, http_version="2", headers=(Header("Host", "shapes.example"),)),
        response=Response(
            status_code=status_code, reason="", http_version="2", headers=tuple(headers), set_cookies=(cookie,)
        ),
        timings_ms=Timings(blocked=0.5, dns=1.5, connect=2.0, tls=3.0, send=0.1, wait=20.0, receive=3.0),
        server=Server("192.0.2.1", 443),
        tls=Tls(
            version="TLSv1.3",
            cipher="TLS_AES_128_GCM_SHA256",
            alpn="h2",
            verified=True,
            verify_error=None,
            certificate=certificate,
        ),
    )


CAPTURE = Capture(
    final_url="https://shapes.example/new",
    exchanges=(an_exchange(URL.href, 301, "/new"), an_exchange("https://shapes.example/new", 200)),
    body=Body(
        sha256=hashlib.sha256(PAGE).hexdigest(),
        length=len(PAGE),
        stored_length=len(CONTENT),
        wire_length=len(PAGE),
        wire_sha256=hashlib.sha256(PAGE).hexdigest(),
        content_codings=("gzip",),
        coding_error=None,
        media_type="text/html",
        charset="utf-8",
        charset_source="content-type",
        encoding=None,
        truncated="time",
    ),
    summary=Summary(
        title="A page",
        description="About shapes",
        canonical="https://shapes.example/page",
        language="en",
        favicon="https://shapes.example/favicon.ico",
        open_graph=(Property("og:title", "A page"),),
        twitter=(Property("twitter:card", "summary"),),
        json_ld_types=("Article",),
    ),
    content=CONTENT,
    fetched_at=FETCHED_AT,
)
FAILURE = StoredFailure(
    failure=Failure(
        code=FailureCode.CONNECTION_TERMINATED,
        detail="The connection was closed.",
        at=FETCHED_AT,
        exchanges=(replace(an_exchange(URL.href, 200), response=None),),
    ),
    attempts=1,
    retry_at=FETCHED_AT,
    policy="rules",
)
ENTRY = Entry(
    id=URL.id,
    url=URL.href,
    normalized_url=URL.href,
    status=Status.COMPLETE,
    revision=1,
    requested_at=FETCHED_AT,
    checked_at=FETCHED_AT,
    unchanged_count=0,
    settled="2" * 32,
    capture=CAPTURE,
    failure=FAILURE,
    job=Job(
        queued_at=to_instant(QUEUED_MS),
        due_at=to_instant(DUE_MS),
        attempts=1,
        losses=0,
        kept=None,
        owner="node-1",
        token="3" * 32,
    ),
)
# What documents of a fixture lack is given the value that it had then.
EXPECTED = {"unversioned-first": replace(ENTRY, capture=replace(CAPTURE, summary=None))}


def fixtures() -> dict[str, dict[str, Any]]:
    return {
        file.stem: json_util.loads(file.read_text(), json_options=CANONICAL) for file in sorted(SHAPES.glob("*.json"))
    }


def versions(document: dict[str, Any]) -> dict[Part, int]:
    return {part: document[part].get("version", 1) for part in PARTS}


@pytest.mark.parametrize("name", fixtures())
def test_document_of_every_version_is_read(name: str) -> None:
    assert to_entry(fixtures()[name]) == EXPECTED.get(name, ENTRY)


@pytest.mark.parametrize("part", PARTS)
def test_every_version_has_a_fixture(part: Part) -> None:
    kept = {versions(document)[part] for document in fixtures().values()}
    assert kept == set(range(1, VERSIONS[part] + 1)), "a version was raised: keep a document of it in shapes/"


def types_by_path(value: Any, path: str = "") -> set[tuple[str, type]]:
    """Every field of a document with the type of its value; items of a list share one path."""
    if isinstance(value, dict):
        return {one for name, inner in value.items() for one in types_by_path(inner, f"{path}.{name}")}
    if isinstance(value, list):
        return {(path, list)}.union(*(types_by_path(inner, f"{path}[]") for inner in value))
    return {(path, type(value))}


async def write(store: MongoStore) -> dict[str, Any]:
    """A document with all parts, written by the store as it is now."""
    first, second, third = (Lease(URL, "node-1", number * 32) for number in "123")

    def request(lease: Lease, known_settled: str | None) -> ClaimRequest:
        return ClaimRequest(
            url=URL, given_url=URL.href, requested_at=FETCHED_AT, lease=lease, known_settled=known_settled
        )

    await store.claim(request(first, None))
    await store.complete(first, CAPTURE)
    await store.claim(request(second, first.token))
    await store.postpone(second, FAILURE, delay_ms=0)
    await wait_until_async(lambda: due(store), timeout_s=5)
    await store.claim(request(third, second.token))
    document = await store._records.find_one({"_id": URL.id})
    assert document is not None
    document["job"] |= {"queued_ms": Int64(QUEUED_MS), "due_ms": Int64(DUE_MS)}
    return document


@pytest.mark.gen_test
async def test_what_is_written_has_the_shape_of_its_versions(store: MongoStore, tmp_path: Path) -> None:
    """Red when a shape was changed and its version was not raised, or when the new version has no fixture yet."""
    written = await write(store)
    name = "-".join(f"{part}-{version}" for part, version in versions(written).items())
    file = tmp_path / f"{name}.json"
    file.write_text(json_util.dumps(written, json_options=CANONICAL, indent=1, ensure_ascii=False) + "\n")
    assert versions(written) == VERSIONS
    assert name in fixtures(), f"keep {file} in {SHAPES}"
    assert types_by_path(written) == types_by_path(fixtures()[name]), "a shape has changed: raise its version"
    assert to_entry(written) == ENTRY


@pytest.mark.gen_test
async def test_oldest_document_goes_through_a_whole_attempt(store: MongoStore) -> None:
    """Its lease has run out long ago; the claim writes the job in the present shape, the outcome the capture."""
    await store.check()
    await store._records.insert_one(fixtures()["unversioned-first"])
    assert await found(store.find(URL)) == EXPECTED["unversioned-first"]
    (entry,) = await due(store)
    lease = Lease(URL, "node-2", "4" * 32)
    claim = ClaimRequest(
        url=URL, given_url=entry.url, requested_at=entry.requested_at, lease=lease, known_settled=entry.settled
    )
    claimed = await store.claim(claim)
    assert claimed.job is not None
    assert (claimed.job.token, claimed.job.losses, claimed.job.attempts) == (lease.token, 1, 1)
    assert await store.renew([lease]) == {lease.token: True}
    held = await store._records.find_one({"_id": URL.id})
    assert held is not None
    assert versions(held) == {"capture": 1, "failure": 1, "job": VERSIONS["job"]}
    completed = await found(store.complete(lease, CAPTURE))
    assert (completed.revision, completed.capture, completed.job) == (2, CAPTURE, None)
    stored = await store._records.find_one({"_id": URL.id})
    assert stored is not None
    assert stored["capture"]["version"] == VERSIONS["capture"]
