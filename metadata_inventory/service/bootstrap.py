"""The object graph: alone sees ports and adapters, settings and what they set."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import UTC, datetime

import psutil

from metadata_inventory.access.keys import KeyRing
from metadata_inventory.access.rate import RateLimit
from metadata_inventory.collect.options import CollectorOptions, HeaderLimits, LaneSettings
from metadata_inventory.collect.pool.lanes import Lanes
from metadata_inventory.errors import CollectorUnavailable
from metadata_inventory.jobs.dispatcher import Dispatcher
from metadata_inventory.jobs.memory_gate import MemoryGate
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

# What is left to do for a request when its collection has ended: reading the record and sending it.
ANSWER_S = 1.0


# An attempt may wait for its host's gap or in isolation, but not for ever: at most so many times a collection's time.
LONGEST_ATTEMPT = 20


class Service:
    """Everything that one API process has. Made, started and closed on the loop that it runs on."""

    def __init__(self, settings: Settings) -> None:
        if settings.mongo_uri is None:
            raise ValueError("a service is given the URI of its database, the embedded one's too")
        destinations = destinations_of(settings)
        policy = CollectPolicy(
            max_attempts=settings.max_attempts,
            retry_base_s=settings.retry_base_s,
            retry_max_s=settings.retry_max_s,
            retry_after_max_s=settings.retry_after_max_s,
            failure_ttl_s=settings.failure_ttl_s,
            freshness_s=settings.freshness_s,
            rules=destinations.fingerprint,
        )
        self._grace_s = settings.shutdown_grace_s
        self._store = MongoStore(
            settings.mongo_uri,
            settings.database,
            timeout_s=settings.storage_timeout_s,
            lease_ms=round(settings.lease_s * 1000),
        )
        gate = MemoryGate(settings.lane_body_bytes)
        self._lanes = Lanes(
            _collector_options(settings, destinations),
            LaneSettings(
                lanes=settings.lanes,
                capacity=settings.lane_capacity,
                per_host=settings.host_concurrency,
                host_gap_ms=round(settings.host_gap_s * 1000),
            ),
            gate.room,
        )
        self._dispatcher = Dispatcher(
            self._store,
            self._store,
            self._lanes,
            policy,
            gate,
            now=now,
            owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            lease_s=settings.lease_s,
            renew_s=settings.renew_s,
            longest_s=LONGEST_ATTEMPT * settings.collect_timeout_s,
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
        """Start the lanes, then take up work. The database may come later. Raises StartError."""
        self._store.start()
        await self._lanes.start()
        self._dispatcher.start()

    async def _check(self) -> None:
        """Raises CollectorUnavailable, StorageUnavailable."""
        if self._lanes.down:
            raise CollectorUnavailable
        await self._store.check()

    async def close(self) -> None:
        """Let running collections end within the grace, end every child, then give back what they had left."""
        await self._dispatcher.stop(self._grace_s)
        await self._lanes.close()
        await self._dispatcher.give_back()
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
    """Where this process may connect, on this host as it is now."""
    allow = (*settings.allow_destinations, *(LOOPBACK if settings.allow_loopback else ()))
    return DestinationPolicy.parse(allow, own_addresses=read_own_addresses())


def read_own_addresses() -> list[str]:
    """The addresses of this host's interfaces; link-local ones of IPv6 with their zone.

    Read once, at the start: one that comes later is noticed when it is dialled, by `collect.curl_options.is_own`.
    """
    interfaces = psutil.net_if_addrs().values()
    return [one.address for known in interfaces for one in known if one.family in (socket.AF_INET, socket.AF_INET6)]


def now() -> datetime:
    """This moment in UTC, in whole milliseconds as the database keeps it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _collector_options(settings: Settings, destinations: DestinationPolicy) -> CollectorOptions:
    return CollectorOptions(
        destinations=destinations,
        user_agent=settings.user_agent,
        deadline_ms=round(settings.collect_timeout_s * 1000),
        connect_timeout_ms=round(settings.connect_timeout_s * 1000),
        resolve_timeout_ms=round(settings.resolve_timeout_s * 1000),
        low_speed_bytes_per_s=settings.low_speed_bytes_per_s,
        low_speed_time_ms=settings.low_speed_s * 1000,
        max_redirects=settings.max_redirects,
        max_body_bytes=settings.max_body_bytes,
        max_wire_bytes=settings.max_wire_bytes,
        max_per_host=settings.host_concurrency,
        headers=HeaderLimits(max_lines=settings.max_header_lines, max_total_bytes=settings.max_header_bytes),
        max_bodies_bytes=settings.lane_body_bytes,
        max_data_bytes=settings.lane_memory_bytes,
        ca_file=settings.ca_file,
        tls_verify=settings.tls_verify,
        allow_http3=settings.allow_http3,
    )
