"""Cases about bodies: content codings, framing, charsets and media types."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping

import brotli
from backports import zstd

from tests.support.origin import Headers, head
from tests.witness.answers import HTML, answer, page
from tests.witness.case import NO_DOCUMENT, NO_SOURCE, NOTHING, Case, Field, Witness

PAGE_TEXT = "Grüße, € 5. " + "Wieder und wieder. " * 40
PAGE = page(PAGE_TEXT)
FIRST_MEMBER = PAGE[:200]


def _coded(name: str, coding: str, body: bytes, *, secure: bool = False) -> Case:
    return Case(name, {"start": answer(body, [("Content-Encoding", coding)])}, secure=secure)


def _deflate(content: bytes, *, bare: bool = False) -> bytes:
    packer = zlib.compressobj(wbits=-15 if bare else 15)
    return packer.compress(content) + packer.flush()


def _typed(
    name: str,
    content_type: str | None,
    body: bytes,
    headers: Headers = (),
    *,
    without: Mapping[Witness, tuple[Field, ...]] = NOTHING,
) -> Case:
    types = [("Content-Type", content_type)] if content_type else []
    return Case(name, {"start": answer(body, [*types, *headers], html=False)}, without=without)


def _chunked(body: bytes, *, trailers: bytes = b"", size: int = 10) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


_IN_CHUNKS = head(200, [HTML, ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")], "OK")

CODINGS = (
    _coded("gzip", "gzip", gzip.compress(PAGE)),
    _coded("x-gzip", "x-gzip", gzip.compress(PAGE)),
    _coded("upper-case coding", "GZIP", gzip.compress(PAGE)),
    Case(
        "gzip in two members",
        {"start": answer(gzip.compress(FIRST_MEMBER) + gzip.compress(PAGE[200:]), [("Content-Encoding", "gzip")])},
        without={Witness.CURL: (Field.CONTENT,)},  # it calls the second member an error and gives up
    ),
    _coded("deflate", "deflate", _deflate(PAGE)),
    _coded("bare deflate", "deflate", _deflate(PAGE, bare=True)),
    _coded("br", "br", brotli.compress(PAGE), secure=True),
    _coded("zstd", "zstd", zstd.compress(PAGE), secure=True),
    _coded("gzip within br", "gzip, br", brotli.compress(gzip.compress(PAGE)), secure=True),
    _coded("identity", "identity", PAGE),
    Case(
        "codings on two lines",
        {
            "start": answer(
                zstd.compress(_deflate(PAGE)), [("Content-Encoding", "deflate"), ("Content-Encoding", "zstd")]
            )
        },
        secure=True,
    ),
    Case(
        "gzip in chunks",
        {
            "start": head(200, [HTML, ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], "OK")
            + _chunked(gzip.compress(PAGE))
        },
    ),
    _typed("gzip file", "application/gzip", gzip.compress(b"in a file"), without=NO_DOCUMENT),
)
FRAMING = (
    Case("chunked", {"start": head(200, [HTML, ("Transfer-Encoding", "chunked")], "OK") + _chunked(page())}),
    Case("chunked with trailers", {"start": _IN_CHUNKS + _chunked(page(), trailers=b"X-Sum: 1\r\nX-More: 2\r\n")}),
    Case("no body", {"start": answer(b"")}),
    Case("large page", {"start": answer(page("A line of a large page.\n" * 100_000))}),
)


def _text(name: str, text: str, codec: str, *, label: str | None = None, meta: str = "", bom: bytes = b"") -> Case:
    """A page in a charset, named by its Content-Type, by the document or by nothing."""
    content_type = "text/html" if label is None else f"text/html; charset={label}"
    body = bom + page(text, head=f"{meta}<title>{text[:8]}</title>").decode().encode(codec)
    return _typed(name, content_type, body)


_GERMAN = "Grüße aus Köln, „hier“ kostet es 5 € – viel."
_WEST = "Grüße aus Köln, »hier«."
_RUSSIAN = "Привет, мир. Это обычный текст на русском языке."
_JAPANESE = "こんにちは世界、カタカナと漢字①。"
_CHINESE = "你好，世界。这是中文。"
_TRADITIONAL = "你好，世界。這是中文。"
_KOREAN = "안녕하세요 세계, 똠방각하."
CHARSETS = (
    _text("utf-8 by type", _GERMAN, "utf-8", label="UTF-8"),
    _text("utf-8 by byte order mark", _GERMAN, "utf-8", bom=b"\xef\xbb\xbf"),
    _text("utf-16le by byte order mark", _RUSSIAN, "utf-16-le", bom=b"\xff\xfe"),
    _text("utf-16be by byte order mark", _RUSSIAN, "utf-16-be", bom=b"\xfe\xff"),
    _text("utf-16le by type", _RUSSIAN, "utf-16-le", label="utf-16"),
    _text("byte order mark before type", _GERMAN, "utf-8", label="iso-8859-1", bom=b"\xef\xbb\xbf"),
    _text("type before meta", _GERMAN, "utf-8", label="utf-8", meta="<meta charset=windows-1251>"),
    _text("windows-1252 by type", _GERMAN, "cp1252", label="windows-1252"),
    _text("iso-8859-1 is windows-1252", _GERMAN, "cp1252", label="ISO-8859-1"),
    _text("iso-8859-15 by type", "Grüße, 5 €", "iso-8859-15", label="iso-8859-15"),
    _text("windows-1251 by meta", _RUSSIAN, "cp1251", meta='<meta charset="windows-1251">'),
    _text("koi8-r by type", _RUSSIAN, "koi8-r", label="koi8-r"),
    _text("shift_jis by type", _JAPANESE, "cp932", label="Shift_JIS"),
    _text("euc-jp by meta", _JAPANESE.replace("①", ""), "euc-jp", meta="<meta charset=EUC-JP>"),
    _text("iso-2022-jp by type", _JAPANESE.replace("①", ""), "iso2022-jp", label="iso-2022-jp"),
    _text(
        "gbk by http-equiv",
        _CHINESE,
        "gbk",
        meta='<meta http-equiv="Content-Type" content="text/html; charset=gb2312">',
    ),
    _text("gb18030 by type", _CHINESE + "㐂𠀀", "gb18030", label="gb18030"),
    _text("big5 by type", _TRADITIONAL, "big5", label="big5"),
    _text("euc-kr by type", _KOREAN, "cp949", label="euc-kr"),
    _text("quoted charset", _RUSSIAN, "cp1251", label='"windows-1251"; x=y'),
    _text("unknown charset, then meta", _GERMAN, "utf-8", label="x-none", meta="<meta charset=utf-8>"),
    _text("malformed utf-8", "ab�cd", "utf-8", label="utf-8"),
    _text("ASCII without a charset", "Hello.", "ascii"),
    _text("utf-8 without a charset", _GERMAN, "utf-8"),
    _text("windows-1252 without a charset", _WEST * 4, "cp1252"),
    _text("windows-1251 without a charset", _RUSSIAN * 4, "cp1251"),
    _text("shift_jis without a charset", _JAPANESE * 4, "cp932"),
    _text("line ends", "one\r\ntwo\rthree\nfour", "utf-8", label="utf-8"),
)

_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + b"\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU"
    + b"\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q"
    + b"\0\0\0\0IEND\xaeB`\x82"
)
_SUMMARY = """<title> A  page
of its own </title><meta name=Description content="What it is about"><link rel="canonical" href="../the%20page?x=1">
<link rel="shortcut icon" href="/icon.png"><link rel=stylesheet href="data:text/css,">"""
MEDIA_TYPES = (
    _typed("plain text", "text/plain; charset=utf-8", "Grüße\nvon <b>hier</b>".encode()),
    _typed("JSON", "application/json", '{"name": "Grüße"}'.encode()),
    _typed(
        "XML",
        "application/xml",
        '<?xml version="1.0" encoding="iso-8859-1"?><a><b id="text">\xfc</b></a>'.encode("latin-1"),
    ),
    _typed(
        "XHTML",
        "application/xhtml+xml",
        b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>X</title></head><body><p id="text">x</p>'
        b"</body></html>",
    ),
    _typed("page without a type", None, page("Sniffed.")),
    _typed("text without a type", None, b"Just text."),
    _typed("image", "image/png", _PNG, without=NO_SOURCE),
    _typed("image without a type", None, _PNG, without=NO_SOURCE),
    _typed("style sheet", "text/css", b"p { color: red }"),
    _typed("upper-case type", "Text/HTML; Charset=UTF-8", page()),
    _typed("type on two lines", "text/plain", page(), [("Content-Type", "text/html; charset=utf-8")]),
    Case("page with a summary", {"start": answer(page(head=_SUMMARY))}),
)
CASES = (*CODINGS, *FRAMING, *CHARSETS, *MEDIA_TYPES)
