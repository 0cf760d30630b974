"""Workers that cannot start: from the beginning, and after the service has answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metadata_inventory.service.supervisor import FIRST_STARTS
from tests.support.running import Service, alive
from tests.support.waiting import GONE_S, wait_until

pytestmark = pytest.mark.timeout(120)

WORKER = "metadata_inventory.service.worker"
ENDING = "error: No API worker could start; the log above says why. [workers_failed]"

# Python imports `sitecustomize` in every process. While the file `no-files` exists, the children of a forkserver may
# open no files.
NO_FILES = """
import os, resource, sys

def refuse():
    if os.path.exists(os.path.dirname(__file__) + "/no-files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))

if any("forkserver" in argument for argument in sys.orig_argv):
    os.register_at_fork(after_in_child=refuse)
"""


@pytest.fixture
def no_files(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(NO_FILES)
    flag = tmp_path / "no-files"
    flag.touch()
    return flag


def starts(service: Service, number: int) -> int:
    return service.log.count(f"worker {number}: started process")


def test_service_whose_collectors_never_start_ends_with_one_line(tmp_path: Path, no_files: Path) -> None:
    with Service(tmp_path, "--processes", "2", path=[no_files.parent]) as service:
        wait_until(lambda: "cannot start" in service.log, 30, what="a worker's end")
        below = service.descendants()
        assert service.process.wait(60) == 2
        wait_until(
            lambda: not [process for process in below if alive(process)], GONE_S, what="the end of all processes"
        )
    assert service.log.splitlines()[-1] == ENDING
    for number in (1, 2):
        assert re.search(rf"worker {number} cannot start: .* does not start\. \[start_error\]", service.log)
    assert "asyncio.run(" not in service.log, "a worker's traceback"
    assert min(starts(service, 1), starts(service, 2)) == FIRST_STARTS


def test_service_whose_workers_crash_at_their_start_ends(tmp_path: Path) -> None:
    (tmp_path / "pycurl.py").write_text("raise ImportError('libcurl.so.4: cannot open shared object file')\n")
    with Service(tmp_path, path=[tmp_path]) as service:
        assert service.process.wait(60) == 2
    assert service.log.splitlines()[-1] == ENDING
    assert "libcurl.so.4" in service.log
    assert starts(service, 1) == FIRST_STARTS


def test_service_that_was_ready_once_goes_on_trying(tmp_path: Path, no_files: Path) -> None:
    no_files.unlink()
    with Service(tmp_path, path=[no_files.parent]) as service:
        service.wait_for_answer()
        no_files.touch()
        service.child(WORKER).kill()
        wait_until(lambda: starts(service, 1) > FIRST_STARTS + 1, 60, what="more starts than the first ones")
        no_files.unlink()
        wait_until(service.answers, 60, what="an answer")
        assert service.end() == 0
