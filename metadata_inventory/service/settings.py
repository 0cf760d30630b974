"""The settings: their names, defaults, units and meanings, and the one place that reads them.

Three sources, each stronger than the one before: a TOML file, the environment, the command line's flags. A key that is
not a setting, or a value that does not fit, is refused with its source's name, so that a typing error never passes as
a default. `conf/default.toml` documents every setting; a test holds the two equal.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from metadata_inventory import __version__
from metadata_inventory.access.keys import read_keys
from metadata_inventory.errors import InvalidSettings
from metadata_inventory.model.destinations import DestinationPolicy

ENVIRONMENT_PREFIX = "INVENTORY_"
CONFIG_FILE_VARIABLE = "INVENTORY_CONFIG"
# The one setting whose variable others chose: every MongoDB tool reads it under this name.
MONGO_URI_VARIABLE = "MONGO_URI"

# A collector's process has 28 MiB of data before its first order (Python 3.11, x86-64), and does not start with 24.
LEAST_LANE_MEMORY_BYTES = 64 * 1024 * 1024

LONG_S = 315_360_000  # ten years; added to any instant of today it is still one

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting. Units end the names; `description` is the line that documentation and `--help` show."""

    mongo_uri: Annotated[
        str | None, Meta(description="MongoDB to keep records in; without one the embedded database is started.")
    ] = None
    database: Annotated[
        str,
        Meta(pattern=r'\A[^/\\. "$*<>:|?\x00]{1,63}\Z', description="Name of the database inside MongoDB."),
    ] = "inventory"
    data_dir: Annotated[
        str, Meta(min_length=1, description="Directory of the embedded database; made when absent, kept between runs.")
    ] = "inventory-data"

    host: Annotated[str, Meta(description="Address or name to listen on; 0.0.0.0 is every IPv4 address.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one and logs it.")] = 8000
    processes: Annotated[int, Meta(ge=1, le=256, description="API worker processes.")] = 1
    lanes: Annotated[int, Meta(ge=1, le=64, description="Collector processes of each API worker.")] = 2
    shutdown_grace_s: Annotated[
        float, Meta(ge=0, le=3600, description="Seconds that requests under way have to end in; then they are cut off.")
    ] = 10.0
    log_level: Annotated[LogLevel, Meta(description="Least severe record that is logged.")] = "INFO"
    keys_file: Annotated[
        str | None,
        Meta(description="File of API keys, made by `metadata-inventory keys`; without one nobody is asked for a key."),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names that the service is called by, beside localhost and addresses; * is any name."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Origins whose pages may use the API, such as https://tools.example.com.")
    ] = ()
    client_rate_per_s: Annotated[
        float, Meta(ge=0, le=1_000_000, description="Collections that one client may start a second; 0 is no limit.")
    ] = 0.0
    client_burst: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Collections that one client may start at once, before that limit.")
    ] = 100
    max_connections: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Connections that each API worker keeps; more are refused.")
    ] = 4096
    idle_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that a connection may take to send its next request's headers.")
    ] = 75.0
    body_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that a request's body may take to arrive.")
    ] = 30.0
    answer_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that a client may take to read an answer.")
    ] = 120.0
    max_request_header_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 20, description="Largest request line and headers that the API reads.")
    ] = 98_304
    max_request_bytes: Annotated[int, Meta(ge=1024, description="Largest request body that the API reads.")] = 65_536

    allow_destinations: Annotated[
        tuple[str, ...],
        Meta(description="CIDR[:port] that may be dialled although refused by default; without a port, every port."),
    ] = ()
    allow_loopback: Annotated[
        bool,
        Meta(description="For development: URLs may lead to every service of this host on loopback, on every port."),
    ] = False
    lane_capacity: Annotated[
        int, Meta(ge=1, le=10_000, description="Transfers that one collector process has under way at once.")
    ] = 512
    host_concurrency: Annotated[
        int, Meta(ge=1, le=10_000, description="Collections under way for one host, in each API worker.")
    ] = 16
    host_gap_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds between the starts of two collections of one host, in each API worker.",
        ),
    ] = 0.0
    user_agent: Annotated[
        str,
        Meta(pattern=r"\A[\x21-\x7e][\x20-\x7e]{0,511}\Z", description="User-Agent that collections are made with."),
    ] = f"metadata-inventory/{__version__}"
    collect_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that one collection has, over all redirects.")
    ] = 30.0
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that one connection has, name and TLS included.")
    ] = 10.0
    resolve_timeout_s: Annotated[float, Meta(gt=0, le=3600, description="Seconds that one look-up of a name has.")] = (
        5.0
    )
    low_speed_bytes_per_s: Annotated[
        int, Meta(ge=0, le=1 << 30, description="A transfer that is slower is cut off after low_speed_s; 0 is never.")
    ] = 10
    low_speed_s: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds that a transfer may be slower than low_speed_bytes_per_s.")
    ] = 20
    max_redirects: Annotated[int, Meta(ge=0, le=100, description="Redirects that one collection follows.")] = 10
    max_body_bytes: Annotated[
        int, Meta(ge=0, le=1 << 30, description="Bytes kept of a body after decoding; more is cut off and marked.")
    ] = 10_485_760
    max_wire_bytes: Annotated[
        int, Meta(ge=0, le=1 << 30, description="Bytes read of a body as it comes; more is cut off and marked.")
    ] = 10_485_760
    max_header_bytes: Annotated[
        int, Meta(ge=1024, le=262_144, description="Bytes of a response's header lines; more is a failure.")
    ] = 262_144
    max_header_lines: Annotated[
        int, Meta(ge=10, le=2000, description="Header lines of a response, status lines included; more is a failure.")
    ] = 2000
    lane_body_bytes: Annotated[
        int,
        Meta(ge=1 << 20, description="Bytes of all bodies under way in one collector process; past it, some pause."),
    ] = 134_217_728
    lane_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Data of one collector process, 64 MiB or more; past it, it is replaced. 0 is no bound.",
        ),
    ] = 1_073_741_824
    ca_file: Annotated[
        str | None, Meta(description="PEM file of the authorities that servers' certificates are verified against.")
    ] = None
    tls_verify: Annotated[
        Literal["refuse", "record"],
        Meta(description="A certificate that does not verify: refuse the page, or record it with verified: false."),
    ] = "refuse"
    allow_http3: Annotated[bool, Meta(description="Try HTTP/3 beside HTTP/2 for https URLs.")] = False

    storage_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="Seconds that one operation on the database has.")
    ] = 5.0
    lease_s: Annotated[
        float, Meta(ge=1, le=3600, description="Seconds after which the job of a lost process may be taken by others.")
    ] = 15.0
    renew_s: Annotated[
        float, Meta(gt=0, le=1800, description="Seconds between renewals of a running job's lease; at most half of it.")
    ] = 5.0
    max_attempts: Annotated[
        int, Meta(ge=1, le=3, description="Attempts at one collection before it is given up; 3 are the most.")
    ] = 3
    retry_base_s: Annotated[float, Meta(gt=0, le=3600, description="Wait before the second attempt; then doubled.")] = (
        2.0
    )
    retry_max_s: Annotated[float, Meta(gt=0, le=86_400, description="Longest wait between attempts.")] = 60.0
    retry_after_max_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="Longest wait that a server's Retry-After (with 429 or 503) is granted."),
    ] = 300.0
    failure_ttl_s: Annotated[
        float,
        Meta(ge=0, le=LONG_S, description="Seconds that a stored failure is answered before a GET collects again."),
    ] = 300.0
    freshness_s: Annotated[
        float,
        Meta(ge=0, le=LONG_S, description="Age in seconds past which a GET refreshes behind its answer; 0 is never."),
    ] = 0.0
    queue_limit: Annotated[
        int,
        Meta(
            ge=1, le=10_000_000, description="Collections that may wait; past it new ones are refused. One host: half."
        ),
    ] = 20_000

    def __post_init__(self) -> None:
        if self.renew_s * 2 > self.lease_s:
            raise ValueError("renew_s must be at most half of lease_s, so that one lost renewal does not lose the job")
        if self.storage_timeout_s >= self.lease_s:
            raise ValueError("storage_timeout_s must be below lease_s, so that a claim is answered before it runs out")
        if self.retry_base_s > self.retry_max_s:
            raise ValueError("retry_base_s must not exceed retry_max_s")

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.mongo_uri is not None:
            shown["mongo_uri"] = redacted(self.mongo_uri)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_URI = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?://)(?P<userinfo>[^@/?#]*@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>/[A-Za-z0-9_-]*)?(?:\?[^@]*)?"
)
# One name, no port, and an @ only behind the user's name and password.
_SRV_URI = re.compile(
    r"mongodb\+srv://(?:(?P<userinfo>[^@/?#]*)@)?[A-Za-z0-9._-]+(?:/[^@?]*)?(?:\?(?P<options>[^@]*))?"
)

_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def redacted(uri: str) -> str:
    """The URI as it may be shown: without user, password and options (`tlsCertificateKeyFilePassword` is one).

    Where it is not certain which part is which, nothing but the scheme is shown: of a password with an unescaped @, /
    or ? in it a part would show otherwise, and all of one whose @ was forgotten or escaped.
    """
    if known := _URI.fullmatch(uri):
        return f"{known['scheme']}{'***@' if known['userinfo'] else ''}{known['hosts']}{known['path'] or ''}"
    scheme = re.match(r"mongodb(\+srv)?://", uri)
    return f"{scheme[0] if scheme else ''}***"


def load(config_file: str | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings in force. `flags` holds the values given on the command line, None for those that were not.

    Without `config_file` the file is what INVENTORY_CONFIG names, if anything. Raises InvalidSettings.
    """
    values: dict[str, object] = {}
    config_file = config_file or environ.get(CONFIG_FILE_VARIABLE)
    if config_file:
        values |= _read_file(config_file)
    values |= _read_environment(environ)
    for name, value in flags.items():
        if value is not None:
            values[name] = _convert(name, value, source=flag(name))
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:  # only what two settings together forbid is left to be found here
        raise InvalidSettings(f"The settings do not go together: {error}.") from None


def environment_variable(name: str) -> str:
    """The variable that carries the setting."""
    return MONGO_URI_VARIABLE if name == "mongo_uri" else ENVIRONMENT_PREFIX + name.upper()


def flag(name: str) -> str:
    """The flag that carries the setting, for those that have one."""
    return "--" + name.removesuffix("s" if name == "allow_destinations" else "").replace("_", "-")


def describe(name: str) -> str:
    """The setting's one line of meaning."""
    return next(meta.description or "" for meta in _FIELDS[name].type.__metadata__ if isinstance(meta, Meta))


def _read_file(path: str) -> dict[str, object]:
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InvalidSettings(f"The configuration file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The configuration file {path} is not TOML: {error}.") from None
    for name in table:
        if name not in _FIELDS:
            raise InvalidSettings(f"{path}: there is no setting {name!r}{_resembling(name, _FIELDS)}.")
    return {name: _convert(name, value, source=f"{path}: {name}") for name, value in table.items()}


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings among the variables. An empty variable counts as not set: that is what a compose file's
    `${NAME:-}` makes of a missing one."""
    names = {environment_variable(name): name for name in _FIELDS}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        if variable in names and text:
            values[names[variable]] = _convert(names[variable], text, source=variable)
        elif variable not in names and variable.startswith(ENVIRONMENT_PREFIX) and variable != CONFIG_FILE_VARIABLE:
            raise InvalidSettings(f"{variable}: there is no such setting{_resembling(variable, names)}.")
    return values


def _convert(name: str, value: object, *, source: str) -> object:
    """The value as the setting's type, lenient with text, as the environment and flags have nothing else."""
    if name in ("allow_destinations", "allowed_hosts", "cors_origins") and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if name in ("mongo_uri", "ca_file", "keys_file") and value == "":
        value = None  # TOML has no null
    if name == "log_level" and isinstance(value, str):
        value = value.upper()
    try:
        converted: object = msgspec.convert(value, _FIELDS[name].type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        # Text is all that the environment has: that it is text is not what is wrong with it.
        raise InvalidSettings(f"{source}: {str(error).removesuffix(', got `str`')}.") from None
    if name == "mongo_uri" and isinstance(converted, str):
        _check_mongo_uri(converted, source)
    if name == "lane_memory_bytes" and isinstance(converted, int) and 0 < converted < LEAST_LANE_MEMORY_BYTES:
        raise InvalidSettings(
            f"{source}: a collector's process needs {LEAST_LANE_MEMORY_BYTES:_} at least; 0 is no bound."
        )
    if name == "allow_destinations" and isinstance(converted, tuple):
        _check_destinations(converted, source)
    if name == "cors_origins" and isinstance(converted, tuple):
        _check_origins(converted, source)
    if name == "keys_file" and isinstance(converted, str):
        read_keys(converted)
    return converted


def _check_destinations(destinations: tuple[str, ...], source: str) -> None:
    try:
        DestinationPolicy.parse(destinations)
    except InvalidSettings as error:
        raise InvalidSettings(f"{source}: {error.detail}") from None


def _check_origins(origins: tuple[str, ...], source: str) -> None:
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
            raise InvalidSettings(f"{source}: {origin!r} is no origin; one is a scheme, a host and perhaps a port.")


def _check_mongo_uri(uri: str, source: str) -> None:
    """Refuse what the driver would refuse, before any worker is started. The driver's own words are not passed on:
    they quote the part they stumble over, which can be the password."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri, parse_userinfo, split_options

    if not re.match(r"mongodb(\+srv)?://.", uri):
        raise InvalidSettings(f"{source}: a MongoDB URI begins with mongodb:// or mongodb+srv://.")
    try:
        if uri.startswith("mongodb+srv"):  # parsed in parts: as a whole it is looked up, a misread password with it
            if (parts := _SRV_URI.fullmatch(uri)) is None:
                raise ValueError
            if parts["userinfo"] is not None:
                parse_userinfo(parts["userinfo"])
            if parts["options"]:
                split_options(parts["options"])
        else:
            if re.match(r"[^?]*://[^/?]*/[^?]*@", uri):  # the database's name, to the driver; half a password to us
                raise ValueError
            parse_uri(uri)
    except (PyMongoError, ValueError):
        raise InvalidSettings(
            f"{source}: this is not a valid MongoDB URI (special characters in the password must be percent-encoded)."
        ) from None


def _resembling(name: str, known: Mapping[str, object]) -> str:
    without_prefix = [name.removeprefix(ENVIRONMENT_PREFIX)]
    close = [at for at in without_prefix if at in known] or difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}" if close else ""
