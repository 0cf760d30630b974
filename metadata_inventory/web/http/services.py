"""The objects that every handler is given: the use cases, the rules of access, and the limits of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from metadata_inventory.usecases.inventory import Inventory
from metadata_inventory.usecases.queue import Queue
from metadata_inventory.web.http.access import Access
from metadata_inventory.web.http.request_counter import RequestCounter
from metadata_inventory.web.http.unread_answers import UnreadAnswers


class Services(Struct, frozen=True, kw_only=True):
    """One value for each process, made by the composition root. `check` raises when no request could be served."""

    inventory: Inventory
    check: Callable[[], Awaitable[None]]
    queue: Queue
    access: Access
    requests: RequestCounter
    unread: UnreadAnswers
    collect_timeout_s: float
    max_request_header_bytes: int
    max_request_bytes: int
