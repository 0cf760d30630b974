"""The options of a lane process, and the settings by which its parent runs the lanes. Frozen, picklable values.

A field that is set by a setting has its name, unit and type, and no default: the default stands in `service.settings`
alone, and `service.bootstrap` copies the value by name. Every other field has its default here.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from metadata_inventory.model.destinations import DestinationPolicy


class HeaderLimits(Struct, frozen=True, kw_only=True):
    """Bounds of one response's header lines, 1xx responses and trailers counted in.

    All are below libcurl's own (5,000 lines, about 100 KiB a line, 300 KiB in all), beyond which it reports errors
    that look like a broken connection.
    """

    max_header_lines: int  # header lines, status lines counted in
    max_header_bytes: int  # all lines together
    max_line_bytes: int = 64 * 1024  # one line with its end
    max_collection_bytes: int = 768 * 1024  # all lines of all hops: the record must fit into a document of 16 MiB


class CollectorOptions(Struct, frozen=True, kw_only=True):
    """The options of one lane process."""

    destinations: DestinationPolicy  # which addresses and ports may be connected to
    headers: HeaderLimits
    user_agent: str  # the User-Agent header, as it is sent
    collect_timeout_s: float  # for one collection, over all its hops
    connect_timeout_s: float  # for TCP (or QUIC) and TLS of one hop
    resolve_timeout_s: float  # for the look-up of the name of one hop
    low_speed_bytes_per_s: int  # a transfer slower than this …
    low_speed_s: int  # … for this long is ended
    max_redirects: int  # hops after the first one
    max_body_bytes: int  # decoded bytes that are kept; a longer body is truncated
    max_wire_bytes: int  # bytes of a body as they arrive, before decoding
    host_concurrency: int  # transfers under way at one host, later hops of redirects counted in; others wait
    lane_body_bytes: int  # over all bodies in flight; above it transfers are paused
    lane_memory_bytes: int  # RLIMIT_DATA of the process, 0 for none: the second bound, behind lane_body_bytes
    ca_file: str | None  # a PEM bundle in place of certifi's
    tls_verify: Literal["refuse", "record"]  # a certificate that does not verify: fail, or keep the page
    allow_http3: bool  # try HTTP/3 beside HTTP/2
    accept: str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"  # the Accept header
    redirect_body_bytes: int = 64 * 1024  # of a redirect's body this much is read, to keep the connection
    redirect_body_ms: int = 1_000  # … and for this long at most
    max_repeats: int = 2  # requests that libcurl may send for one hop (it repeats after a GOAWAY)
    max_unresolved_names: int = 256  # look-ups at once, a thread each
    max_unresolved_per_domain: int = 8  # look-ups at once below one registrable domain by the Public Suffix List
    name_cache_ms: int = 60_000  # how long a looked-up name is remembered
    max_idle_connections: int = 256  # connections kept open for reuse


class LaneSettings(Struct, frozen=True, kw_only=True):
    """The settings by which the worker, the parent of the lane processes, runs its lanes."""

    lanes: int  # lanes, each with one process
    lane_capacity: int  # collections under way in one lane
    host_concurrency: int  # collections under way for one host; the lane process gets the same number
    host_gap_s: float  # from the start of one collection of a host to that of its next
    wait_ms: int = 200  # how long a process may wait for something to finish; new orders interrupt it
    patience_s: float = 10.0  # beyond `wait_ms`; a process that is silent for longer is killed
    start_s: float = 30.0  # how long a process may take to start
