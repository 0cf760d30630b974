"""Captures and failures survive the way to BSON and back, whatever an origin has put into them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import bson
import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tornado.ioloop import IOLoop

from metadata_inventory.model.capture import Capture, Exchange, Response
from metadata_inventory.model.record import Entry, Status, StoredFailure
from metadata_inventory.storage.documents import capture_fields, failure_fields, to_entry
from metadata_inventory.storage.mongo import MongoStore
from metadata_inventory.storage.writes import UNSENDABLE
from tests.support.builders import FETCHED_AT, a_claim, a_failure, a_lease, a_url

STORED_FAILURE = StoredFailure(failure=a_failure(), attempts=1, retry_at=FETCHED_AT, policy="")
# Texts that a database may take for a key, an operator, an expression, an end or a type.
ODD_TEXTS = ["", "$set", "$$ROOT", "a.b", ".", "\0", "a\0b", "_id", "{$oid: 1}", "\ufeff", "\u2028", "\U0001f30d"]
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
INSTANTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000)
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 2**31, 2**53 + 1]),
    float: st.floats(allow_nan=False),  # a NaN is not equal to itself; durations are differences of a clock
    datetime: INSTANTS,
    type(None): st.none(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Every value that the annotation allows. So a new field of a capture is tested as soon as it exists."""
    if kind in PLAIN:
        return PLAIN[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(st.deferred(lambda: values(get_args(kind)[0])), max_size=2).map(tuple)
    if get_args(kind):
        return st.one_of(*map(values, get_args(kind)))
    if issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind, vars(sys.modules[kind.__module__]))
        return st.builds(kind, **{name: values(hint) for name, hint in hints.items()})
    return st.sampled_from(list(kind))


def with_final_response(capture: Capture, exchange: Exchange, response: Response) -> Capture:
    return replace(capture, exchanges=(*capture.exchanges, replace(exchange, response=response)))


CAPTURES = st.builds(with_final_response, values(Capture), values(Exchange), values(Response))
FAILURES = values(StoredFailure)
URL = a_url()


def round_trip(capture: Capture | None, failure: StoredFailure | None) -> Entry:
    document = {
        "_id": URL.id,
        "url": URL.href,
        "normalized_url": URL.href,
        "status": Status.COMPLETE.value,
        "revision": 1,
        "requested_at": FETCHED_AT,
        "unchanged_count": 0,
        "settled": "",
        "capture": capture and capture_fields(capture),
        "content": capture and capture.content,
        "failure": failure and failure_fields(failure),
    }
    options = bson.CodecOptions(tz_aware=True, tzinfo=UTC)
    return to_entry(bson.decode(bson.encode(document), codec_options=options))


@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(CAPTURES, FAILURES)
def test_what_is_stored_comes_back_as_it_was(capture: Capture, failure: StoredFailure) -> None:
    read = round_trip(capture, failure)
    assert (read.capture, read.failure) == (capture, failure)


@pytest.mark.parametrize("odd", [2**63, -(2**63) - 1, "\ud800", "a\udfffb"])
def test_what_bson_has_no_room_for_is_refused_before_it_is_sent(odd: Any) -> None:
    changed = {"attempts": odd} if isinstance(odd, int) else {"policy": odd}
    with pytest.raises(UNSENDABLE):
        round_trip(None, replace(STORED_FAILURE, **changed))


def test_database_keeps_what_a_document_can_hold(io_loop: IOLoop, store: MongoStore) -> None:
    @settings(derandomize=True, deadline=None, max_examples=20, database=None, phases=[Phase.generate])
    @given(CAPTURES, FAILURES)
    def check(capture: Capture, failure: StoredFailure) -> None:
        # This length decides whether the content is read together with the document.
        whole = replace(capture, body=replace(capture.body, stored_length=len(capture.content)))
        io_loop.run_sync(lambda: _is_kept(store, whole, failure))

    check()


async def _is_kept(store: MongoStore, capture: Capture, failure: StoredFailure) -> None:
    url = a_url()
    first, second = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    await store.complete(first, capture)
    await store.claim(a_claim(url, second, known_settled=first.token))
    await store.fail(second, failure)
    read = await store.find(url)
    assert read is not None
    assert (read.capture, read.failure) == (capture, failure)
