"""The embedded database, as a real process on a real directory."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from metadata_inventory.errors import DataDirectoryInUse, EmbeddedDatabaseFailed, InvalidSettings
from metadata_inventory.storage.embedded import data_directory, server
from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from metadata_inventory.storage.embedded.password import keep_password, read_password
from tests.support.running import alive, environment
from tests.support.waiting import GONE_S, wait_until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "data")
    yield database
    database.stop(grace_s=0)


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that play two programs in one process: a lock that names our own process counts as an orphan's."""
    monkeypatch.setattr(data_directory, "ORPHAN_WAIT_S", 0.3)


def client(database: EmbeddedDatabase) -> MongoClient[dict[str, Any]]:
    return MongoClient(database.uri, serverSelectionTimeoutMS=10_000, w="majority", journal=True)


def pid(database: EmbeddedDatabase) -> int:
    assert database.process is not None
    return database.process.pid


def test_data_is_found_again_after_a_stop(database: EmbeddedDatabase) -> None:
    database.start()
    with client(database) as connection:
        connection.t.things.insert_one({"_id": 1})
    first = database.process
    assert first is not None
    database.stop()
    assert first.returncode == 0
    database.start()
    with client(database) as connection:
        assert connection.t.things.find_one() == {"_id": 1}


def test_replacement_of_a_killed_database_has_its_port_and_data(database: EmbeddedDatabase) -> None:
    database.start()
    uri = database.uri
    with client(database) as connection:
        connection.t.things.insert_one({"_id": 1})
        os.kill(pid(database), signal.SIGKILL)
        assert database.process is not None
        database.process.wait()
        database.spawn()
        assert database.uri == uri
        wait_until(lambda: server.listens(database.port), 20)
        assert connection.t.things.find_one() == {"_id": 1}


@pytest.mark.parametrize("connected", [True, False])
def test_stop_needs_no_killing_with_clients_connected_or_without(database: EmbeddedDatabase, connected: bool) -> None:
    database.start()
    process = database.process
    assert process is not None
    connection: MongoClient[dict[str, Any]] = MongoClient(database.uri, serverSelectionTimeoutMS=100)
    if connected:
        connection.admin.command("ping")
    began_at = time.monotonic()
    database.stop(grace_s=30)
    assert process.returncode == 0
    assert time.monotonic() - began_at < 10
    connection.close()


def test_stop_repeats_a_signal_that_was_not_noticed(database: EmbeddedDatabase) -> None:
    """SecantusDB misses about one in thirty. A program that ignores the first one stands for it here."""
    program = (
        "import signal, socket, sys\n"
        "signals = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0) if signals else signals.append(1))\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "print(listening.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    listening.accept()[0].close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    database.port = int(process.stdout.readline())
    database.process = process
    database.stop(grace_s=20)
    assert process.returncode == 0
    process.stdout.close()


def test_stop_is_harmless_when_repeated_or_never_started(database: EmbeddedDatabase) -> None:
    database.stop()
    database.start()
    database.stop()
    database.stop()


def test_directory_is_made_for_its_owner_alone(database: EmbeddedDatabase) -> None:
    database.start()
    assert database.data_dir.stat().st_mode & 0o777 == 0o700


def test_a_configuration_file_that_lies_about_is_not_read(
    database: EmbeddedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secantusd.toml").write_text("this is no TOML")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    database.start()


@pytest.mark.usefixtures("short_wait")
def test_second_program_on_the_directory_is_told_who_has_it(database: EmbeddedDatabase) -> None:
    database.lock()
    second = EmbeddedDatabase(database.data_dir)
    with pytest.raises(DataDirectoryInUse, match=rf"in use by another program \(process {os.getpid()}\)"):
        second.start()
    assert second.process is None


@pytest.mark.usefixtures("short_wait")
def test_lock_is_held_for_as_long_as_the_database_lives(database: EmbeddedDatabase) -> None:
    database.start()
    process = database.process
    assert process is not None
    database._directory.release()
    second = EmbeddedDatabase(database.data_dir)
    with pytest.raises(DataDirectoryInUse):
        second.lock()
    process.kill()
    process.wait()
    second.lock()
    second.stop()


def test_lock_is_waited_for_while_its_holder_ends(database: EmbeddedDatabase) -> None:
    database.lock()
    threading.Timer(0.3, database._directory.release).start()
    second = EmbeddedDatabase(database.data_dir)
    second.lock()
    second.stop()


def test_directory_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="Not a directory"):
        EmbeddedDatabase(tmp_path / "file" / "data").start()


def test_another_port_is_tried_when_another_program_took_the_first(
    database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((server.HOST, 0)) as other:
        taken, choose = [other.getsockname()[1]], server.choose_port
        monkeypatch.setattr(server, "choose_port", lambda: taken.pop() if taken else choose())
        database.start()
        assert database.port != other.getsockname()[1]


def test_database_that_cannot_start_says_why_and_leaves_nothing(database: EmbeddedDatabase) -> None:
    (database.data_dir / "database").mkdir(parents=True)
    (database.data_dir / "database" / "WiredTiger").mkdir()
    with pytest.raises(EmbeddedDatabaseFailed, match=r"ends as soon as it is started: .+ \(more in .+database\.log\)"):
        database.start()
    assert database.process is None
    EmbeddedDatabase(database.data_dir).lock()


def test_start_can_be_cancelled(database: EmbeddedDatabase) -> None:
    with pytest.raises(EmbeddedDatabaseFailed, match="interrupted"):
        database.start(cancelled=lambda: True)
    assert database.process is None


def test_absent_program_is_named_with_the_remedy(database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EmbeddedDatabaseFailed, match=r"not installed.*MONGO_URI"):
        database.start()
    assert not database.data_dir.exists()


@pytest.mark.parametrize("allowed", [True, False])
def test_fail_points_are_there_for_tests_only(tmp_path: Path, allowed: bool) -> None:
    database = EmbeddedDatabase(tmp_path / "data", enable_test_commands=allowed)
    database.start()
    command = {"configureFailPoint": "failCommand", "mode": "off"}
    try:
        with client(database) as connection:
            if allowed:
                connection.admin.command(command)
            else:
                with pytest.raises(OperationFailure):
                    connection.admin.command(command)
    finally:
        database.stop(grace_s=0)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death watch is PR_SET_PDEATHSIG")
def test_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from metadata_inventory.storage.embedded.database import EmbeddedDatabase\n"
        "database = EmbeddedDatabase(sys.argv[1])\n"
        "database.start()\n"
        "print(database.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    wait_until(lambda: not alive(child), GONE_S, what="the database's end")
    parent.communicate()


def test_database_asks_for_the_password_that_its_owner_alone_may_read(database: EmbeddedDatabase) -> None:
    database.start()
    assert stat.S_IMODE(database.password_file.stat().st_mode) == 0o600
    password = database.password_file.read_text()
    assert len(password) >= 43
    assert f":{password}@" in database.uri
    with client(database) as connection:
        connection.t.things.insert_one({"_id": 1})
        users = connection.admin.command("usersInfo")["users"]
        assert [user["user"] for user in users] == ["inventory"]
    # A client for each attempt: after a refused login the driver waits 10 s for its next look at the server.
    for credentials in ("", "inventory:wrong@", f"other:{password}@"):
        uri = f"mongodb://{credentials}127.0.0.1:{database.port}/?directConnection=true"
        with MongoClient[dict[str, Any]](uri) as refused, pytest.raises(OperationFailure):
            refused.t.things.find_one()
        with MongoClient[dict[str, Any]](uri) as refused, pytest.raises(OperationFailure):
            refused.list_database_names()
    assert password not in database.log_file.read_text()
    assert database.process is not None
    assert password not in " ".join(psutil.Process(database.process.pid).cmdline())


def test_password_is_written_into_no_file_that_lay_there(database: EmbeddedDatabase, tmp_path: Path) -> None:
    """Neither into a file that others can read, nor to where a link leads."""
    database.data_dir.mkdir()
    unfinished = database.password_file.with_suffix(".unfinished")
    unfinished.touch()
    unfinished.chmod(0o666)
    with unfinished.open() as held_by_another:
        keep_password(database.password_file, "first")
        assert stat.S_IMODE(database.password_file.stat().st_mode) == 0o600
        assert held_by_another.read() == ""
    (tmp_path / "elsewhere").touch()
    unfinished.symlink_to(tmp_path / "elsewhere")
    keep_password(database.password_file, "second")
    assert (tmp_path / "elsewhere").read_text() == ""
    assert database.password_file.read_text() == "second"
    assert not database.password_file.is_symlink()
    assert not unfinished.exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_password_file_that_others_may_use_is_made_private_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    file = tmp_path / "database.password"
    file.write_text("secret-needle\n")
    file.chmod(mode)
    assert read_password(file) == "secret-needle"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "others could read or change" in record.message
    assert "needle" not in record.message
    assert read_password(file) == "secret-needle"
    assert len(caplog.records) == 1  # told once


def test_password_file_that_is_no_file_is_refused_and_nothing_is_started(database: EmbeddedDatabase) -> None:
    database.data_dir.mkdir()
    database.password_file.symlink_to("elsewhere")
    with pytest.raises(EmbeddedDatabaseFailed, match="cannot be started"):
        database.start()
    database.password_file.unlink()
    os.mkfifo(database.password_file)
    with pytest.raises(EmbeddedDatabaseFailed, match="is not a file of the user"):
        database.start()
    assert not database.log_file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_password_file_of_another_user_is_refused_and_nothing_is_started(database: EmbeddedDatabase) -> None:
    database.data_dir.mkdir()
    database.password_file.write_text("secret-needle")
    database.password_file.chmod(0o600)
    os.chown(database.password_file, 12345, 12345)
    with pytest.raises(EmbeddedDatabaseFailed, match="is not a file of the user") as refused:
        database.start()
    assert "needle" not in refused.value.detail
    assert not database.log_file.exists()


class Intruded(EmbeddedDatabase):
    """Another user of the machine finds the port in the second in which no password is asked for."""

    intruders = 1

    def _end(self, grace_s: float = 10.0) -> None:
        if self.process is not None and not self._password and self.intruders:
            self.intruders -= 1
            with client(self) as connection:
                connection.elsewhere.command("createUser", "intruder", pwd="x", roles=["root"])
        super()._end(grace_s)


def test_user_that_somebody_else_made_before_there_was_a_password_stops_the_start_and_is_gone_in_the_next(
    tmp_path: Path,
) -> None:
    database = Intruded(tmp_path / "data")
    with pytest.raises(EmbeddedDatabaseFailed, match="made itself a user"):
        database.start()
    assert database.process is None
    assert not database.password_file.exists()
    other = EmbeddedDatabase(tmp_path / "data")
    other.start()
    try:
        with client(other) as connection:
            connection.t.things.insert_one({"_id": 1})
        uri = f"mongodb://intruder:x@127.0.0.1:{other.port}/elsewhere?directConnection=true"
        with MongoClient(uri) as intruder, pytest.raises(OperationFailure):
            intruder.t.things.find_one()
    finally:
        other.stop(grace_s=0)


def test_start_that_was_interrupted_before_the_password_was_kept_is_repaired_by_the_next(
    database: EmbeddedDatabase,
) -> None:
    database.start()
    with client(database) as connection:
        connection.t.things.insert_one({"_id": 1})
    database.stop()
    database.password_file.unlink()
    database.start()
    with client(database) as connection:
        assert connection.t.things.find_one() == {"_id": 1}
