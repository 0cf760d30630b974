"""What holds across processes: a URL is collected once at a time, and a lane process holds no secret and no socket."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until

LOOPBACK = ("--allow-loopback",)
BRIEF_LEASES = {"INVENTORY_LEASE_S": "4", "INVENTORY_RENEW_S": "1", "INVENTORY_STORAGE_TIMEOUT_S": "3"}


def test_concurrent_requests_to_several_processes_start_one_collection(mongo_uri: str, tmp_path: Path) -> None:
    """Two services of two workers each, on one database: POSTs and GETs of one URL make one request to the origin."""
    environ = with_database(mongo_uri)
    directories = [tmp_path / name for name in ("one", "two")]
    for directory in directories:
        directory.mkdir()
    with (
        Origin() as origin,
        Service(directories[0], "--processes", "2", *LOOPBACK, environ=environ) as one,
        Service(directories[1], "--processes", "2", *LOOPBACK, environ=environ) as two,
        ThreadPoolExecutor(40) as threads,
    ):
        for service in (one, two):
            service.wait_for_answer()
        origin.hold("/")
        asked = [threads.submit(post, (one, two)[n % 2], origin.url("/"), wait_s=0) for n in range(20)]
        asked += [threads.submit(get, (one, two)[n % 2], origin.url("/")) for n in range(20)]
        assert {future.result()[0] for future in asked} == {202}
        origin.wait_for("/", 1)
        waiting = [threads.submit(get, (one, two)[n % 2], origin.url("/"), wait_s=30) for n in range(10)]
        origin.release("/")
        answers = [future.result() for future in waiting]
        assert {status for status, _ in answers} == {200}
        assert len({record["fetched_at"] for _, record in answers}) == 1
        assert origin.count("/") == 1


def test_pending_document_outlives_every_process(tmp_path: Path) -> None:
    """The job of a 202 is not lost: the service is killed before the origin responds; the next one collects the URL."""
    with Origin() as origin:
        origin.hold("/")
        with Service(tmp_path, *LOOPBACK, environ=BRIEF_LEASES) as service:
            service.wait_for_answer()
            assert get(service, origin.url("/"))[0] == 202
            origin.wait_for("/", 1)
            service.end(signal.SIGKILL)
        origin.release("/")
        with Service(tmp_path, *LOOPBACK, environ=BRIEF_LEASES) as service:
            service.wait_for_answer()
            status, body = get(service, origin.url("/"), wait_s=30)
            assert status == 200
            assert "Hello." in body["page_source"]


SECRET = "hush-0b5e1f7c2d"

SPY = """
import os, signal, sys

def report(*_):
    directory = os.environ["PYTHONSPYDIR"]
    with open(f"{directory}/{os.getpid()}.part", "w") as file:
        file.write("\\n".join([*sys.modules, "", *os.environ]))
    os.rename(f"{directory}/{os.getpid()}.part", f"{directory}/{os.getpid()}.report")

signal.signal(signal.SIGUSR1, report)
"""


@pytest.mark.parametrize("how", ["module", "console script"])
def test_collector_process_is_free_of_framework_driver_settings_and_secrets(tmp_path: Path, how: str) -> None:
    """Seen from inside: Python imports `sitecustomize` in every process; the one here writes a report on a signal."""
    (tmp_path / "sitecustomize.py").write_text(SPY)
    script = shutil.which("metadata-inventory", path=str(Path(sys.executable).parent))
    if how == "console script" and script is None:
        script = str(tmp_path / "metadata-inventory")
        Path(script).write_text("import sys\nfrom metadata_inventory.cli.main import main\nsys.exit(main())\n")
    environ = {
        "PYTHONSPYDIR": str(tmp_path),
        "INVENTORY_FAILURE_TTL_S": "77",
        "SECRET_KEY": SECRET,
        "MONGO_URI": f"mongodb://user:{SECRET}@127.0.0.1:1/",
    }
    command = [sys.executable, "-m", "metadata_inventory"] if how == "module" else [sys.executable, script or ""]
    with Service(tmp_path, *LOOPBACK, environ=environ, command=command, path=[tmp_path]) as service:
        service.wait_for_answer()
        lanes = wait_until(lambda: service.lanes(), 30)
        assert len(lanes) == 2
        worker = service.child("metadata_inventory.service.worker")
        for lane in lanes:
            lane.send_signal(signal.SIGUSR1)
            report = tmp_path / f"{lane.pid}.report"
            wait_until(report.exists, 10)
            modules, variables = (part.split("\n") for part in report.read_text().split("\n\n"))
            assert "metadata_inventory.collect.engine.entry" in modules
            assert "pycurl" in modules
            ours = {
                "metadata_inventory.service.settings",
                "metadata_inventory.service.bootstrap",
                "metadata_inventory.service.supervisor",
            }
            roots = {module.partition(".")[0] for module in modules}
            assert not ours & set(modules)
            assert not {"tornado", "pymongo", "bson", "gridfs"} & roots
            assert not {"MONGO_URI", "SECRET_KEY", "INVENTORY_FAILURE_TTL_S"} & set(variables)
            assert not knows(lane, SECRET)
            assert "NoNewPrivs:\t1\n" in Path(f"/proc/{lane.pid}/status").read_text()
            assert_holds_nothing_of_others(lane, worker, psutil.Process(service.process.pid))
        assert knows(worker, SECRET)
        assert "allow_loopback is on" in service.log


def assert_holds_nothing_of_others(lane: psutil.Process, worker: psutil.Process, supervisor: psutil.Process) -> None:
    """Of the service's descriptors it has the output and pipes to its worker, but no file and no listening socket."""
    targets = held(lane)
    assert [targets.pop(fd) for fd in (0, 1, 2)] == ["/dev/null", held(worker)[1], held(worker)[2]]
    assert {target.partition(":")[0] for target in targets.values()} <= {"/dev/null", "anon_inode", "pipe", "socket"}
    ends = {target for target in targets.values() if target.startswith(("pipe", "socket"))}
    assert not ends & set(held(supervisor).values())
    assert not [end for end in ends & set(held(worker).values()) if end.startswith("socket")]
    assert worker.net_connections("inet")
    assert not lane.net_connections("inet")


def held(process: psutil.Process) -> dict[int, str]:
    """The process's descriptors, each with its target."""
    directory = Path(f"/proc/{process.pid}/fd")
    return {int(fd): os.readlink(directory / fd) for fd in os.listdir(directory)}


def knows(process: psutil.Process, secret: str) -> bool:
    """Whether the secret stands anywhere in the process's memory, with its environment and arguments."""
    with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            span, access, *_, name = line.split()
            if "r" not in access or name in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                continue
            start, end = (int(address, 16) for address in span.split("-"))
            memory.seek(start)
            if secret.encode() in memory.read(end - start):
                return True
    return False
