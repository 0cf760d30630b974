"""Finds the charset of a text and decodes it, by the WHATWG HTML and Encoding standards, as browsers do.

Labels and names are the Encoding Standard's (the `webencodings` table); detection is chardetng, which Firefox uses too.
Python's codecs decode, corrected where they differ from the standard's single-byte tables. Each function reads a
bounded prefix, except `decode`, which is linear in the content.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

import webencodings  # type: ignore[import-untyped]
from chardetng_py import EncodingDetector  # type: ignore[import-untyped]

PRESCAN_BYTES = 1024  # HTML §13.2.3.2, of a <meta> or an XML declaration
CHECKED_BYTES = 1024 * 1024  # searched for bytes that are not UTF-8
DETECTED_BYTES = 64 * 1024  # given to the detector, from the first byte that is not ASCII: at most about 20 ms

_SPACES = b"\t\n\f\r "
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_MULTI_BYTE = frozenset(
    ("utf-8", "utf-16le", "utf-16be", "gbk", "gb18030", "big5", "euc-jp", "iso-2022-jp", "shift_jis", "euc-kr")
)
# The standard's name → Python's codec, where Python has another or no codec under that name.
_CODECS = {
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
    "iso-8859-8-i": "iso8859-8",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "windows-874": "cp874",
}
_META = re.compile(rb"<meta[\t\n\f\r /]", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-z]", re.IGNORECASE)
_CHARSET_IN_META = re.compile(
    rb"""charset[\t\n\f\r ]*=[\t\n\f\r ]*(?:"([^"]*)"|'([^']*)'|["']|([^\t\n\f\r ;]*))""", re.IGNORECASE
)
# Bytes for which the standard's index tables differ from Python's codecs.
_INDEX_FIXES = {"koi8-u": {0xAE: "ў", 0xBE: "Ў"}, "windows-1255": {0xCA: "\u05ba"}}


def find_charset(label: str | None) -> str | None:
    """The Encoding Standard's name in lower case for a label, None for an unknown one."""
    # An ASCII test first: the library lower-cases by bytes, and a lone surrogate would not encode.
    if label is None or len(label) > PRESCAN_BYTES or not label.isascii():
        return None
    encoding = webencodings.lookup(label)
    return None if encoding is None else str(encoding.name)


def find_bom(content: bytes) -> str | None:
    """The charset that a byte order mark names."""
    return next((name for mark, name in _BOMS if content.startswith(mark)), None)


def detect(content: bytes) -> tuple[str, bool]:
    """The charset of text that names none, and whether its bytes show it; pure ASCII is UTF-8 and shows nothing."""
    head = content[:CHECKED_BYTES]
    if _is_utf8(head):
        # ISO-2022-JP is ASCII with escape sequences.
        japanese = head.isascii() and b"\x1b" in head and _guess(head, head.index(b"\x1b")) == "iso-2022-jp"
        return ("iso-2022-jp", True) if japanese else ("utf-8", not head.isascii())
    return _guess(head, _ascii_length(head)), True


def _ascii_length(head: bytes) -> int:
    try:
        head.decode("ascii")
    except UnicodeDecodeError as error:
        return error.start
    return len(head)


def _is_utf8(head: bytes) -> bool:
    try:
        # Incremental, so that a character which the prefix cuts in two is no error.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _guess(head: bytes, start: int) -> str:
    detector = EncodingDetector()
    detector.feed(head[start : start + DETECTED_BYTES], last=True)
    return find_charset(detector.guess(tld=None, allow_utf8=False)) or "windows-1252"


def decode(content: bytes, charset: str) -> str:
    """The text without its byte order mark, with U+FFFD for bytes that the charset does not allow; no lone surrogates.

    `charset` is a name or label of the Encoding Standard; an unknown one is read as UTF-8.
    """
    name = find_charset(charset) or "utf-8"
    for mark, marked in _BOMS:
        if name == marked:
            content = content.removeprefix(mark)
    if name == "replacement":
        return "\ufffd" if content else ""
    if name in _MULTI_BYTE:
        return content.decode(_CODECS.get(name, name), "replace")
    return codecs.charmap_decode(content, "replace", _table(name))[0]


def prescan(content: bytes) -> str | None:
    """The charset that a <meta> or an XML declaration in the first 1,024 bytes names (HTML §13.2.3.2)."""
    head = content[:PRESCAN_BYTES]
    for start, name in ((b"<\0?\0x\0", "utf-16le"), (b"\0<\0?\0x", "utf-16be")):
        if head.startswith(start):
            return name
    return _Prescan(head).run() or find_xml_declaration(head)


def find_xml_declaration(content: bytes) -> str | None:
    """The encoding that `<?xml … encoding="…"?>` names (HTML §13.2.3.2, "get an XML encoding")."""
    head = content[:PRESCAN_BYTES]
    end = head.find(b">")
    at = head.find(b"encoding", 0, end)
    if not head.startswith(b"<?xml") or end < 0 or at < 0:
        return None
    controls = bytes(range(0x21))
    rest = head[at + len(b"encoding") : end].lstrip(controls)
    value = rest[1:].lstrip(controls)
    if not rest.startswith(b"=") or value[:1] not in (b'"', b"'"):
        return None
    label, quote, _ = value[1:].partition(value[:1])
    return _declared(label) if quote else None


def _declared(label: bytes) -> str | None:
    """The charset of a label inside a document. The label was read as ASCII, so it is not UTF-16 (HTML §13.2.3.2)."""
    name = find_charset(label.decode("latin-1"))
    return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(name or "", name)


@cache
def _table(name: str) -> str:
    """A single-byte charset's 256 characters."""
    fixes = _INDEX_FIXES.get(name, {})
    return "".join(fixes.get(byte) or _character(name, byte) for byte in range(256))


def _character(name: str, byte: int) -> str:
    if name == "x-user-defined":
        return chr(byte if byte < 0x80 else byte + 0xF700)
    # In the standard each byte from 0x80 to 0x9F has a character: where no other is given, the C1 control.
    hole = chr(byte) if 0x80 <= byte <= 0x9F else "\ufffd"
    return bytes([byte]).decode(_CODECS.get(name, name), "ignore") or hole


class _Prescan:
    """HTML §13.2.3.2, "prescan a byte stream to determine its encoding". It ends when the bytes do."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._at = 0

    def run(self) -> str | None:
        while not self._ended:
            found = self._read_markup() if self._head[self._at] == ord("<") else None
            if found is not None:
                return found
            self._at += 1
        return None

    @property
    def _ended(self) -> bool:
        return self._at >= len(self._head)

    def _read_markup(self) -> str | None:
        """Read the markup that begins at a "<", and leave the position at its last byte."""
        head, at = self._head, self._at
        if head.startswith(b"<!--", at):
            # The two dashes of its end may be the two of its start.
            self._jump(head.find(b"-->", at + 2), 2)
        elif _META.match(head, at):
            self._at += len(b"<meta")
            return self._read_meta()
        elif _TAG.match(head, at):
            self._until(_SPACES + b">")
            while self._read_attribute() is not None:
                pass
        elif head[at + 1 : at + 2] in (b"!", b"/", b"?"):
            self._jump(head.find(b">", at), 0)
        return None

    def _read_meta(self) -> str | None:
        attributes: dict[bytes, bytes] = {}
        while (attribute := self._read_attribute()) is not None:
            attributes.setdefault(*attribute)
        # A tag that is cut off by the end of the bytes counts for nothing.
        if self._ended:
            return None
        if b"charset" in attributes:
            return _declared(attributes[b"charset"])
        if attributes.get(b"http-equiv") == b"content-type":
            return _declared(find_label(attributes.get(b"content", b"")))
        return None

    def _read_attribute(self) -> tuple[bytes, bytes] | None:
        """HTML §13.2.3.2, "get an attribute": name and value in lower case; None at the tag's end."""
        self._skip(_SPACES + b"/")
        if self._ended or self._head[self._at] == ord(">"):
            return None
        start = self._at
        self._at += 1  # whatever it is, "=" too
        self._until(_SPACES + b"/>=")
        name = self._head[start : self._at].lower()
        self._skip(_SPACES)
        if not self._head.startswith(b"=", self._at):
            return name, b""
        self._at += 1
        self._skip(_SPACES)
        quote = self._head[self._at : self._at + 1]
        if quote not in (b'"', b"'"):
            return name, self._until(_SPACES + b">")
        self._at += 1
        value = self._until(quote)
        self._at += 1
        return name, value

    def _jump(self, found: int, further: int) -> None:
        self._at = len(self._head) if found < 0 else found + further

    def _skip(self, characters: bytes) -> None:
        while not self._ended and self._head[self._at] in characters:
            self._at += 1

    def _until(self, stops: bytes) -> bytes:
        """The bytes up to one of `stops`, in lower case."""
        start = self._at
        while not self._ended and self._head[self._at] not in stops:
            self._at += 1
        return self._head[start : self._at].lower()


def find_label(content: bytes) -> bytes:
    """The label in the `content` of a <meta>, e.g. `text/html; charset=utf-8`, else nothing (HTML §2.5.5)."""
    match = _CHARSET_IN_META.search(content)
    if match is None:
        return b""
    return next((label for label in match.groups() if label is not None), b"")
