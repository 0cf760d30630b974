"""A route: a path of the API and the handler that serves it."""

from __future__ import annotations

import re

from msgspec import Struct

from metadata_inventory.web.http.handler import BaseHandler


class Route(Struct, frozen=True):
    """`path` is written as in OpenAPI, with `{name}` for a segment. It is served with and without its last slash."""

    path: str
    handler: type[BaseHandler]

    @property
    def pattern(self) -> str:
        """The regular expression for Tornado."""
        return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path.rstrip("/"))) + "/?"
