"""API keys: made and revoked on the command line, kept hashed in a file, checked for every request.

A key is `mi_<id>_<secret>`; the secret is 256 random bits, so a plain SHA-256 of it is as good as any slow hash. The
file is replaced as a whole and noticed within a second. Without a file nobody is asked for a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from metadata_inventory.errors import InvalidSettings

logger = logging.getLogger(__name__)

NOTICED_S = 1.0
_KEY = re.compile(r"mi_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_HASH = "0" * 64


class Scope(StrEnum):
    """What a key allows."""

    READ = "read"  # see what is stored
    COLLECT = "collect"  # start collections
    ADMIN = "admin"  # see the queue, put failed collections back


class ApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as the file has it. `id` is public, `sha256` is the secret's, hex."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]
    name: str
    scopes: tuple[Scope, ...]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: datetime


def make_key(name: str, scopes: Sequence[Scope], now: datetime) -> tuple[ApiKey, str]:
    """A new key, and the text that its holder sends; that is told this once and kept nowhere."""
    secret = secrets.token_urlsafe(32)
    key_id = secrets.token_hex(6)
    key = ApiKey(id=key_id, name=name, scopes=tuple(scopes), sha256=_hash(secret), created_at=now)
    return key, f"mi_{key_id}_{secret}"


def read_keys(path: str | os.PathLike[str]) -> tuple[ApiKey, ...]:
    """The keys of a file. Raises InvalidSettings when it cannot be read or is no such file."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=tuple[ApiKey, ...])
    except OSError as error:
        raise InvalidSettings(f"The keys file {path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The keys file {path} is not a list of keys: {error}.") from None


def write_keys(path: str | os.PathLike[str], keys: Sequence[ApiKey]) -> None:
    """Replace the file at once. A new one is for its owner alone; else owner and mode stay. Raises OSError."""
    target = Path(path)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                before = target.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)  # the service's user is to read it on
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(msgspec.json.format(msgspec.json.encode(list(keys))) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


class KeyRing:
    """The keys in force: those of the file as it is now. While that cannot be read there is none."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidSettings."""
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._keys = {key.id: key for key in read_keys(path)}
        self._looked_at = clock()

    def find(self, token: str) -> ApiKey | None:
        """The key that the token proves, compared in constant time; None when it proves none."""
        self._look_again()
        match = _KEY.fullmatch(token)
        key_id, secret = match.groups() if match else ("", "")
        key = self._keys.get(key_id)
        proven = hmac.compare_digest(_hash(secret), key.sha256 if key else _NO_HASH)
        return key if proven else None

    def _look_again(self) -> None:
        if self._clock() - self._looked_at < NOTICED_S:
            return
        self._looked_at = self._clock()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = {key.id: key for key in read_keys(self._path)}
            except InvalidSettings as error:  # it may have revoked the very key that asks
                logger.error("no API key is accepted: %s", error)
                self._keys = {}


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _stamp(path: str) -> tuple[int, int, int]:
    """What tells one version of the file from the next: it is replaced, never written in place."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
