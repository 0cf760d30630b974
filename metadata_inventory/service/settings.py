"""Declares the settings: name, type, limits, unit, default and meaning of each, and how its text is read.

`service.setting_sources` reads them, as `service.declaration` says. A default stands here and nowhere else.
`conf/default.toml` documents every setting; a test holds the two equal.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from metadata_inventory import __version__
from metadata_inventory.access.keys import read_keys
from metadata_inventory.errors import InvalidSettings
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.service.declaration import read_declarations
from metadata_inventory.storage.mongo_uri import check_uri, redact_uri
from metadata_inventory.validation import choices

ENVIRONMENT_PREFIX = "INVENTORY_"

# A lane process has 28 MiB of data before its first order (Python 3.11, x86-64), and does not start with 24.
LEAST_LANE_MEMORY_BYTES = 64 * 1024 * 1024

TEN_YEARS_S = 315_360_000  # the longest time of a setting: any instant of today plus this is still an instant

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Origin = Annotated[
    str, Meta(pattern=r"\Ahttps?://[^/?#@\s]+\Z", extra={"expected": "an origin, such as https://tools.example.com"})
]


def _check_lane_memory(value: int) -> None:
    if 0 < value < LEAST_LANE_MEMORY_BYTES:
        raise InvalidSettings(
            f"lane_memory_bytes must be 0, for no limit, or at least {LEAST_LANE_MEMORY_BYTES}, not {value}."
        )


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting. Units end the names; `description` is the line that conf/default.toml and `--help` show."""

    mongo_uri: Annotated[
        str | None,
        Meta(
            description="URI of the MongoDB that stores the records; without it the embedded database is started.",
            extra={
                "expected": "a MongoDB URI",
                "variable": "MONGO_URI",  # the name under which every MongoDB tool reads it
                "check": check_uri,
                "redact": redact_uri,
            },
        ),
    ] = None
    database: Annotated[
        str,
        Meta(
            pattern=r'\A[^/\\. "$*<>:|?\x00]{1,63}\Z',
            description="Name of the database in MongoDB.",
            extra={"expected": 'a name of 1 to 63 characters without spaces and / \\ . " $ * < > : | ?'},
        ),
    ] = "inventory"
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Directory of the embedded database; created when absent, kept between runs.",
            extra={"expected": "the path of a directory"},
        ),
    ] = "inventory-data"
    storage_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="Seconds that one operation of the database may take.")
    ] = 5.0

    host: Annotated[
        str, Meta(description="Address or host name to listen on; 0.0.0.0 listens on every IPv4 address.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free port and logs it.")] = 8000
    processes: Annotated[int, Meta(ge=1, le=256, description="Number of API workers.")] = 1
    lanes: Annotated[int, Meta(ge=1, le=64, description="Number of lane processes of each API worker.")] = 2
    keys_file: Annotated[
        str | None,
        Meta(
            description="File of API keys, written by `metadata-inventory keys`; without it no key is asked for.",
            extra={"expected": "the path of a file", "check": read_keys},
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Host names by which clients may call the service, beside localhost and addresses; * is any."),
    ] = ()
    cors_origins: Annotated[
        tuple[Origin, ...],
        Meta(description="Origins whose pages may call the API, such as https://tools.example.com."),
    ] = ()
    client_rate_per_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000, description="Collections that one client may start per second; 0 sets no limit."),
    ] = 0.0
    client_burst: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Collections that one client may start at once before client_rate_per_s limits it.",
        ),
    ] = 100
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Client connections that each API worker keeps; others are refused."),
    ] = 4096
    idle_timeout_s: Annotated[
        float,
        Meta(gt=0, le=3600, description="Seconds that a client may take to send the headers of its next request."),
    ] = 75.0
    body_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that a client may take to send the body of a request.")
    ] = 30.0
    answer_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that a client may take to read an answer.")
    ] = 120.0
    max_request_header_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 20, description="Bytes of the longest request line and headers that the API reads.")
    ] = 98_304
    max_request_bytes: Annotated[
        int, Meta(ge=1024, description="Bytes of the longest request body that the API reads.")
    ] = 65_536
    shutdown_grace_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds that requests under way have to finish when the service is stopped."),
    ] = 10.0
    log_level: Annotated[
        LogLevel,
        Meta(
            description="Least severe level that is logged: DEBUG, INFO, WARNING or ERROR.",
            extra={"expected": f"one of {choices(get_args(LogLevel))}"},  # from the least severe; else by the alphabet
        ),
    ] = "INFO"

    allow_destinations: Annotated[
        tuple[str, ...],
        Meta(
            description="CIDR[:port] that may be connected to although refused by default; without a port, every port.",
            extra={"flag": "--allow-destination", "check": DestinationPolicy.parse},
        ),
    ] = ()
    allow_loopback: Annotated[
        bool,
        Meta(description="For development: URLs may lead to every service of this host on loopback, on every port."),
    ] = False
    lane_capacity: Annotated[
        int, Meta(ge=1, le=10_000, description="Collections that one lane process has under way at once.")
    ] = 512
    host_concurrency: Annotated[
        int, Meta(ge=1, le=10_000, description="Collections of one host that each API worker has under way at once.")
    ] = 16
    host_gap_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds between the starts of two collections of one host in an API worker."),
    ] = 0.0
    user_agent: Annotated[
        str,
        Meta(
            pattern=r"\A[\x21-\x7e][\x20-\x7e]{0,511}\Z",
            description="User-Agent header of the requests that collections send.",
            extra={"expected": "1 to 512 printable ASCII characters, the first of them not a space"},
        ),
    ] = f"metadata-inventory/{__version__}"
    collect_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that one collection may take, all redirects included.")
    ] = 30.0
    connect_timeout_s: Annotated[
        float,
        Meta(gt=0, le=3600, description="Seconds that one connection may take, TLS included; the name look-up is not."),
    ] = 10.0
    resolve_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that one look-up of a host name may take.")
    ] = 5.0
    low_speed_bytes_per_s: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 30,
            description="Bytes per second below which a transfer is ended after low_speed_s; 0 ends none.",
        ),
    ] = 10
    low_speed_s: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds that a transfer may stay below low_speed_bytes_per_s.")
    ] = 20
    max_redirects: Annotated[int, Meta(ge=0, le=100, description="Redirects that one collection follows.")] = 10
    max_body_bytes: Annotated[
        int, Meta(ge=0, le=1 << 30, description="Bytes that are stored of a decoded body; a longer one is truncated.")
    ] = 10_485_760
    max_wire_bytes: Annotated[
        int,
        Meta(ge=0, le=1 << 30, description="Bytes that are read of a body before decoding; a longer one is truncated."),
    ] = 10_485_760
    max_header_bytes: Annotated[
        int, Meta(ge=1024, le=262_144, description="Bytes of the header lines of one response; more is a failure.")
    ] = 262_144
    max_header_lines: Annotated[
        int,
        Meta(ge=10, le=2000, description="Header lines of one response, status lines included; more is a failure."),
    ] = 2000
    lane_body_bytes: Annotated[
        int,
        Meta(ge=1 << 20, description="Bytes of all bodies in one lane process; above that, transfers are paused."),
    ] = 134_217_728
    lane_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of data memory of one lane process, at least 64 MiB; 0 sets no limit.",
            extra={"check": _check_lane_memory},
        ),
    ] = 1_073_741_824
    ca_file: Annotated[
        str | None,
        Meta(
            description="PEM file of the authorities that origins' certificates are verified against.",
            extra={"expected": "the path of a file"},
        ),
    ] = None
    tls_verify: Annotated[
        Literal["refuse", "record"],
        Meta(description="When a certificate does not verify: refuse the page, or record it with verified: false."),
    ] = "refuse"
    allow_http3: Annotated[bool, Meta(description="Try HTTP/3 beside HTTP/2 for https URLs.")] = False

    freshness_s: Annotated[
        float,
        Meta(ge=0, le=TEN_YEARS_S, description="Seconds of age above which a GET starts a refresh; 0 starts none."),
    ] = 0.0
    failure_ttl_s: Annotated[
        float,
        Meta(
            ge=0,
            le=TEN_YEARS_S,
            description="Seconds for which a GET answers a stored failure; for a prohibited destination, 60 at most.",
        ),
    ] = 300.0
    max_attempts: Annotated[
        int, Meta(ge=1, le=3, description="Attempts at one collection before its failure is final, 3 at most.")
    ] = 3
    retry_base_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds before the second attempt; doubled before each later one.")
    ] = 2.0
    retry_max_s: Annotated[float, Meta(gt=0, le=86_400, description="Most seconds between two attempts.")] = 60.0
    retry_after_max_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Most seconds by which an origin's Retry-After (with 429 or 503) delays an attempt.",
        ),
    ] = 300.0

    queue_limit: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000,
            description="Jobs that may wait; above that, collections are refused. One host alone gets half.",
        ),
    ] = 20_000
    lease_s: Annotated[
        float, Meta(ge=1, le=3600, description="Seconds after which others may take the job of a lost API worker.")
    ] = 15.0
    renew_s: Annotated[
        float,
        Meta(gt=0, le=1800, description="Seconds between renewals of a running job's lease; at most half of lease_s."),
    ] = 5.0

    def __post_init__(self) -> None:
        """Raises ValueError for settings that do not go together."""
        if self.renew_s * 2 > self.lease_s:
            raise ValueError(
                f"renew_s must be at most half of lease_s ({self.lease_s}), not {self.renew_s}: "
                "otherwise one lost renewal loses the job."
            )
        if self.storage_timeout_s >= self.lease_s:
            raise ValueError(
                f"storage_timeout_s must be below lease_s ({self.lease_s}), not {self.storage_timeout_s}: "
                "otherwise a lease can end before its claim is answered."
            )
        if self.retry_base_s > self.retry_max_s:
            raise ValueError(f"retry_base_s must be at most retry_max_s ({self.retry_max_s}), not {self.retry_base_s}.")

    def __repr__(self) -> str:
        shown = (f"{name}={DECLARATIONS[name].show(getattr(self, name))}" for name in self.__struct_fields__)
        return f"Settings({', '.join(shown)})"


DECLARATIONS = read_declarations(Settings, variable_prefix=ENVIRONMENT_PREFIX)
