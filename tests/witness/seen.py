"""Values as all sides write them, so that they can be compared: bytes as text without loss, ports by their scheme."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.witness.case import Field, Value

SESSION = "session"


@dataclass(frozen=True)
class Place:
    """Where the origins listen, and when the case began."""

    http_port: int
    https_port: int
    began_at: float

    @classmethod
    def at(cls, http_port: int, https_port: int) -> Place:
        return cls(http_port, https_port, time.time())

    def text(self, raw: bytes | str) -> str:
        """As text: UTF-8, or with escapes for what is not; the origins' ports, which no two runs share, by name."""
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
        return text.replace(f":{self.http_port}", ":http").replace(f":{self.https_port}", ":https")

    def lifetime(self, expires_at: float | None) -> str:
        """Whole hours from the case's beginning. Cases ask for half hours, so a slow run does not change it."""
        if expires_at is None:
            return SESSION
        return f"{math.floor((expires_at - self.began_at) / 3600)} h"


@dataclass(frozen=True)
class SeenHop:
    """One hop as a side tells it."""

    url: str
    http_version: str
    status_code: int
    reason: bytes | str
    headers: Sequence[tuple[str, bytes]]
    sent_cookies: bytes | None
    beside: Mapping[str, bytes] = field(default_factory=dict)  # lines that are no headers of the final response


@dataclass(frozen=True)
class SeenCookie:
    """One cookie that is kept. `domain` begins with a dot unless the cookie is host-only."""

    name: str
    value: str
    domain: str
    path: str
    lifetime: str
    secure: bool
    http_only: bool
    same_site: str | None = None
    partitioned: bool = False


def read_hops(hops: Sequence[SeenHop], final_url: str, place: Place) -> dict[Field, dict[str, Value]]:
    """The three fields that each hop has."""
    told: dict[str, Value] = {"hops": len(hops), "final url": place.text(final_url)}
    headers: dict[str, Value] = {}
    sent: dict[str, Value] = {}
    for number, hop in enumerate(hops, 1):
        told[f"hop {number}: url"] = place.text(hop.url)
        told[f"hop {number}: version"] = hop.http_version
        told[f"hop {number}: status"] = hop.status_code
        told[f"hop {number}: reason"] = place.text(hop.reason)
        sent[f"hop {number}: cookies sent"] = None if hop.sent_cookies is None else place.text(hop.sent_cookies)
        headers[f"hop {number}: header lines"] = len(hop.headers)
        for line, (name, value) in enumerate(hop.headers, 1):
            headers[f"hop {number}: header line {line}"] = f"{name}: {place.text(value)}"
        for name, value in hop.beside.items():
            headers[f"hop {number}: {name}"] = place.text(value)
    return {Field.HOPS: told, Field.HEADERS: headers, Field.SENT: sent}


def read_kept(cookies: Iterable[SeenCookie], *, whole: bool) -> dict[str, Value]:
    """`whole` with the attributes that curl does not keep."""
    kept: dict[str, Value] = {}
    for cookie in sorted(cookies, key=lambda cookie: (cookie.name, cookie.domain, cookie.path, cookie.partitioned)):
        name = f"cookie {cookie.name} of {cookie.domain} at {cookie.path}"
        kept[f"{name}: value"] = cookie.value
        kept[f"{name}: lifetime"] = cookie.lifetime
        kept[f"{name}: secure"] = cookie.secure
        kept[f"{name}: http only"] = cookie.http_only
        if whole:
            kept[f"{name}: same site"] = cookie.same_site
            kept[f"{name}: partitioned"] = cookie.partitioned
    return {"cookies": len(kept) // (6 if whole else 4), **kept}


def read_bytes(name: str, content: bytes) -> dict[str, Value]:
    return {f"{name} length": len(content), f"{name} sha256": hashlib.sha256(content).hexdigest()}
