"""An entry as an answer: the record, the pending job or the stored failure, whichever it can serve."""

from __future__ import annotations

import asyncio
import hashlib
import math
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec

from metadata_inventory import errors
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import Entry
from metadata_inventory.model.view import Record, build_pending, build_record
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.problem import build_problem, status_of_failure

# The longest that a request may wait, in seconds.
MAX_WAIT_S = 30
# Decoding and encoding a larger page takes a thread; the loop goes on meanwhile.
THREAD_BYTES = 256 * 1024


class EntryHandler(BaseHandler):
    async def answer(self, entry: Entry, fields: str, cache_status: str, status: int = 200) -> None:
        """The record, else the pending job, else the stored failure: whichever the entry can serve."""
        if entry.capture is not None:
            await self.answer_record(entry, entry.capture, fields, cache_status, status)
        elif entry.job is not None:
            self.answer_pending(entry, cache_status)
        else:
            self.answer_failure(entry)

    async def answer_record(self, entry: Entry, capture: Capture, fields: str, cache_status: str, status: int) -> None:
        names = choose_fields(fields)
        self.set_header("ETag", etag(entry, names))
        self.set_header("Cache-Status", f"http-metadata-inventory; {cache_status}")
        self.set_header("Cache-Control", "no-cache")
        if status == 200 and self.matches_etag():
            return
        self.set_header("Last-Modified", format_datetime(capture.fetched_at, usegmt=True))
        self.set_header("Age", str(max(0, int((datetime.now(UTC) - capture.fetched_at).total_seconds()))))
        content = await self.services.inventory.content(entry) if "page_source" in names else b""
        if content is None:  # a newer capture has just taken its place
            newer = await self.services.inventory.read(entry.id, wait_s=0)
            await self.answer(newer, fields, cache_status, status)
            return
        if capture.body.length > THREAD_BYTES:
            encoded = await asyncio.to_thread(encode_record, entry, capture, content, names)
        else:
            encoded = encode_record(entry, capture, content, names)
        self.reply_json(status, encoded)

    def answer_pending(self, entry: Entry, cache_status: str) -> None:
        headers = {
            "Location": record_path(entry),
            "Retry-After": str(retry_after_s(entry.job.due_at if entry.job and not entry.job.token else None)),
            "Cache-Control": "no-store",
            "Cache-Status": f"http-metadata-inventory; {cache_status}",
        }
        self.reply(202, build_pending(entry), headers)

    def answer_failure(self, entry: Entry) -> None:
        """The stored failure as a problem. While retries go on behind it, `retry_at` is when the next one is due."""
        stored = entry.failure
        if stored is None:
            raise errors.RecordNotFound("The record was deleted.")
        failure = stored.failure
        status = status_of_failure(failure.code, len(failure.exchanges))
        answer = msgspec.structs.replace(
            build_problem(status, failure.code, failure.detail),
            id=entry.id,
            url=entry.url,
            normalized_url=entry.normalized_url,
            attempts=stored.attempts,
            failed_at=failure.at,
            retry_at=stored.retry_at,
            record=record_path(entry) if entry.revision else None,
            exchanges=failure.exchanges,
        )
        self.reply_problem(answer, {"Retry-After": str(retry_after_s(stored.retry_at))})

    def wait_s(self, asked_s: int | None, default_s: float = 0) -> float:
        """How long the caller will wait: the query's word, else `Prefer`; both of its kinds say "wait, then go on"."""
        if asked_s is not None:
            return asked_s
        preferences = read_preferences(self.request.headers.get("Prefer", ""))
        wait = preferences.get("wait", "")
        if wait.isascii() and wait.isdigit() and len(wait) < 10:
            wait_s = min(int(wait), MAX_WAIT_S)
            self.set_header("Preference-Applied", f"wait={wait_s}")
            return wait_s
        if "respond-async" in preferences:
            self.set_header("Preference-Applied", "respond-async")
            return 0
        return default_s


def read_preferences(given: str) -> dict[str, str]:
    """RFC 7240 §2: name → value, "" without one; of a repeated one the first counts. In time that its length bounds."""
    preferences: dict[str, str] = {}
    for preference in given.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    return preferences


def encode_record(entry: Entry, capture: Capture, content: bytes, names: frozenset[str]) -> bytes:
    record = build_record(entry, capture, content)
    if len(names) == len(Record.__struct_fields__):
        return msgspec.json.encode(record)
    return msgspec.json.encode({name: getattr(record, name) for name in Record.__struct_fields__ if name in names})


def choose_fields(fields: str) -> frozenset[str]:
    """The record's fields to answer with. Raises InvalidParameter for a name that is none, or a mixture."""
    known = frozenset(Record.__struct_fields__)
    given = [name.strip() for name in fields.split(",") if name.strip()]
    left_out = {name[1:] for name in given if name.startswith("-")}
    chosen = {name for name in given if not name.startswith("-")}
    if left_out and chosen:
        raise errors.InvalidParameter("fields names either what to answer with or what to leave out, not both.")
    if unknown := (left_out | chosen) - known:
        raise errors.InvalidParameter(f"fields names what a record does not have: {', '.join(sorted(unknown))}.")
    return frozenset(chosen) or known - left_out


def etag(entry: Entry, names: frozenset[str]) -> str:
    """Strong: `settled` changes with whatever a record shows, the second half with the choice of fields."""
    choice = hashlib.sha256(",".join(sorted(names)).encode()).hexdigest()[:8]
    return f'"{entry.revision}-{entry.settled}-{choice}"'


def record_path(entry: Entry) -> str:
    return f"/api/metadata/{entry.id}/"


def retry_after_s(at: datetime | None) -> int:
    """Whole seconds until then, at least 1, as Retry-After counts them."""
    return 1 if at is None else max(1, math.ceil((at - datetime.now(UTC)).total_seconds()))
