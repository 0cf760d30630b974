"""Identification of bodies: media type, text or not, charset; and decoding to text."""

from __future__ import annotations

import codecs
import time

import pytest
import webencodings
from chardetng_py import EncodingDetector
from hypothesis import given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from metadata_inventory.collect.parse.content_type import Identified, identify, parse_media_type
from metadata_inventory.model import charsets
from metadata_inventory.model.charsets import decode, find_charset, prescan

HTML = "text/html"
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3
JAPANESE = "日本語のテキストです。これはテストのページです。よろしくお願いします。" * 3


def text(media_type: str | None, charset: str, source: str) -> Identified:
    return Identified(media_type=media_type, charset=charset, charset_source=source, encoding=None)  # type: ignore[arg-type]


def binary(media_type: str | None) -> Identified:
    return Identified(media_type=media_type, charset=None, charset_source=None, encoding="base64")


@pytest.mark.parametrize(
    ("value", "essence", "charset"),
    [
        pytest.param("text/html", "text/html", None, id="essence alone"),
        pytest.param(" Text/HTML ;charset=UTF-8 ", "text/html", "UTF-8", id="case and spaces"),
        pytest.param('text/html; x=y; charset="a\\"b;c"; z', "text/html", 'a"b;c', id="quoted"),
        pytest.param("text/html;charset=a;charset=b", "text/html", "a", id="the first counts"),
        pytest.param("text/html;charset=;charset=b", "text/html", "b", id="an empty one does not"),
        pytest.param('text/html;charset="";charset=b', "text/html", "", id="an empty quoted one does"),
        pytest.param("text/html;charset=a b", "text/html", "a b", id="inner spaces stay"),
        pytest.param("text/html; charset =a", "text/html", None, id="no space in a name"),
        pytest.param('text/html;charset="a', "text/html", "a", id="quote left open"),
        pytest.param('text/html;charset="a"x;b', "text/html", "a", id="after the quote"),
        pytest.param("text/html;charset", "text/html", None, id="no value"),
        pytest.param("text/html;charset=\u0416", "text/html", None, id="no header characters"),
        pytest.param("text", None, None, id="no subtype"),
        pytest.param("text/", None, None, id="empty subtype"),
        pytest.param("/html", None, None, id="empty type"),
        pytest.param("te xt/html;charset=a", None, None, id="space in the type"),
        pytest.param("text/html/x", None, None, id="two slashes"),
        pytest.param("", None, None, id="empty"),
    ],
)
def test_media_type(value: str, essence: str | None, charset: str | None) -> None:
    assert parse_media_type(value) == (essence, charset)


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        pytest.param(b"\xef\xbb\xbfa", "text/html;charset=koi8-r", text(HTML, "utf-8", "bom"), id="BOM before header"),
        pytest.param(b"\xff\xfea\0", HTML, text(HTML, "utf-16le", "bom"), id="UTF-16LE BOM"),
        pytest.param(b"\xfe\xff\0a", HTML, text(HTML, "utf-16be", "bom"), id="UTF-16BE BOM"),
        pytest.param(
            b"<meta charset=utf-8>", "text/html;charset=latin1", text(HTML, "windows-1252", "content-type"), id="header"
        ),
        pytest.param(
            b"<meta charset=koi8-r>", "text/html;charset=none", text(HTML, "koi8-r", "meta"), id="unknown label"
        ),
        pytest.param(b"<meta charset=koi8-r>", "text/plain", text("text/plain", "utf-8", "default"), id="no html"),
        pytest.param(
            b'<?xml version="1.0" encoding="koi8-r"?><a/>',
            "application/atom+xml",
            text("application/atom+xml", "koi8-r", "meta"),
            id="XML declaration",
        ),
        pytest.param(b"<a/>", "image/svg+xml", text("image/svg+xml", "utf-8", "default"), id="svg is text"),
        pytest.param("é".encode(), HTML, text(HTML, "utf-8", "detected"), id="valid UTF-8"),
        pytest.param(b"abc", HTML, text(HTML, "utf-8", "default"), id="ASCII"),
        pytest.param(b"", HTML, text(HTML, "utf-8", "default"), id="empty"),
        pytest.param(b"", None, text(None, "utf-8", "default"), id="empty, no type"),
        pytest.param(RUSSIAN.encode("cp1251"), HTML, text(HTML, "windows-1251", "detected"), id="windows-1251"),
        pytest.param(JAPANESE.encode("cp932"), HTML, text(HTML, "shift_jis", "detected"), id="Shift_JIS"),
        pytest.param(JAPANESE.encode("euc-jp"), HTML, text(HTML, "euc-jp", "detected"), id="EUC-JP"),
        pytest.param(JAPANESE.encode("iso-2022-jp"), HTML, text(HTML, "iso-2022-jp", "detected"), id="ISO-2022-JP"),
        pytest.param(b"a\x1b[1mb", "text/plain", text("text/plain", "utf-8", "default"), id="a lone escape"),
        pytest.param(b"Pr\xe9nom", HTML, text(HTML, "windows-1252", "detected"), id="windows-1252"),
        pytest.param(b'{"a":1}', "application/json", text("application/json", "utf-8", "default"), id="JSON"),
        pytest.param(
            b"{}", "application/ld+json;charset=utf-8", text("application/ld+json", "utf-8", "content-type"), id="+json"
        ),
        pytest.param(b"a: b", "application/x-foo", text("application/x-foo", "utf-8", "default"), id="textual bytes"),
        pytest.param(b"a\0", "application/x-foo", binary("application/x-foo"), id="binary bytes"),
        pytest.param(b"%PDF-1.7 text", "application/pdf", binary("application/pdf"), id="PDF"),
        pytest.param(
            b"\x01\x02",
            "application/octet-stream;charset=utf-8",
            binary("application/octet-stream"),
            id="binary, charset",
        ),
        pytest.param(b"text", "image/png", binary("image/png"), id="named image"),
        pytest.param(b"<p>\0", HTML, binary(HTML), id="NUL in text"),
        pytest.param(b"<p>" + b" " * 1445 + b"\0", HTML, text(HTML, "utf-8", "default"), id="NUL far on"),
        pytest.param(
            b"a\0b\0", "text/plain;charset=utf-16", text("text/plain", "utf-16le", "content-type"), id="UTF-16"
        ),
        pytest.param(b" <!DOCTYPE html><p>", None, text(HTML, "utf-8", "default"), id="sniffed HTML"),
        pytest.param(b"<p>x<meta charset=koi8-r>", "*/*", text(HTML, "koi8-r", "meta"), id="sniffed, then prescanned"),
        pytest.param(b"<p", "a b", text("text/plain", "utf-8", "default"), id="no whole tag"),
        pytest.param(b"<?xml?>", None, text("text/xml", "utf-8", "default"), id="sniffed XML"),
        pytest.param(b"plain", None, text("text/plain", "utf-8", "default"), id="sniffed text"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", None, binary("image/png"), id="sniffed PNG"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 ", "unknown/unknown", binary("image/webp"), id="sniffed WebP"),
        pytest.param(b"GIF89a", "application/unknown", binary("image/gif"), id="sniffed GIF"),
        pytest.param(b"\0\1\2", None, binary("application/octet-stream"), id="sniffed binary"),
    ],
)
def test_identify(content: bytes, content_type: str | None, expected: Identified) -> None:
    assert identify(content, content_type) == expected


@pytest.mark.parametrize(
    ("head", "charset"),
    [
        pytest.param(b"<meta charset=koi8-r>", "koi8-r", id="charset"),
        pytest.param(b"<META CHARSET = 'KOI8-R' >", "koi8-r", id="case, quotes, spaces"),
        pytest.param(b"<meta/charset=koi8-r>", "koi8-r", id="slash"),
        pytest.param(
            b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r", id="http-equiv"
        ),
        pytest.param(b'<meta content="charset=koi8-r" http-equiv=content-type>', "koi8-r", id="the other way round"),
        pytest.param(b'<meta content="text/html; charset=koi8-r">', None, id="content alone"),
        pytest.param(b"<meta http-equiv=refresh content='charset=koi8-r'>", None, id="another http-equiv"),
        pytest.param(
            b"<meta http-equiv=content-type content='charset charset = \"koi8-r\"'>", "koi8-r", id="2nd charset"
        ),
        pytest.param(b"<meta http-equiv=content-type content='charset=\"koi8-r'>", None, id="quote left open"),
        pytest.param(b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r", id="unknown, then known"),
        pytest.param(b"<meta charset=nonsense charset=koi8-r>", None, id="first attribute of a name"),
        pytest.param(b"<meta charset=utf-16>", "utf-8", id="UTF-16 cannot be"),
        pytest.param(b"<meta charset=x-user-defined>", "windows-1252", id="x-user-defined"),
        pytest.param(b"<!-- <meta charset=koi8-r> --><meta charset=big5>", "big5", id="in a comment"),
        pytest.param(b"<!--><meta charset=koi8-r>", "koi8-r", id="shortest comment"),
        pytest.param(b"<!-- <meta charset=koi8-r>", None, id="comment left open"),
        pytest.param(b"<a title='<meta charset=koi8-r>'><meta charset=big5>", "big5", id="in an attribute"),
        pytest.param(b"</x a='<meta charset=koi8-r>'><meta charset=big5>", "big5", id="in an end tag"),
        pytest.param(b"<!doctype '><meta charset=koi8-r>'>", "koi8-r", id="a doctype ends at the first >"),
        pytest.param(b"<metacharset=koi8-r>", None, id="another tag"),
        pytest.param(b"<meta charset=koi8-r", None, id="tag left open"),
        pytest.param(b"<meta =charset=koi8-r>", None, id="a name may begin with ="),
        pytest.param(b" " * 1003 + b"<meta charset=koi8-r>", "koi8-r", id="within 1,024 bytes"),
        pytest.param(b" " * 1004 + b"<meta charset=koi8-r>", None, id="over 1,024 bytes"),
        pytest.param(b"<?xml version='1.0' encoding = 'koi8-r'?><p>", "koi8-r", id="XML declaration"),
        pytest.param(b"<?xml encoding='koi8-r'?><meta charset=big5>", "big5", id="meta before XML declaration"),
        pytest.param(b"<?xml encoding='utf-16'?>", "utf-8", id="UTF-16 in an XML declaration"),
        pytest.param(b"<?xml encoding='koi8-r", None, id="XML declaration left open"),
        pytest.param("<?xml".encode("utf-16-le"), "utf-16le", id="UTF-16LE without a mark"),
        pytest.param("<?xml".encode("utf-16-be"), "utf-16be", id="UTF-16BE without a mark"),
        pytest.param(b"<", None, id="<"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_prescan(head: bytes, charset: str | None) -> None:
    assert prescan(head) == charset


@given(
    st.lists(st.sampled_from([b"<", b">", b"meta", b"!--", b"-->", b" ", b"/", b"=", b'"', b"charset", b"utf-8", b"a"]))
)
def test_prescan_ends_on_any_markup(parts: list[bytes]) -> None:
    assert prescan(b"".join(parts)) in (None, "utf-8")


@pytest.mark.parametrize("label", sorted(LABELS))
def test_every_label_of_the_standard_decodes(label: str) -> None:
    name = find_charset(f" {label.upper()}\n")
    assert name == LABELS[label]
    assert name is not None
    if name not in ("replacement", "utf-16le", "utf-16be"):
        assert decode(b"plain ASCII ~", name) == "plain ASCII ~"


@pytest.mark.parametrize(
    ("content", "charset", "expected"),
    [
        pytest.param(b"\xef\xbb\xbfa\xef\xbb\xbf", "utf-8", "a\ufeff", id="one mark is no text"),
        pytest.param(b"\xff\xfea\0", "utf-16le", "a", id="UTF-16 mark"),
        pytest.param(b"\xef\xbb\xbfa", "windows-1252", "ï»¿a", id="a mark of another charset"),
        pytest.param(b"a\xffb", "utf-8", "a\ufffdb", id="replaced"),
        pytest.param(b"\xed\xa0\x80", "utf-8", "\ufffd\ufffd\ufffd", id="surrogate in UTF-8"),
        pytest.param(b"\x00\xd8a\0", "utf-16le", "\ufffda", id="lone surrogate in UTF-16"),
        pytest.param(b"\x00\xd8", "utf-16le", "\ufffd", id="surrogate cut off"),
        pytest.param(b"\x80\x81\x93", "latin1", "€\x81“", id="latin1 is windows-1252, without holes"),
        pytest.param(b"\xae\xbe", "koi8-u", "ўЎ", id="koi8-u"),
        pytest.param(b"\xca", "windows-1255", "\u05ba", id="windows-1255"),
        pytest.param(b"\x81\x30\x89\x38", "gbk", "ß", id="gbk is gb18030"),
        pytest.param(b"\x87\x40", "shift_jis", "①", id="Shift_JIS with extensions"),
        pytest.param(b"a\x80", "x-user-defined", "a\uf780", id="x-user-defined"),
        pytest.param(b"anything", "iso-2022-kr", "\ufffd", id="replacement"),
        pytest.param(b"", "hz-gb-2312", "", id="replacement of nothing"),
        pytest.param("é".encode(), "no such thing", "é", id="unknown label"),
    ],
)
def test_decode(content: bytes, charset: str, expected: str) -> None:
    assert decode(content, charset) == expected


@given(st.binary(max_size=200), st.sampled_from(sorted(set(LABELS.values()))))
def test_decoded_text_can_always_be_encoded(content: bytes, charset: str) -> None:
    decode(content, charset).encode("utf-8")


@given(st.text(max_size=100), st.sampled_from(sorted(set(LABELS.values()) - {"replacement", "x-user-defined"})))
def test_text_that_a_charset_has_round_trips(characters: str, charset: str) -> None:
    codec = webencodings.lookup(charset).codec_info
    kept = codecs.decode(characters.encode(codec.name, "ignore"), codec.name, "replace")
    if "\ufffd" not in kept and not characters.startswith("\ufeff"):
        assert decode(kept.encode(codec.name), charset) == kept


TYPES = st.sampled_from(
    [None, HTML, "text/plain", "application/xml", "image/png", "application/x", "*/*", "text/html;charset=x"]
)


@given(st.binary(max_size=300), st.one_of(TYPES, st.text(max_size=40)))
def test_no_body_and_no_type_raise(content: bytes, content_type: str | None) -> None:
    found = identify(content, content_type)
    assert (found.charset is None) == (found.charset_source is None) == (found.encoding == "base64")
    if found.charset is not None:
        assert find_charset(found.charset) == found.charset
        decode(content, found.charset)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80" * (2 << 20), id="one byte again and again"),
        pytest.param(b"a" * 900_000 + b"\xe9" * (1 << 20), id="late"),
        pytest.param(b"\x1b$B" * (1 << 19), id="escapes"),
        pytest.param(b"\xe9 \xff<" * (1 << 19), id="mixed"),
    ],
)
def test_detection_reads_a_bounded_prefix(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = []

    class Counting:
        def __init__(self) -> None:
            self._detector = EncodingDetector()

        def feed(self, data: bytes, *, last: bool) -> None:
            fed.append(len(data))
            self._detector.feed(data, last=last)

        def guess(self, *, tld: bytes | None, allow_utf8: bool) -> str:
            return str(self._detector.guess(tld=tld, allow_utf8=allow_utf8))

    monkeypatch.setattr(charsets, "EncodingDetector", Counting)
    started = time.process_time()
    identify(content, HTML)
    assert 0 < sum(fed) <= charsets.DETECTED_BYTES
    assert time.process_time() - started < 1  # about 0.02 s; a detector without a bound takes several


def test_long_parameter_list_takes_linear_time() -> None:
    started = time.process_time()
    parse_media_type("a/b" + ";" * 200_000)
    parse_media_type("a/b;" + 'x="' * 60_000)
    assert time.process_time() - started < 2  # a fifth of a second; quadratic time would be minutes
