"""`/api/metadata/`: look a URL up, or collect it. `/api/metadata/{id}/`: read a record by its id."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from metadata_inventory import errors
from metadata_inventory.access.keys import Scope
from metadata_inventory.model.view import Pending, Record
from metadata_inventory.web.api.answers import EntryHandler, record_path
from metadata_inventory.web.api.representation import choose_fields
from metadata_inventory.web.http.operation import Answer, Operation, operation
from metadata_inventory.web.http.preferences import MAX_WAIT_S

# A hundred years. Instants cannot be computed with arbitrarily large numbers of seconds.
MAX_AGE_S = 3_155_760_000

# How much longer than a collection a POST waits: the time for storing the outcome.
STORE_S = 2

Wait = Annotated[
    int, Meta(ge=0, le=MAX_WAIT_S, description="Seconds to wait for a collection; means the same as `Prefer: wait=N`.")
]
MaxAge = Annotated[int, Meta(ge=0, le=MAX_AGE_S, description="Seconds; a record older than this is collected again.")]
Fields = Annotated[
    str,
    Meta(description="Comma-separated names of the fields to answer with, or, each with a `-`, of those to leave out."),
]


class LookUpQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="The URL, percent-encoded: `&` must be written `%26`.")]
    max_age: MaxAge | None = None
    wait: Wait | None = None
    collect: Annotated[bool, Meta(description="false: start no collection.")] = True
    fields: Fields = ""


class CollectQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: Wait | None = None
    fields: Fields = ""


class CollectBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The URL to collect. With `max_age`, in seconds, a stored record that is not older is the answer instead."""

    url: str
    max_age: MaxAge | None = None


class ReadQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: Wait | None = None
    fields: Fields = ""


_STORED = ("ETag", "Last-Modified", "Age", "Cache-Status")
_RECORD = Answer("The stored record.", Record, _STORED, partial=True)
_UNCHANGED = Answer("The record has the ETag of `If-None-Match`.", headers=("ETag", "Cache-Status"))
_PENDING = Answer(
    "The URL is being collected.", Pending, ("Location", "Retry-After", "Cache-Status", "Preference-Applied")
)
_URL_ERRORS = (errors.InvalidUrl, errors.InvalidRequest, errors.DestinationProhibited, errors.Unavailable)


class MetadataHandler(EntryHandler):
    @operation(
        Operation(
            summary="Read the record of a URL; a URL without a record is collected in the background.",
            query=LookUpQuery,
            answers={200: _RECORD, 202: _PENDING, 304: _UNCHANGED},
            errors=(*_URL_ERRORS, errors.RecordNotFound),
            failures=True,
        )
    )
    async def get(self, query: LookUpQuery) -> None:
        names = choose_fields(query.fields)  # before anything is started for a request that is refused
        found = await self.services.inventory.look_up(
            query.url,
            max_age_s=query.max_age,
            wait_s=self.wait_s(query.wait),
            collect=query.collect,
            permit=self.permit_work,
        )
        cache_status = "hit" if found.hit else "fwd=uri-miss"
        await self.answer(found.entry, names, f"{cache_status}; detail=stale" if found.stale else cache_status)

    @operation(
        Operation(
            summary="Collect a URL now and read its record.",
            scope=Scope.COLLECT,
            query=CollectQuery,
            body=CollectBody,
            answers={
                200: Answer("The stored record is not older than `max_age`.", Record, _STORED, partial=True),
                201: Answer("The URL has been collected.", Record, ("Location", *_STORED), partial=True),
                202: _PENDING,
            },
            errors=(*_URL_ERRORS, errors.UnsupportedMediaType, errors.RequestTooLarge),
            failures=True,
        )
    )
    async def post(self, query: CollectQuery, body: CollectBody) -> None:
        names = choose_fields(query.fields)
        longest_s = self.services.collect_timeout_s + STORE_S
        wait_s = min(self.wait_s(query.wait, default_s=longest_s), longest_s)
        collected = await self.services.inventory.collect(
            body.url, max_age_s=body.max_age, wait_s=wait_s, permit=self.permit_work
        )
        entry = collected.entry
        if collected.reused:
            await self.answer(entry, names, "hit")
        elif not collected.ended:
            self.answer_pending(entry, "fwd=method")
        elif entry.failure is not None:
            self.answer_failure(entry)
        else:
            self.set_header("Location", record_path(entry))
            await self.answer(entry, names, "fwd=method; stored", status=201)


class RecordHandler(EntryHandler):
    @operation(
        Operation(
            summary="Read a record by its id; no collection is started.",
            query=ReadQuery,
            answers={200: _RECORD, 202: _PENDING, 304: _UNCHANGED},
            errors=(errors.InvalidRequest, errors.RecordNotFound, errors.Unavailable),
            failures=True,
        )
    )
    async def get(self, query: ReadQuery, record_id: str) -> None:
        names = choose_fields(query.fields)
        entry = await self.services.inventory.read(record_id, wait_s=self.wait_s(query.wait))
        await self.answer(entry, names, "hit")
