"""The embedded database: SecantusDB as a child process on a loopback port, for trying out, development and tests.

Invariants:

* One program per data directory: it is locked before anything is started. The database child inherits the lock's
  descriptor, so the lock is held for as long as either of the two lives.
* It ends with its parent, also when the parent is killed (`parent_death`): so `start` and `spawn` are called in the
  main thread.
* A database that is started again has the same port and directory, so the URI that clients have stays right.
* A database that has panicked is killed (`panic_watch`), so that its owner starts another.

It listens on loopback and asks for a password. The first start makes the password, before any client is told the port,
and keeps it in the data directory for its owner alone (`password`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from metadata_inventory.errors import EmbeddedDatabaseFailed
from metadata_inventory.storage.embedded import panic_watch, parent_death, server
from metadata_inventory.storage.embedded.data_directory import Cancelled, DataDirectory, raise_if
from metadata_inventory.storage.embedded.password import USER, keep_password, make_user, read_password, read_users

PORT_ATTEMPTS = 5
POLL_S = 0.02
LOG_LIMIT_BYTES = 10_485_760


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
        """The URI with the password. It stays the same for this object's whole life after the first start."""
        user = f"{USER}:{self._password}@" if self._password else ""
        return f"mongodb://{user}{server.HOST}:{self.port}/?directConnection=true"

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
            self._password = read_password(self.password_file)
            if self._password:
                self._start_on_a_free_port(cancelled)
            else:
                self._start_for_the_first_time(cancelled)
        except OSError as error:  # the log or the process cannot be made
            self.stop(grace_s=0)
            raise EmbeddedDatabaseFailed(f"The embedded database cannot be started: {error}.") from error
        except BaseException:
            self.stop(grace_s=0)
            raise

    def lock(self, cancelled: Cancelled = _never) -> None:
        """Take the data directory before the start, as `start` would. Raises as `DataDirectory.lock`.

        Raises EmbeddedDatabaseFailed when the program is not installed; no directory is made then.
        """
        server.find_program()
        self._directory.lock(cancelled)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process on the port that was chosen, without waiting for an answer. The directory is locked."""
        if self._directory.fd is None or not self.port:
            raise RuntimeError("spawn is for a database that was started before")
        command = server.build_command(
            self.data_dir,
            self.port,
            with_password=bool(self._password),
            enable_test_commands=self._enable_test_commands,
        )
        with self._open_log() as log_stream:
            self.process = subprocess.Popen(
                parent_death.command(command),
                stdin=subprocess.DEVNULL,
                stdout=log_stream,
                stderr=log_stream,
                env=None if self._environ is None else dict(self._environ),
                pass_fds=(self._directory.fd,),
                umask=0o077,
                process_group=0,  # Ctrl-C in a terminal is for the service, which ends the database last
            )
        panic_watch.start(self.process, self.uri)
        return self.process

    def stop(self, grace_s: float = 10.0) -> None:
        """End the database: SIGTERM, after `grace_s` SIGKILL. Then release the directory. Harmless when repeated."""
        self._end(grace_s)
        self._directory.release()

    def _start_for_the_first_time(self, cancelled: Cancelled) -> None:
        """Start without a password, make the user, end, start with it. SecantusDB 0.7 takes no user by another way.

        The password is kept once it is certain that no other program has made a user meanwhile. A start that is
        interrupted before that, or finds such a user, is followed by another first one.
        """
        self._start_on_a_free_port(cancelled)
        password = secrets.token_urlsafe(32)
        make_user(self.uri, password)
        self._end()
        self._password = password
        self._start_on_a_free_port(cancelled)
        if read_users(self.uri) != [("admin", USER)]:
            raise EmbeddedDatabaseFailed(
                "Another program made itself a user of the embedded database while that had no password yet. "
                "The next start removes such users."
            )
        keep_password(self.password_file, password)

    def _end(self, grace_s: float = 10.0) -> None:
        if self.process is not None:
            server.end_gently(self.process, self.port, grace_s)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _start_on_a_free_port(self, cancelled: Cancelled) -> None:
        self._clear_log()
        for _ in range(PORT_ATTEMPTS):
            self.port = server.choose_port()
            self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            process = self.spawn()
            if self._await_answer(process, cancelled):
                return
            if not server.listens(self.port):  # then no other program had taken the port
                break
        raise EmbeddedDatabaseFailed(f"The embedded database ends as soon as it is started: {self._last_log_line()}")

    def _await_answer(self, process: subprocess.Popen[bytes], cancelled: Cancelled) -> bool:
        """True when our process answers, False when it ended."""
        deadline = time.monotonic() + self._start_timeout_s
        while process.poll() is None:
            raise_if(cancelled)
            if server.listens(self.port) and server.answering_pid(self.uri) == process.pid:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseFailed(
                    f"The embedded database does not answer within {self._start_timeout_s:g} s: {self._last_log_line()}"
                )
            time.sleep(POLL_S)
        return False

    def _open_log(self) -> IO[bytes]:
        return open(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _clear_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_LIMIT_BYTES:
                self.log_file.unlink()

    def _last_log_line(self) -> str:
        """The last line that the database has logged since this start, for the message of an error."""
        with contextlib.suppress(OSError):
            logged = self.log_file.read_bytes()[self._log_start :].decode(errors="replace").strip()
            if logged:
                return f"{logged.splitlines()[-1]} (more in {self.log_file})"
        return f"nothing was written to {self.log_file}."
