"""A case: the responses of an origin, the fields in which witnesses are compared, and the known differences.

A field is a group of paths; each path names one value that both sides read from the same answer. A difference is held
value by value: another value on either side, or none any more, fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

HOST = "www.site.example"


class Witness(StrEnum):
    """Who sees the same answer."""

    CURL = "curl"  # Debian's command-line curl
    CHROMIUM = "Chromium"  # Debian's Chromium, through Playwright


class Field(StrEnum):
    """What is compared."""

    HOPS = "hops"  # of each hop its URL, version, status and reason; the final URL
    HEADERS = "headers"  # every header line of every hop: order, spelling, repeats, the value's bytes
    SENT = "sent"  # the Cookie header of each request
    KEPT = "kept"  # the cookies in the end, with each attribute
    REFUSED = "refused"  # the Set-Cookie lines that are not kept
    WIRE = "wire"  # the body's bytes as they came, without the transfer coding
    CONTENT = "content"  # the body's bytes, decoded
    TYPE = "type"  # the media type, named or sniffed
    TEXT = "text"  # charset and the text
    SUMMARY = "summary"  # title, description, canonical URL, language and icon
    TLS = "tls"  # version, subject, issuer, names and validity


SEES = {
    Witness.CURL: (Field.HOPS, Field.HEADERS, Field.SENT, Field.KEPT, Field.WIRE, Field.CONTENT, Field.TLS),
    Witness.CHROMIUM: (
        Field.HOPS,
        Field.HEADERS,
        Field.SENT,
        Field.KEPT,
        Field.REFUSED,
        Field.CONTENT,
        Field.TYPE,
        Field.TEXT,
        Field.SUMMARY,
        Field.TLS,
    ),
}

NOTHING: Mapping[Witness, tuple[Field, ...]] = {}
# Of an answer that makes no document the browser stays where it was; an image is shown in a document that it makes up.
NO_DOCUMENT = {Witness.CHROMIUM: (Field.CONTENT, Field.TYPE, Field.TEXT, Field.SUMMARY)}
NO_SOURCE = {Witness.CHROMIUM: (Field.TEXT, Field.SUMMARY)}

Value = str | int | None
Seen = Mapping[Field, Mapping[str, Value]]


@dataclass(frozen=True)
class Difference:
    """`ours` and `theirs` are the values at `path`, None where a side has nothing. `reason` is a title in the page."""

    witness: Witness
    path: str
    ours: Value
    theirs: Value
    reason: str


@dataclass(frozen=True)
class Case:
    """`answers` are whole responses by the last part of their path; the first one is asked for.

    Placeholders in header lines: {http}, {HTTP} (the host in upper case) and {https} are this case's directory at
    www.site.example, {other} at other.site.example and {elsewhere} at elsewhere.example, both over http;
    {in 30 days} and {in 30 days, as RFC 850} or {…, as asctime} are dates.
    """

    name: str
    answers: Mapping[str, bytes]
    secure: bool = False  # begins over https
    host: str = HOST
    final_secure: bool | None = None  # … and ends there; None: as it begins
    without: Mapping[Witness, tuple[Field, ...]] = field(default_factory=dict)  # what a witness cannot tell
    differences: tuple[Difference, ...] = ()

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def fields(self, witness: Witness) -> tuple[Field, ...]:
        """What is compared with this witness."""
        ends_secure = self.secure if self.final_secure is None else self.final_secure
        left_out = set(self.without.get(witness, ()))
        if not ends_secure:
            left_out.add(Field.TLS)
        return tuple(one for one in SEES[witness] if one not in left_out)


def find_differences(ours: Seen, theirs: Seen) -> dict[str, tuple[Value, Value]]:
    """Path → both values, of every path at which they are not equal; the witness's fields count."""
    found = {}
    for one, values in theirs.items():
        for path in {**ours[one], **values}:
            pair = ours[one].get(path), values.get(path)
            if pair[0] != pair[1]:
                found[path] = pair
    return found
