"""Answers with an entry: its record if it has a capture, else its pending job if it has one, else its failure."""

from __future__ import annotations

import math
from datetime import datetime
from email.utils import format_datetime

import msgspec

from metadata_inventory import errors
from metadata_inventory.clock import now
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import Entry
from metadata_inventory.model.view import build_pending
from metadata_inventory.web.api.representation import encode_record, etag, run_aside
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.preferences import read_wait_preference
from metadata_inventory.web.http.problem import build_problem, status_of_failure


class EntryHandler(BaseHandler):
    async def answer(self, entry: Entry, names: frozenset[str], cache_status: str, status: int = 200) -> None:
        """Answer with the record, the pending job or the stored failure; `status` is that of a record.

        `names` are the fields of the record to answer with (`representation.choose_fields`).
        `cache_status` is the part of the Cache-Status header behind our name (RFC 9211).
        """
        if entry.capture is not None:
            await self._answer_record(entry, entry.capture, names, cache_status, status)
        elif entry.job is not None:
            self.answer_pending(entry, cache_status)
        else:
            self.answer_failure(entry)

    async def _answer_record(
        self, entry: Entry, capture: Capture, names: frozenset[str], cache_status: str, status: int
    ) -> None:
        self._set_cache_status(cache_status)
        self.set_header("ETag", etag(entry, names))
        self.set_header("Cache-Control", "no-cache")
        if self.matches_etag():
            return
        content = await self.services.inventory.content(entry) if "page_source" in names else b""
        if content is None:  # a newer capture has just replaced this one, and its body with it
            newer = await self.services.inventory.read(entry.id, wait_s=0)
            await self.answer(newer, names, cache_status, status)
            return
        self.set_header("Last-Modified", format_datetime(capture.fetched_at, usegmt=True))
        self.set_header("Age", str(max(0, int((now() - capture.fetched_at).total_seconds()))))
        self.reply_json(status, await run_aside(capture.body.length, encode_record, entry, capture, content, names))

    def answer_pending(self, entry: Entry, cache_status: str) -> None:
        """Answer 202. `Retry-After` says when a job that no worker holds is due."""
        self._set_cache_status(cache_status)
        headers = {
            "Location": record_path(entry),
            "Retry-After": str(retry_after_s(entry.job.due_at if entry.job and not entry.job.token else None)),
            "Cache-Control": "no-store",
        }
        self.reply(202, build_pending(entry), headers)

    def answer_failure(self, entry: Entry) -> None:
        """Answer with the stored failure as a problem detail. `retry_at` is when the next attempt is due."""
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
        """How long to wait for a collection: the parameter `wait`, else the Prefer header, else the default."""
        if asked_s is not None:
            return asked_s
        preference = read_wait_preference(self.request.headers.get("Prefer", ""))
        if preference is None:
            return default_s
        self.set_header("Preference-Applied", preference.applied)
        return preference.wait_s

    def _set_cache_status(self, cache_status: str) -> None:
        self.set_header("Cache-Status", f"http-metadata-inventory; {cache_status}")


def record_path(entry: Entry) -> str:
    return f"/api/metadata/{entry.id}/"


def retry_after_s(at: datetime | None) -> int:
    """Whole seconds until the instant, at least 1, as Retry-After counts them; 1 when it is not known."""
    return 1 if at is None else max(1, math.ceil((at - now()).total_seconds()))
