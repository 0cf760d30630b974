from __future__ import annotations

import base64

import pytest
from backports import zstd
from msgspec.structs import replace

from metadata_inventory.model.capture import Header
from metadata_inventory.model.view import _joined, page_source
from tests.support.builders import a_capture, a_url


def compressed(content: bytes) -> bytes:
    return zstd.compress(content)


@pytest.mark.parametrize(
    ("charset", "content", "text"),
    [
        ("utf-8", "Café".encode(), "Café"),
        ("windows-1252", b"Caf\xe9 \x80", "Café €"),
        ("utf-8", b"a\xff\xedb\x00", "a��b\x00"),
        (None, b"plain", "plain"),
        ("utf-8", b"\xed\xa0\x80", "���"),
    ],
)
def test_page_source_is_text_without_surrogates(charset: str | None, content: bytes, text: str) -> None:
    body = replace(a_capture(a_url(), content).body, charset=charset)
    assert page_source(body, compressed(content)) == text
    text.encode()


def test_page_source_that_is_no_text_is_base64() -> None:
    content = bytes(range(256))
    body = replace(a_capture(a_url(), content).body, encoding="base64", charset=None)
    assert base64.b64decode(page_source(body, compressed(content)), validate=True) == content


def test_headers_of_one_name_are_joined() -> None:
    headers = (Header("A", "1"), Header("b", "2"), Header("a", "3"))
    assert _joined(headers) == {"a": "1, 3", "b": "2"}
