"""The embedded database: SecantusDB as a child process on a loopback port, for trying out, development and tests.

It is a separate program, reached over MongoDB's wire protocol and never imported. Invariants:

* One program per data directory: it is locked before anything is started. The database child inherits the lock's
  descriptor, so the lock is held for as long as either of the two lives.
* It ends with its parent, also when that is killed (`tether`), so `start` and `spawn` belong to the main thread.
* A database that is started again has the same port and directory: the URI that clients have stays right.
* A database that can do nothing any more is killed, so that whoever keeps it alive starts another. SecantusDB 0.7.0b3
  does not end by itself when a write to its journal fails, as on a full disk: WiredTiger panics, and from then on
  every read and write is answered by an internal error, with room on the disk or without.

It listens on loopback and asks for a password, which is made on the first start, before anybody is told the port, and
kept in the data directory for its owner alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from metadata_inventory.errors import EmbeddedDatabaseFailed
from metadata_inventory.storage.embedded import parent_death
from metadata_inventory.storage.embedded.data_directory import Cancelled, DataDirectory, raise_if

if TYPE_CHECKING:
    from typing import Any

    from pymongo import MongoClient

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Below the range that Linux takes ports of outgoing connections from (32768–60999 by default). Within it, a collector's
# connection could occupy the port while the database is being replaced, and so could a client that tries to reach it:
# a connect to a free loopback port of that range now and then gets the port itself as its source (a self-connect).
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 5
POLL_S = 0.02
# WiredTiger's cache; the program's own default of 1 GiB is much for something that is tried out on a laptop.
CACHE_SIZE = "256M"
LOG_LIMIT_BYTES = 10_485_760
USER = "inventory"
# How often a database is asked whether it still reads, and so many wrong answers in a row are a panic.
WATCH_S = 1.0
PANIC_AFTER = 2
INTERNAL_ERROR = 1


def _never() -> bool:
    return False


class EmbeddedDatabase:
    """One data directory and the database process on it. Not thread-safe: used from the main thread."""

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        environ: Mapping[str, str] | None = None,
        enable_test_commands: bool = False,
        start_timeout_s: float = 30.0,
    ) -> None:
        """`environ` is the child's whole environment (None: ours). `enable_test_commands` allows `failCommand`."""
        self.data_dir = Path(data_dir).absolute()
        self.port = 0
        self._password = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._environ = environ
        self._enable_test_commands = enable_test_commands
        self._start_timeout_s = start_timeout_s
        self._directory = DataDirectory(self.data_dir)
        self._log_start = 0

    @property
    def uri(self) -> str:
        """Where clients reach it, with the password; the same for this object's whole life once it was started."""
        user = f"{USER}:{self._password}@" if self._password else ""
        return f"mongodb://{user}{HOST}:{self.port}/?directConnection=true"

    @property
    def password_file(self) -> Path:
        return self.data_dir / "database.password"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "database.log"

    def start(self, cancelled: Cancelled = _never) -> None:
        """Lock the directory, start the database and wait until it answers.

        Raises DataDirectoryInUse, EmbeddedDatabaseFailed; the latter also soon after `cancelled` turned true. After
        an exception nothing is left running or locked.
        """
        try:
            self.lock(cancelled)
            self._password = _read_password(self.password_file)
            if self._password:
                self._start_on_a_free_port(cancelled)
            else:
                self._start_for_the_first_time(cancelled)
        except OSError as error:  # no room for the log, no process to be had
            self.stop(grace_s=0)
            raise EmbeddedDatabaseFailed(f"The embedded database cannot be started: {error}.") from error
        except BaseException:
            self.stop(grace_s=0)
            raise

    def lock(self, cancelled: Cancelled = _never) -> None:
        """Take the data directory before the start, as `start` would. Raises as `DataDirectory.lock`.

        Raises EmbeddedDatabaseFailed when the program is not installed; no directory is made then.
        """
        _find_program()
        self._directory.lock(cancelled)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process on the port that was chosen, without waiting for an answer. The directory is locked."""
        if self._directory.fd is None or not self.port:
            raise RuntimeError("spawn is for a database that was started before")
        with self._open_log() as log_stream:
            self.process = subprocess.Popen(
                parent_death.command(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log_stream,
                stderr=log_stream,
                env=None if self._environ is None else dict(self._environ),
                pass_fds=(self._directory.fd,),
                umask=0o077,
                process_group=0,  # Ctrl-C in a terminal is for the service, which ends the database last
            )
        threading.Thread(target=_watch, args=(self.process, self.uri), name="database watch", daemon=True).start()
        return self.process

    def stop(self, grace_s: float = 10.0) -> None:
        """End the database: SIGTERM, after `grace_s` SIGKILL. Then let go of the directory. Harmless when repeated."""
        self._end(grace_s)
        self._directory.release()

    def _end_gently(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        """SIGTERM, and what SecantusDB 0.7.0b3 needs besides to take notice of it.

        Its end waits 2 s for a thread that sleeps in accept(): a connection wakes that. And about one SIGTERM in
        thirty reaches a thread of it that is not Python's main thread, which sleeps on: while it goes on accepting
        connections it has not noticed, and is told again. (Not sooner: a second signal would break off its end.)
        """
        deadline = time.monotonic() + grace_s
        process.terminate()
        knocks = 0
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return
            if _listens(self.port):
                knocks += 1
                if knocks % 6 == 0:
                    process.terminate()

    def _start_for_the_first_time(self, cancelled: Cancelled) -> None:
        """Start without a password, make the user, end, start with it. SecantusDB 0.7 takes no user by another way.

        The password is kept once it is certain that nobody else has made a user meanwhile: a start that is cut off
        before that, or finds one, is followed by another first one.
        """
        self._start_on_a_free_port(cancelled)
        password = secrets.token_urlsafe(32)
        _make_user(self.uri, password)
        self._end()
        self._password = password
        self._start_on_a_free_port(cancelled)
        if _read_users(self.uri) != [("admin", USER)]:
            raise EmbeddedDatabaseFailed(
                "Another program made itself a user of the embedded database while that had no password yet. "
                "The next start removes such users."
            )
        self._keep_password(password)

    def _keep_password(self, password: str) -> None:
        unfinished = self.password_file.with_suffix(".unfinished")
        # Another file or a link of that name could be for others to read: the password goes into a new file only.
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(password)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(self.password_file)

    def _end(self, grace_s: float = 10.0) -> None:
        if self.process is not None:
            self._end_gently(self.process, grace_s)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _start_on_a_free_port(self, cancelled: Cancelled) -> None:
        self._clear_log()
        for _ in range(PORT_ATTEMPTS):
            self.port = _choose_port()
            self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            process = self.spawn()
            if self._await_answer(process, cancelled):
                return
            if not _listens(self.port):  # then it was not another program that was quicker to take the port
                break
        raise EmbeddedDatabaseFailed(f"The embedded database ends as soon as it is started: {self._last_words()}")

    def _await_answer(self, process: subprocess.Popen[bytes], cancelled: Cancelled) -> bool:
        """True when our process answers, False when it ended."""
        deadline = time.monotonic() + self._start_timeout_s
        while process.poll() is None:
            raise_if(cancelled)
            if _listens(self.port) and _answering_pid(self.uri) == process.pid:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseFailed(
                    f"The embedded database does not answer within {self._start_timeout_s:g} s: {self._last_words()}"
                )
            time.sleep(POLL_S)
        return False

    def _command(self) -> list[str]:
        # Always given: without it the program takes up a secantusd.toml that lies about here or in the home directory.
        config = self.data_dir / "database.toml"
        config.write_text("# Left empty on purpose: the embedded database is configured by its command line.\n")
        command = [*_find_program(), "--config", str(config), "--host", HOST, "--port", str(self.port)]
        command += ["--storage-path", str(self.data_dir / "database"), "--standalone", "--log-level", "WARNING"]
        command += ["--cache-size", CACHE_SIZE]
        if self._password:
            command.append("--auth")
        if self._enable_test_commands:
            command.append("--enable-test-commands")
        return command

    def _open_log(self) -> Any:
        return open(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _clear_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_LIMIT_BYTES:
                self.log_file.unlink()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            said = self.log_file.read_bytes()[self._log_start :].decode(errors="replace").strip()
            if said:
                return f"{said.splitlines()[-1]} (more in {self.log_file})"
        return f"it left no word in {self.log_file}."


def _find_program() -> list[str]:
    """The command that runs SecantusDB: as a module of our own interpreter, or a script installed elsewhere."""
    if importlib.util.find_spec("secantus") is not None:
        return [sys.executable, "-P", "-m", "secantus"]
    script = shutil.which("secantusd-py")
    if script is None:
        raise EmbeddedDatabaseFailed(
            "SecantusDB is not installed. Install it (pip install 'metadata-inventory[embedded]'), "
            "or set MONGO_URI to a MongoDB."
        )
    return [script]


def _choose_port() -> int:
    """A port that nobody has. Somebody may be quicker to take it: the caller has to notice and try another."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EmbeddedDatabaseFailed(f"There is no free port from {PORTS.start} to {PORTS.stop - 1} on {HOST}.")


def _listens(port: int) -> bool:
    # Asked first, as the driver tries only twice a second.
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _read_password(path: Path) -> str:
    """The password; "" without such a file. One that others may read is made private; one of another user is refused.

    Raises EmbeddedDatabaseFailed, OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with open(descriptor, encoding="ascii") as file:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
            raise EmbeddedDatabaseFailed(
                f"{path}, which holds the embedded database's password, is not a file of the user that the service "
                "runs as. Run it as that file's owner, or remove the file: another password is made then."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
            logger.warning(
                "others could read or change %s, which holds the embedded database's password; its mode is 0600 now. "
                "Whoever read it knows the password still: without that file, the next start makes another one",
                path,
            )
        return file.read().strip()


def _make_user(uri: str, password: str) -> None:
    """The one user; any other goes, such as that of a start that was cut off."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=10_000) as client:
        for database in {database for database, _ in _read_users(uri)}:
            client[database].command("dropAllUsersFromDatabase")
        client.admin.command("createUser", USER, pwd=password, roles=["root"])


def _read_users(uri: str) -> list[tuple[str, str]]:
    """Every user, with the database that it logs in to. SecantusDB 0.7 does not know usersInfo's `forAllDBs`."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=10_000) as client:
        users: list[dict[str, Any]] = list(client.admin["system.users"].find())
    return [(user["db"], user["user"]) for user in users]


def _answering_pid(uri: str) -> int | None:
    """The process id that the server gives as its own: another program may have taken the port."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]]
    client = MongoClient(uri, serverSelectionTimeoutMS=1000, timeoutMS=2000)
    try:
        pid = client.admin.command("serverStatus").get("pid")
        return None if pid is None else int(pid)
    except PyMongoError:
        return None
    finally:
        client.close()


def _watch(process: subprocess.Popen[bytes], uri: str) -> None:
    """Kill a database that has panicked. Until its owner has noticed the end: `poll` and `wait` are the owner's alone.

    Two threads that ask a Popen at once can both miss the end, and then nobody would start the next.
    """
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    wrong = 0
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=2000, serverSelectionTimeoutMS=2000) as client:
        while process.returncode is None and wrong < PANIC_AFTER:
            time.sleep(WATCH_S)
            try:
                client.local.watched.find_one()
                wrong = 0
            except OperationFailure as error:
                wrong = wrong + 1 if error.code == INTERNAL_ERROR else 0
            except PyMongoError:  # starting, stopped or slow
                wrong = 0
    if process.returncode is None:
        logger.error("the embedded database reads nothing any more (is the disk full?) and is killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
