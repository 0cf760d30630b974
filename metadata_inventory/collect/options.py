"""What a collector's processes are told when they start: limits, patience and manners. A frozen, picklable value.

Beside it, what only their parent needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from metadata_inventory.model.destinations import DestinationPolicy


class HeaderLimits(Struct, frozen=True, kw_only=True):
    """Bounds of one response's header lines, 1xx responses and trailers counted in.

    All three are below libcurl's own (5,000 lines, about 100 KiB a line, 300 KiB in all), which answers with errors
    that look like a broken connection.
    """

    max_lines: int = 2_000  # header lines, status lines counted in
    max_line_bytes: int = 64 * 1024  # one line with its end
    max_total_bytes: int = 256 * 1024  # all lines together
    max_collection_bytes: int = 768 * 1024  # all lines of all hops: the record must fit into a document of 16 MiB


class CollectorOptions(Struct, frozen=True, kw_only=True):
    """The settings of one lane's process. Times are in milliseconds, sizes in bytes."""

    destinations: DestinationPolicy  # which addresses and ports may be dialled
    user_agent: str = "http-metadata-inventory"  # the User-Agent header, as it is sent
    accept: str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"  # the Accept header
    deadline_ms: int = 30_000  # for one collection, over all its hops
    connect_timeout_ms: int = 10_000  # for name, TCP and TLS of one hop
    resolve_timeout_ms: int = 5_000  # for the name's look-up of one hop
    low_speed_bytes_per_s: int = 10  # a transfer slower than this …
    low_speed_time_ms: int = 20_000  # … for this long is given up; whole seconds count
    max_redirects: int = 10  # hops after the first one
    max_body_bytes: int = 10 * 1024 * 1024  # decoded bytes that are kept; a longer body is truncated
    max_wire_bytes: int = 10 * 1024 * 1024  # bytes of a body as they come, before decoding
    headers: HeaderLimits = HeaderLimits()  # bounds of a response's header lines
    redirect_body_bytes: int = 64 * 1024  # of a redirect's body this much is read, to keep the connection
    redirect_body_ms: int = 1_000  # … and for this long at most
    max_repeats: int = 2  # requests that libcurl may send for one hop (it repeats after a GOAWAY)
    max_per_host: int = 16  # transfers under way at one host, later hops of redirects counted in; others wait
    max_unresolved_names: int = 256  # look-ups at once, a thread each
    max_unresolved_per_domain: int = 8  # look-ups at once below one registrable domain by the Public Suffix List
    name_cache_ms: int = 60_000  # how long a looked-up name is remembered
    max_bodies_bytes: int = 128 * 1024 * 1024  # over all bodies in flight; past it transfers are paused
    max_data_bytes: int = 1024 * 1024 * 1024  # RLIMIT_DATA of the process, 0 for none: the backstop of the above
    max_idle_connections: int = 256  # connections kept open for reuse
    ca_file: str | None = None  # a PEM bundle in place of certifi's
    tls_verify: Literal["refuse", "record"] = "refuse"  # a certificate that does not verify: fail, or keep the page
    allow_http3: bool = False  # try HTTP/3 beside HTTP/2


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """The shape of the lanes, as the parent keeps them."""

    lanes: int = 2  # processes
    capacity: int = 512  # collections under way in one lane
    per_host: int = 16  # collections under way for one host; the process is told the same as `max_per_host`
    host_gap_ms: int = 0  # from the start of one collection of a host to that of its next
    wait_ms: int = 200  # how long a process may wait for something to finish; new orders interrupt it
    patience_s: float = 10.0  # beyond `wait_ms`; a process that is silent for longer is killed
    start_s: float = 30.0  # how long a process may take to start
