"""The composition root: makes the objects of one API worker from the settings, and joins ports to adapters.

No other module knows both a port and its adapter, or both a setting and what it sets.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import Any

import psutil
from msgspec import Struct

from metadata_inventory.access.keys import KeyRing
from metadata_inventory.access.rate import RateLimit
from metadata_inventory.clock import now
from metadata_inventory.collect.options import CollectorOptions, HeaderLimits, LaneSettings
from metadata_inventory.collect.pool.lanes import Lanes
from metadata_inventory.errors import CollectorUnavailable
from metadata_inventory.jobs.dispatcher import Dispatcher
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.jobs.renewal import LeaseTimes
from metadata_inventory.model.destinations import LOOPBACK, DestinationPolicy
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.service.settings import Settings
from metadata_inventory.storage.mongo import MongoStore
from metadata_inventory.storage.queue import MongoQueue
from metadata_inventory.usecases.inventory import Inventory
from metadata_inventory.usecases.queue import Queue
from metadata_inventory.web.api.health import ReadinessCheck
from metadata_inventory.web.http.access import Access
from metadata_inventory.web.http.request_counter import RequestCounter
from metadata_inventory.web.http.services import Services
from metadata_inventory.web.http.unread_answers import UnreadAnswers

ANSWER_S = 1.0  # for a request whose collection has ended: to read its record and send it
# An attempt may wait for its host's gap or in isolation, but at most for this many times `collect_timeout_s`.
LONGEST_ATTEMPT = 20


class Service:
    """The objects of one API worker. Made, started and closed on the event loop that they run on."""

    def __init__(self, settings: Settings) -> None:
        if settings.mongo_uri is None:
            raise ValueError("mongo_uri must be set; for the embedded database too")
        destinations = destinations_of(settings)
        policy = CollectPolicy(rules=destinations.fingerprint, **_shared(CollectPolicy, settings))
        self._grace_s = settings.shutdown_grace_s
        self._store = MongoStore(
            settings.mongo_uri,
            settings.database,
            timeout_s=settings.storage_timeout_s,
            lease_ms=round(settings.lease_s * 1000),
        )
        gate = MemoryGate(settings.lane_body_bytes)
        self._lanes = Lanes(collector_options(settings, destinations), lane_settings(settings), gate.wait_open)
        self._dispatcher = Dispatcher(
            self._store,
            self._store,
            self._lanes,
            policy,
            gate,
            now=now,
            owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            times=LeaseTimes(
                lease_s=settings.lease_s,
                renew_s=settings.renew_s,
                longest_s=LONGEST_ATTEMPT * settings.collect_timeout_s,
            ),
            queue_limit=settings.queue_limit,
        )
        self.services = Services(
            inventory=Inventory(self._store, self._dispatcher, policy, destinations, now=now),
            check=ReadinessCheck(self._check),
            access=_access(settings),
            queue=Queue(MongoQueue(self._store.connection), limit=settings.queue_limit),
            requests=RequestCounter(),
            unread=UnreadAnswers(settings.answer_timeout_s),
            collect_timeout_s=settings.collect_timeout_s,
            max_request_header_bytes=settings.max_request_header_bytes,
            max_request_bytes=settings.max_request_bytes,
        )

    async def start(self) -> None:
        """Start the lanes, then claim jobs. The database may still be away. Raises StartError."""
        self._store.start()
        await self._lanes.start()
        self._dispatcher.start()

    async def _check(self) -> None:
        """Raises CollectorUnavailable, StorageUnavailable."""
        if self._lanes.down:
            raise CollectorUnavailable
        await self._store.check()

    async def close(self) -> None:
        """Let running collections finish within the grace, end every lane process, then release unfinished jobs."""
        await self._dispatcher.stop(self._grace_s)
        await self._lanes.close()
        await self._dispatcher.release_unfinished()
        await self.services.requests.answered(ANSWER_S)
        await self._store.close()


def _access(settings: Settings) -> Access:
    rate = RateLimit(settings.client_rate_per_s, settings.client_burst, clock=time.monotonic)
    return Access(
        keys=KeyRing(settings.keys_file) if settings.keys_file else None,
        rate=rate if settings.client_rate_per_s else None,
        hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )


def destinations_of(settings: Settings) -> DestinationPolicy:
    """The destination policy of the settings, with this host's addresses as they are now."""
    allow = (*settings.allow_destinations, *(LOOPBACK if settings.allow_loopback else ()))
    return DestinationPolicy.parse(allow, own_addresses=read_own_addresses())


def read_own_addresses() -> list[str]:
    """The addresses of this host's interfaces; link-local ones of IPv6 with their zone.

    Read once, at the start. `collect.engine.curl_options.is_own` notices an address that is added later, when it is
    connected to.
    """
    interfaces = psutil.net_if_addrs().values()
    families = (socket.AF_INET, socket.AF_INET6)
    return [own.address for addresses in interfaces for own in addresses if own.family in families]


def collector_options(settings: Settings, destinations: DestinationPolicy) -> CollectorOptions:
    return CollectorOptions(
        destinations=destinations,
        headers=HeaderLimits(**_shared(HeaderLimits, settings)),
        **_shared(CollectorOptions, settings),
    )


def lane_settings(settings: Settings) -> LaneSettings:
    return LaneSettings(**_shared(LaneSettings, settings))


def _shared(kind: type[Struct], settings: Settings) -> dict[str, Any]:
    """The values of the settings whose names the fields of `kind` have."""
    return {name: getattr(settings, name) for name in kind.__struct_fields__ if name in Settings.__struct_fields__}
