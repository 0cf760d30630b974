"""The access of one request: who its caller is, and whether that caller may start work."""

from __future__ import annotations

import math

from tornado.httputil import HTTPServerRequest

from metadata_inventory.access.keys import Scope
from metadata_inventory.access.rate import Grant, RateLimit
from metadata_inventory.errors import InsufficientScope, RateLimited
from metadata_inventory.web.http.access import Access, Caller


class RequestAccess:
    """The rules of `Access`, applied to one request. Before `require` is called, the caller has no name and no key."""

    def __init__(self, rules: Access, request: HTTPServerRequest) -> None:
        self._rules = rules
        self._request = request
        self._caller = Caller("")
        self._grant: Grant | None = None

    def require(self, scope: Scope) -> None:
        """Identify the caller. Raises TokenMissing, TokenInvalid, InsufficientScope, CrossSiteRefused."""
        self._caller = self._rules.identify(self._request)
        if not self._caller.may(scope):
            raise InsufficientScope(f"This operation needs an API key with the scope {scope}.")
        if self._request.method not in ("GET", "HEAD"):
            self._rules.check_site(self._request)

    def permit_work(self) -> None:
        """Called before a collection is started. Raises CrossSiteRefused, InsufficientScope, RateLimited."""
        self._rules.check_site(self._request)
        if not self._caller.may(Scope.COLLECT):
            raise InsufficientScope(
                f"This URL is not stored, and collecting it needs an API key with the scope {Scope.COLLECT}."
            )
        self.count_work()

    def count_work(self) -> None:
        """Count this request as work that its client starts. Raises RateLimited."""
        rate = self._rules.rate
        if rate is None:
            return
        self._grant = rate.take(self._caller.name)
        if not self._grant.allowed:
            wait_s = math.ceil(self._grant.wait_s)
            raise RateLimited(
                f"This client may start {rate.burst} collections at once and {rate.rate_per_s:g} a second after that; "
                f"it may start the next one in {wait_s} s.",
                retry_after_s=wait_s,
            )

    def answer_headers(self) -> dict[str, str]:
        """The headers that the answer has because of these rules: those of CORS, and of the rate limit once counted."""
        headers = self._rules.cors.answer_headers(self._request.headers)
        if self._rules.rate is not None and self._grant is not None:
            headers |= rate_headers(self._rules.rate, self._grant)
        return headers


def rate_headers(rate: RateLimit, grant: Grant) -> dict[str, str]:
    """draft-ietf-httpapi-ratelimit-headers-10: the policy's quota and window, what remains, and when there is more."""
    refill_s = math.ceil(grant.wait_s or 1 / rate.rate_per_s)
    return {
        "RateLimit-Policy": f'"collect";q={rate.burst};w={rate.window_s}',
        "RateLimit": f'"collect";r={grant.remaining};t={refill_s}',
    }
