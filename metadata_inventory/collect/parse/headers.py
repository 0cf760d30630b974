"""Reads the header lines of HTTP responses one by one, as libcurl's HEADERFUNCTION delivers them.

Informational responses (RFC 9110 §15.2) are skipped, except 101: no upgrade was asked for, so it ends HTTP here. Lines
after the final block are trailers (RFC 9112 §7.1.2) and kept apart. libcurl has joined folded lines and refused CR and
NUL before.
"""

from __future__ import annotations

import re
from base64 import b64encode

from metadata_inventory.collect.options import HeaderLimits
from metadata_inventory.model.capture import Header

SWITCHING_PROTOCOLS = 101

_STATUS_LINE = re.compile(rb"(HTTP/[0-9](?:\.[0-9])?)[ \t]+([0-9]{3})(?:[ \t]+(.*))?", re.DOTALL)


class HeaderReader:
    """The headers so far. After each `feed`, `violation` is None, or a sentence that says what is not acceptable."""

    def __init__(self, limits: HeaderLimits) -> None:
        self._limits = limits
        self._lines = 0
        self.size_bytes = 0  # of all lines so far
        self.violation: str | None = None
        self.started = False  # a line has come
        self.complete = False  # the empty line that ends the final block has come
        self.trailers: list[Header] = []
        self._forget_block()

    def _forget_block(self) -> None:
        self.status_code = 0
        self.http_version = ""
        self.reason = ""
        self.headers: list[Header] = []

    def feed(self, line: bytes) -> None:
        """Read one line, its end included. Nothing is read after a violation."""
        if self.violation is not None:
            return
        self.started = True
        self.violation = self._excess(line)
        if self.violation is not None:
            return
        text = line.rstrip(b"\r\n")
        if self.complete:
            self._read_field(text, self.trailers)
        elif self.status_code == 0:
            self._read_status(text)
        elif text:
            self._read_field(text, self.headers)
        elif not self.final:
            self._forget_block()
        else:
            self.complete = True

    @property
    def final(self) -> bool:
        """Whether the block being read is the final response's, and not an informational one's."""
        return self.status_code >= 200 or self.status_code == SWITCHING_PROTOCOLS

    def values(self, name: str) -> list[str]:
        """The values of a header, in order; `name` in lower case."""
        return [header.value for header in self.headers if header.name.lower() == name]

    def _excess(self, line: bytes) -> str | None:
        self._lines += 1
        self.size_bytes += len(line)
        limits = self._limits
        if len(line) > limits.max_line_bytes:
            return f"A header line is longer than {limits.max_line_bytes} bytes."
        if self._lines > limits.max_header_lines:
            return f"The response has more than {limits.max_header_lines} header lines."
        if self.size_bytes > limits.max_header_bytes:
            return f"The response's headers are longer than {limits.max_header_bytes} bytes."
        return None

    def _read_status(self, text: bytes) -> None:
        match = _STATUS_LINE.fullmatch(text)
        if match is None or match[2] < b"100":
            self.violation = "The response does not begin with a status line."
            return
        self.http_version = match[1].decode("ascii")
        self.status_code = int(match[2])
        self.reason = read_text(match[3] or b"").value

    def _read_field(self, text: bytes, into: list[Header]) -> None:
        if not text:
            return
        name, colon, value = text.partition(b":")
        if not colon or not name.strip():
            self.violation = "A header line has no name."
            return
        into.append(read_text(value.strip(b" \t"), name=name.decode("latin-1").rstrip()))


def read_text(raw: bytes, *, name: str = "") -> Header:
    """The bytes as the value of a header: text if they are UTF-8, else ISO-8859-1 with the bytes beside it."""
    try:
        return Header(name, raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Header(name, raw.decode("latin-1"), b64encode(raw).decode("ascii"))


def raw_value(header: Header) -> bytes:
    """The bytes of the value, as they came."""
    return header.value.encode("utf-8" if header.value_base64 is None else "latin-1")


def read_request(raw: bytes) -> tuple[str, str, tuple[Header, ...]]:
    """Method, HTTP version and headers of a request, from the bytes that libcurl reports to have sent."""
    head, *lines = raw.split(b"\r\n")
    method, _, rest = head.partition(b" ")
    version = rest.rpartition(b" ")[2]
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers.append(read_text(value.strip(b" \t"), name=name.decode("latin-1")))
    return method.decode("latin-1"), version.decode("latin-1"), tuple(headers)
