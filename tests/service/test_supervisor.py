"""The process tree of a running service: what is started and replaced, and that nothing outlives the service."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient

from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from tests.support.running import Service, alive, environment
from tests.support.waiting import GONE_S, wait_until

pytestmark = pytest.mark.timeout(120)

WORKER = "metadata_inventory.service.worker"
DATABASE = "secantus"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that answers, with two workers and the embedded database."""
    with Service(tmp_path, "--processes", "2") as service:
        service.wait_for_answer()
        yield service


def client(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=20_000, w="majority", journal=True)


def test_service_is_a_supervisor_with_workers_and_a_database(service: Service) -> None:
    assert len(service.children(WORKER)) == 2
    assert len(service.children(DATABASE)) == 1


def test_nothing_is_written_outside_the_data_directory(service: Service, tmp_path: Path) -> None:
    assert {path.name for path in tmp_path.iterdir()} == {"data", "service.log"}


def test_data_is_found_again_after_a_restart(tmp_path: Path) -> None:
    with Service(tmp_path) as first:
        first.wait_for_answer()
        with client(first.database_uri) as connection:
            connection.t.things.insert_one({"_id": 1})
        assert first.end() == 0
    with Service(tmp_path) as second:
        second.wait_for_answer()
        with client(second.database_uri) as connection:
            assert connection.t.things.find_one() == {"_id": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_end_leaves_no_process_and_status_0(service: Service, number: signal.Signals) -> None:
    below = service.descendants()
    assert service.end(number) == 0
    assert not [process for process in below if alive(process)]
    assert "is killed" not in service.log


def test_end_asked_during_the_start_leaves_no_process(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        wait_until(lambda: service.descendants(), 20, what="the database's start")
        below = service.descendants()
        assert service.end() == 0
        assert not [process for process in below if alive(process)]


def test_worker_that_is_asked_to_end_in_the_middle_of_its_start_ends(mongo_uri: str, tmp_path: Path) -> None:
    """The forkserver that it starts is suspended, so that the start does not end by itself."""
    with Service(tmp_path, environ={"MONGO_URI": mongo_uri}) as service:
        (forkserver,) = wait_until(lambda: service.children("forkserver")[:1], 20, what="the forkserver")
        forkserver.suspend()
        try:
            assert service.end() == 0
        finally:
            forkserver.resume()
        assert "is killed" not in service.log


@pytest.mark.skipif(sys.platform != "linux", reason="the database has a parent-death watch on Linux only")
def test_killed_supervisor_takes_everything_with_it(service: Service) -> None:
    below = service.descendants()
    assert len(below) >= 3
    service.process.kill()
    wait_until(lambda: not [process for process in below if alive(process)], GONE_S, what="the end of all processes")


def test_restart_right_after_a_kill_works(tmp_path: Path) -> None:
    with Service(tmp_path) as first:
        first.wait_for_answer()
        first.descendants()
        first.process.kill()
        with Service(tmp_path) as second:
            second.wait_for_answer()
            assert second.end() == 0


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    with Service(tmp_path, "--processes", "1") as service:
        service.wait_for_answer()
        killed = service.child(WORKER)
        killed.kill()
        wait_until(lambda: service.children(WORKER) not in ([], [killed]), 10, what="another worker")
        service.wait_for_answer()
        assert f"process {killed.pid} ended by SIGKILL" in service.log
        assert service.end() == 0


def test_killed_database_is_replaced_on_its_port_with_its_data(service: Service) -> None:
    uri = service.database_uri
    with client(uri) as connection:
        connection.t.things.insert_one({"_id": 1})
        killed = service.child(DATABASE)
        killed.kill()
        wait_until(lambda: service.children(DATABASE) not in ([], [killed]), 10, what="another database")
        assert service.database_uri == uri
        assert connection.t.things.find_one() == {"_id": 1}
    assert service.end() == 0


def test_second_service_on_the_data_directory_is_refused(service: Service, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "metadata_inventory", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert f"in use by another program (process {service.process.pid})" in line
    assert line.endswith("[data_directory_in_use]")
    assert service.answers()


def test_address_in_use_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Service(tmp_path, "--port", address.rpartition(":")[2]) as service:
            below = service.descendants()
            assert service.process.wait(30) == 2
            assert not [process for process in below if alive(process)]
    assert service.log.splitlines()[-1] == (
        f"error: Cannot listen on http://{address}: Address already in use. [address_in_use]"
    )


def test_nobody_is_let_in_before_the_database_asks_for_a_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()

    def let_in() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(address, timeout=5).close()
            return True
        return False

    with Service(tmp_path, "--port", str(address[1])):
        wait_until(let_in, 60, what="a connection")
        assert (tmp_path / "data" / "database.password").exists()


def test_host_that_does_not_resolve_is_refused(tmp_path: Path) -> None:
    with Service(tmp_path, "--host", "no-such-host.invalid") as service:
        assert service.process.wait(60) == 2
    assert service.log.splitlines()[-1].endswith("[address_in_use]")


def test_no_child_is_given_mongo_uri_or_keys(tmp_path: Path) -> None:
    database = EmbeddedDatabase(tmp_path / "elsewhere")
    database.start()
    secrets = ["mongo-uri-needle", "api-key-needle"]
    environ = {"MONGO_URI": f"{database.uri}&appName={secrets[0]}", "SOME_API_KEY": secrets[1]}
    try:
        with Service(tmp_path, environ=environ) as service:
            service.wait_for_answer()
            below = service.descendants()
            assert not service.children(DATABASE)
            assert below
            for process in below:
                shown = " ".join([*process.cmdline(), *process.environ().values()])
                assert not [secret for secret in secrets if secret in shown]
                assert "PYTHONPATH" in process.environ()
            assert service.end() == 0
            assert not [secret for secret in secrets if secret in service.log]
            assert not (tmp_path / "data").exists()
    finally:
        database.stop(grace_s=0)


def test_uri_that_the_driver_refuses_in_the_worker_is_not_quoted(tmp_path: Path) -> None:
    uri = "mongodb+srv://user:needle@cluster.example.net/?directConnection=true&appName=needle"
    with Service(tmp_path, environ={"MONGO_URI": uri}) as service:
        wait_until(lambda: "driver does not take the URI (ConfigurationError)" in service.log, 30, what="the refusal")
        assert "mongodb+srv://***@cluster.example.net/\n" in service.log
        assert "needle" not in service.log


def test_worker_that_does_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    with Service(tmp_path, environ={"INVENTORY_SHUTDOWN_GRACE_S": "0.5"}) as service:
        service.wait_for_answer()
        stuck = service.child(WORKER)
        stuck.suspend()
        assert service.end() == 0
        assert not alive(stuck)
        assert f"process {stuck.pid} does not end and is killed" in service.log


def test_second_signal_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    with Service(tmp_path, environ={"INVENTORY_SHUTDOWN_GRACE_S": "600"}) as service:
        service.wait_for_answer()
        service.child(WORKER).suspend()
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "ending" in service.log, 10, what="the first signal taken")
        assert service.end() == 0


def test_every_worker_serves(service: Service) -> None:
    """Each accepts connections on the inherited socket: while one of them is suspended, the other answers."""
    for worker in service.children(WORKER):
        worker.suspend()
        service.wait_for_answer()
        worker.resume()


def test_worker_without_a_supervisor_ends() -> None:
    alone = subprocess.run(
        [sys.executable, "-m", WORKER],
        stdin=subprocess.DEVNULL,
        env=environment(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert alone.returncode == 1
    assert b"started by the supervisor" in alone.stderr


def test_database_log_keeps_what_it_said(service: Service, tmp_path: Path) -> None:
    assert (tmp_path / "data" / "database.log").exists()
    assert psutil.Process(service.child(DATABASE).pid).ppid() == service.process.pid


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_listening_for_everybody_without_keys_is_told(tmp_path: Path, host: str, warned: bool) -> None:
    with Service(tmp_path, "--host", host) as service:
        assert service.url
        assert ("no API keys are asked for" in service.log) == warned
        assert ("client_rate_per_s sets no limit" in service.log) == warned


def test_limit_for_everybody_is_not_called_none(tmp_path: Path) -> None:
    with Service(tmp_path, "--host", "0.0.0.0", environ={"INVENTORY_CLIENT_RATE_PER_S": "1"}) as service:
        assert service.url
        assert "no API keys are asked for" in service.log
        assert "client_rate_per_s" not in service.log
