"""Identifies a body: its media type, whether it is text, and its charset.

Media types are parsed by the WHATWG MIME Sniffing standard, and sniffed by it if a response names none. A named type is
trusted, except that content with NULs is not text. The charset is searched for in the order of the HTML standard: byte
order mark, Content-Type, declaration inside the document, detection.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from metadata_inventory.model import charsets

SNIFFED_BYTES = 1445  # MIME Sniffing §5.2, the resource header

CharsetSource = Literal["bom", "content-type", "meta", "detected", "default"]


class Identified(Struct, frozen=True, kw_only=True):
    """`media_type` is the essence in lower case: the named one, or the sniffed one if none is usable.

    Text has a `charset` (a name of the Encoding Standard, in lower case) and its source. Content that is not text has
    the `encoding` "base64" and no charset. An empty body without a type is text without a type.
    """

    media_type: str | None
    charset: str | None
    charset_source: CharsetSource | None
    encoding: Literal["base64"] | None


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_QUOTED_CHARACTERS = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?\Z)', re.DOTALL)
_NAME_END, _VALUE_END = re.compile("[;=]"), re.compile(";")
_HTTP_SPACES = " \t\n\r"

# MIME Sniffing §7.1: types that count as no type.
_UNKNOWN_TYPES = frozenset(("unknown/unknown", "application/unknown", "*/*"))
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # MIME Sniffing §3, binary data byte
_BINARY_KINDS = ("image/", "audio/", "video/", "font/", "model/")
_XML = re.compile(r"(?:text|application)/xml|.*\+xml")
# Text by their registrations, beside text/*, XML and JSON. Content of any other type is judged by its bytes.
_TEXT_TYPES = frozenset(
    (
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/x-javascript",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/yaml",
    )
)

# MIME Sniffing §7.1, "rules for identifying an unknown MIME type": a tag ends in a space or ">".
_HTML = re.compile(
    rb"(?:<!DOCTYPE HTML|<HTML|<HEAD|<SCRIPT|<IFRAME|<H1|<DIV|<FONT|<TABLE|<A|<STYLE|<TITLE|<B|<BODY|<BR|<P)[ >]|<!--",
    re.IGNORECASE,
)
# The same section and §6.1 to §6.4; `.` is any byte.
_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), media_type)
    for pattern, media_type in (
        (rb"%PDF-", "application/pdf"),
        (rb"%!PS-Adobe-", "application/postscript"),
        (rb"\x00\x00[\x01\x02]\x00", "image/x-icon"),
        (rb"BM", "image/bmp"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBPVP", "image/webp"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"FORM....AIFF", "audio/aiff"),
        (rb"ID3", "audio/mpeg"),
        (rb"OggS\x00", "application/ogg"),
        (rb"MThd\x00\x00\x00\x06", "audio/midi"),
        (rb"RIFF....AVI ", "video/avi"),
        (rb"RIFF....WAVE", "audio/wave"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1a\x45\xdf\xa3.{0,60}webm", "video/webm"),
        (rb"\x1f\x8b\x08", "application/x-gzip"),
        (rb"PK\x03\x04", "application/zip"),
        (rb"Rar \x1a\x07\x00", "application/x-rar-compressed"),
    )
)


def parse_media_type(value: str) -> tuple[str | None, str | None]:
    """The essence of a Content-Type value, in lower case, and its charset parameter as written.

    MIME Sniffing §4.4. Without a valid essence there is no charset either.
    """
    essence, _, parameters = value.strip(_HTTP_SPACES).partition(";")
    kind, _, subtype = essence.rstrip(_HTTP_SPACES).partition("/")
    if not (_TOKEN.fullmatch(kind) and _TOKEN.fullmatch(subtype)):
        return None, None
    return f"{kind}/{subtype}".lower(), _find_charset_parameter(parameters)


def _find_charset_parameter(text: str) -> str | None:
    at = 0
    while at < len(text):
        end = _find(_NAME_END, text, at)
        name = text[at:end].lstrip(_HTTP_SPACES).lower()
        at = end + 1
        if text[end : end + 1] != "=":
            continue
        if quoted := _QUOTED.match(text, at):
            value = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
            at = _find(_VALUE_END, text, quoted.end()) + 1
        else:
            end = _find(_VALUE_END, text, at)
            value = text[at:end].rstrip(_HTTP_SPACES)
            at = end + 1
        if name == "charset" and (value or quoted) and _QUOTED_CHARACTERS.fullmatch(value):
            return value
    return None


def _find(end: re.Pattern[str], text: str, at: int) -> int:
    match = end.search(text, at)
    return match.start() if match else len(text)


def identify(content: bytes, content_type: str | None) -> Identified:
    """Identify a decoded body by its bytes and its Content-Type. Reads prefixes of bounded length only."""
    named, label = parse_media_type(content_type) if content_type else (None, None)
    known = named is not None and named not in _UNKNOWN_TYPES
    media_type = named if known else _sniff(content)
    charset, source = _find_declared(content, media_type, label)
    if not _is_text(content, media_type, charset, known=known):
        return Identified(media_type=media_type, charset=None, charset_source=None, encoding="base64")
    if charset is None:
        charset, detected = charsets.detect(content)
        source = "detected" if detected else "default"
    return Identified(media_type=media_type, charset=charset, charset_source=source, encoding=None)


def _find_declared(
    content: bytes, media_type: str | None, label: str | None
) -> tuple[str | None, CharsetSource | None]:
    """The charset that is declared first in the order of the HTML standard, and where."""
    if charset := charsets.find_bom(content):
        return charset, "bom"
    if charset := charsets.find_charset(label):
        return charset, "content-type"
    if media_type == "text/html" and (charset := charsets.prescan(content)):
        return charset, "meta"
    if _XML.fullmatch(media_type or "") and (charset := charsets.find_xml_declaration(content)):
        return charset, "meta"
    return None, None


def _is_text(content: bytes, media_type: str | None, charset: str | None, *, known: bool) -> bool:
    if media_type is None:
        return True
    head = content[:SNIFFED_BYTES]
    wide = charset in ("utf-16le", "utf-16be")
    if _XML.fullmatch(media_type):
        return wide or b"\0" not in head
    if media_type.startswith(_BINARY_KINDS):
        return False
    if media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith("+json"):
        return wide or b"\0" not in head
    # Another type: if it was named, the bytes decide. If it was sniffed, they have decided already: it is not text.
    return known and (wide or not (_BINARY.search(head) or _find_signature(head)))


def _sniff(content: bytes) -> str | None:
    """The type by MIME Sniffing §7.1, with scriptable types; None for empty content."""
    if not content:
        return None
    head = content[:SNIFFED_BYTES]
    start = head.lstrip(b"\t\n\f\r ")
    if _HTML.match(start):
        return "text/html"
    if start.startswith(b"<?xml"):
        return "text/xml"
    if charsets.find_bom(head):
        return "text/plain"
    if signature := _find_signature(head):
        return signature
    return "application/octet-stream" if _BINARY.search(head) else "text/plain"


def _find_signature(head: bytes) -> str | None:
    return next((media_type for pattern, media_type in _SIGNATURES if pattern.match(head)), None)
