"""The cookies that one collection carries from hop to hop, as a browser would.

By draft-ietf-httpbis-rfc6265bis §5.7 (storage) and §5.8.3 (retrieval); `set_cookie` reads the lines. Bounded in
number, so in memory: what a hostile chain of redirects sets and what it makes us send.
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
    """A cookie in the jar: what retrieval needs, in octets where they are sent."""

    name: bytes
    value: bytes
    domain: str
    path: str
    secure: bool
    host_only: bool
    partitioned: bool
    expires_at: datetime | None  # None: as long as the jar
    created: int  # the jar's count, which orders cookies that came at one instant
    used: int

    @property
    def key(self) -> tuple[bytes, str, bool, str, bool]:
        """Partitioned cookies live apart; all others are told from each other by 6265bis §5.7, step 23."""
        return (self.name, self.domain, self.host_only, self.path, self.partitioned)

    def alive(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now

    @property
    def pair(self) -> bytes:
        return self.name + b"=" + self.value if self.name else self.value


class CookieJar:
    """The cookies of one collection's chain of redirects.

    Every hop is a top-level navigation that nobody else started: a request without a client is same-site (6265bis
    §5.2), so SameSite keeps nothing back, and each hop's own site is its partition.
    """

    def __init__(self) -> None:
        self._cookies: dict[tuple[bytes, str, bool, str, bool], _Stored] = {}
        self._count = 0

    def receive(self, cookie: SetCookie, url: str, now: datetime) -> bool:
        """Store it as a browser would, or remove what it expires. False: refused."""
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
        """The Cookie header's value for a request, octet by octet as the cookies came; None when there is none."""
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
        """6265bis §5.7, step 16: what came in the clear must not hide a Secure cookie."""
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
        """One too many: of a crowded domain the insecure go first, then whatever was used longest ago."""
        crowd = [cookie for cookie in self._cookies.values() if cookie.domain == domain]
        if len(crowd) > MAX_COOKIES_PER_DOMAIN:
            del self._cookies[min(crowd, key=lambda cookie: (cookie.secure, cookie.used)).key]
        elif len(self._cookies) > MAX_COOKIES:
            del self._cookies[min(self._cookies.values(), key=lambda cookie: cookie.used).key]
