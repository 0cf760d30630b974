"""Owns the cookies that one collection sends from hop to hop, as a browser would.

Source: draft-ietf-httpbis-rfc6265bis §5.7 (storage) and §5.8.3 (retrieval); `set_cookie` reads the lines. The number of
cookies is bounded, and so is what a hostile chain of redirects can make this service store and send.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from metadata_inventory.collect.parse.set_cookie import MAX_LIFETIME, REFUSALS, CookieFlaw, Origin
from metadata_inventory.model.capture import SetCookie

MAX_COOKIES_PER_DOMAIN = 50  # the least that 6265bis §6.1 asks for
MAX_COOKIES = 500  # in one jar, which lives for one collection: 2 MiB at most


@dataclass(slots=True)
class _Stored:
    """A cookie in the jar: what retrieval needs. Name and value are bytes, because they are sent as they came."""

    name: bytes
    value: bytes
    domain: str
    path: str
    secure: bool
    host_only: bool
    partitioned: bool
    expires_at: datetime | None  # None: as long as the jar
    created: int  # a count of the jar: it orders cookies that came at the same instant, too
    used: int  # the same count, when it was last sent

    @property
    def key(self) -> tuple[bytes, str, bool, str, bool]:
        """The identity of a cookie: 6265bis §5.7, step 23, and whether it is partitioned."""
        return (self.name, self.domain, self.host_only, self.path, self.partitioned)

    def alive(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now

    @property
    def pair(self) -> bytes:
        return self.name + b"=" + self.value if self.name else self.value


class CookieJar:
    """The cookies of one collection. SameSite excludes none of them, and each hop's own site is its partition.

    The reason: every hop is a top-level navigation, and a request without a client is same-site (6265bis §5.2).
    """

    def __init__(self) -> None:
        self._cookies: dict[tuple[bytes, str, bool, str, bool], _Stored] = {}
        self._count = 0

    def receive(self, cookie: SetCookie, url: str, now: datetime) -> bool:
        """Store the cookie, or remove the stored one that it expires. False if a browser would refuse it."""
        origin = Origin.of(url)
        if cookie.domain is None or not REFUSALS.isdisjoint(cookie.flaws):
            return False
        new = self._stored(cookie, cookie.domain, now)
        if not new.secure and not origin.secure and self._overlays_secure(new):
            return False
        self._drop_expired(now)
        old = self._cookies.pop(new.key, None)
        if old is not None:
            new.created = old.created
        if new.alive(now):
            self._cookies[new.key] = new
            self._evict(new.domain)
        return True

    def octets_for(self, url: str, now: datetime) -> bytes | None:
        """The value of the Cookie header for a request, in the bytes that came; None if there is no cookie."""
        origin = Origin.of(url)
        found = [cookie for cookie in self._cookies.values() if self._applies(cookie, origin, now)]
        found.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        for cookie in found:
            cookie.used = self._tick()
        return b"; ".join(cookie.pair for cookie in found) if found else None

    def _stored(self, cookie: SetCookie, domain: str, now: datetime) -> _Stored:
        charset = "latin-1" if CookieFlaw.NOT_UTF8 in cookie.flaws else "utf-8"
        expires_at = None if cookie.expires is None else min(cookie.expires, now + MAX_LIFETIME)
        if cookie.max_age is not None:
            expires_at = now + timedelta(seconds=cookie.max_age)
        return _Stored(
            name=cookie.name.encode(charset),
            value=cookie.value.encode(charset),
            domain=domain,
            path=cookie.path,
            secure=cookie.secure,
            host_only=cookie.host_only,
            partitioned=cookie.partitioned,
            expires_at=expires_at,
            created=self._tick(),
            used=self._count,
        )

    def _tick(self) -> int:
        self._count += 1
        return self._count

    def _overlays_secure(self, new: _Stored) -> bool:
        """Whether a cookie that came without TLS would hide a Secure one (6265bis §5.7, step 16)."""
        inside = Origin(new.domain, new.path, secure=False, is_name=True)
        return any(
            old.secure
            and old.name == new.name
            and (inside.in_domain(old.domain) or old.domain.endswith("." + new.domain))
            and inside.in_path(old.path)
            for old in self._cookies.values()
        )

    @staticmethod
    def _applies(cookie: _Stored, origin: Origin, now: datetime) -> bool:
        here = origin.host == cookie.domain if cookie.host_only else origin.in_domain(cookie.domain)
        return here and cookie.alive(now) and origin.in_path(cookie.path) and (origin.secure or not cookie.secure)

    def _drop_expired(self, now: datetime) -> None:
        for key in [key for key, cookie in self._cookies.items() if not cookie.alive(now)]:
            del self._cookies[key]

    def _evict(self, domain: str) -> None:
        """Remove one cookie if there are too many: of a domain an insecure one first, else the least recently used."""
        of_domain = [cookie for cookie in self._cookies.values() if cookie.domain == domain]
        if len(of_domain) > MAX_COOKIES_PER_DOMAIN:
            del self._cookies[min(of_domain, key=lambda cookie: (cookie.secure, cookie.used)).key]
        elif len(self._cookies) > MAX_COOKIES:
            del self._cookies[min(self._cookies.values(), key=lambda cookie: cookie.used).key]
