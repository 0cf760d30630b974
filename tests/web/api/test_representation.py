"""The fields of a record that an answer has, and the thread that encodes a large one."""

from __future__ import annotations

import threading

import pytest

from metadata_inventory.errors import InvalidParameter
from metadata_inventory.web.api.representation import FIELDS, THREAD_BYTES, choose_fields, run_aside

LIST = "its fields are id, url, normalized_url"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("", set(FIELDS)),
        (" , ", set(FIELDS)),
        ("id, url,id", {"id", "url"}),
        ("-page_source,-exchanges", set(FIELDS) - {"page_source", "exchanges"}),
    ],
)
def test_fields_are_chosen_or_left_out(fields: str, names: set[str]) -> None:
    assert choose_fields(fields) == names


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ("id,-url", 'fields must name either the fields to answer with or, each with a "-", the fields to leave out'),
        ("id,nonsense", f'fields must name fields of a record, not "nonsense"; {LIST}'),
        ("-nonsense", f'fields must name fields of a record, not "nonsense"; {LIST}'),
        ("-", f'fields must name fields of a record, not ""; {LIST}'),
        ("statuscode", 'fields must name fields of a record, not "statuscode"; did you mean status_code?'),
        ("\n" * 1000 + "x\x1b", f'fields must name fields of a record, not "x\\u001b"; {LIST}'),
    ],
)
def test_fields_that_a_record_does_not_have_are_refused_in_a_sentence(fields: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        choose_fields(fields)
    assert caught.value.detail.startswith(sentence)
    assert caught.value.detail.isprintable()


@pytest.mark.gen_test
async def test_large_body_is_worked_on_in_a_thread() -> None:
    own = threading.get_ident()
    assert await run_aside(THREAD_BYTES, threading.get_ident) == own
    assert await run_aside(THREAD_BYTES + 1, threading.get_ident) != own
