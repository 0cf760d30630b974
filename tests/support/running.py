"""Starts the program as its users start it, in processes of its own, and shows those processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

import metadata_inventory
from tests.support.waiting import wait_until

ROOT = Path(metadata_inventory.__file__).parents[1]

# The running test if it lacks the marker `service`: the marker decides under which Pythons a test runs. Set by
# tests/conftest.py.
unmarked_test = ""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without the program's settings, and a PYTHONPATH that finds the program."""
    kept = {
        name: value for name, value in os.environ.items() if name != "MONGO_URI" and not name.startswith("INVENTORY_")
    }
    return kept | {"PYTHONPATH": str(ROOT)} | more


def with_database(mongo_uri: str, **more: str) -> dict[str, str]:
    """These settings (by variable), with a new database on the server."""
    return {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": f"test_{uuid.uuid4().hex[:12]}", **more}


class Service:
    """Runs `metadata-inventory serve` on a free port. On leaving the context all of its processes have ended."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "metadata_inventory"),
        path: Sequence[Path] = (),
    ) -> None:
        """`command` starts the program; `path` is put in front of the PYTHONPATH of its processes."""
        if unmarked_test:
            raise AssertionError(f"{unmarked_test} starts the service and lacks the marker: pytest.mark.service")
        paths = os.pathsep.join(str(directory) for directory in (*path, ROOT))
        self.log_file = directory / "service.log"
        self._seen: dict[int, psutil.Process] = {}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "serve", "--data-dir", "data", "--port", "0", *arguments],
                cwd=directory,
                env=environment(PYTHONPATH=paths, **(environ or {})),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def url(self) -> str:
        """The base URL, once the service listens."""

        def listening() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return re.search(r"listening on (http://\S+)\n", self.log)

        found = wait_until(listening, 30, what="listening")
        assert found is not None
        return found[1]

    @property
    def database_uri(self) -> str:
        command = self.child("secantus").cmdline()
        port, storage = (command[command.index(option) + 1] for option in ("--port", "--storage-path"))
        password = (Path(storage).parent / "database.password").read_text()
        return f"mongodb://inventory:{password}@127.0.0.1:{port}/?directConnection=true"

    def descendants(self) -> list[psutil.Process]:
        """All descendant processes at this moment. Each is remembered, so that leaving the context ends it."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        self._seen |= {process.pid: process for process in found}
        return found

    def children(self, word: str) -> list[psutil.Process]:
        """The running descendants that have the word in their command line."""
        return [process for process in self.descendants() if word in " ".join(_command(process)) and alive(process)]

    def child(self, word: str) -> psutil.Process:
        (found,) = self.children(word)
        return found

    def lanes(self) -> list[psutil.Process]:
        """The lane processes: children of a forkserver, with the forkserver's command line."""
        forked = self.children("forkserver")
        pids = {process.pid for process in forked}
        return [process for process in forked if process.ppid() in pids]

    def answers(self, path: str = "/livez") -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return int(response.status) == 200
        except OSError:
            return False

    def wait_for_answer(self) -> None:
        wait_until(self.answers, 30, what="an answer")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        self.descendants()
        self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.descendants()
            self.process.terminate()  # not killed: a process writes its coverage when it ends
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
        for process in self._seen.values():
            if alive(process):
                process.kill()


def alive(process: psutil.Process) -> bool:
    """Whether the process runs: it has neither ended nor become a zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
