"""Children that are started again, what they are given, and the reaping of strangers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metadata_inventory.environment import clean_environment
from metadata_inventory.service.processes import SupervisedProcess
from tests.support.running import environment


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def end_of(kept: SupervisedProcess) -> float:
    """Kill the child and tend: the delay before the next."""
    assert kept.process is not None
    kept.process.kill()
    kept.process.wait()
    delay_s = kept.tend()
    assert delay_s is not None
    return delay_s


def test_ended_child_is_replaced_later_each_time() -> None:
    clock = Clock()
    kept = SupervisedProcess("child", spawn, clock=clock)
    delays = []
    for _ in range(8):
        assert kept.tend() is None
        delays.append(end_of(kept))
        assert kept.tend() == delays[-1]
        assert kept.process is None
        clock.now_s += delays[-1]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_delay_begins_anew_after_a_stable_minute() -> None:
    clock = Clock()
    kept = SupervisedProcess("child", spawn, clock=clock)
    for _ in range(4):
        kept.tend()
        clock.now_s += end_of(kept)
    kept.tend()
    clock.now_s += 60
    assert end_of(kept) == pytest.approx(0.1)


def test_child_that_cannot_be_started_is_tried_again_later() -> None:
    def fail() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/absent/program"])

    clock = Clock()
    kept = SupervisedProcess("child", fail, clock=clock)
    assert kept.tend() == pytest.approx(0.1)
    clock.now_s += 0.1
    assert kept.tend() == pytest.approx(0.2)


def test_running_child_is_left_alone() -> None:
    kept = SupervisedProcess("child", spawn)
    kept.tend()
    process = kept.process
    assert kept.tend() is None
    assert kept.process is process
    kept.end(deadline=0)
    assert process is not None
    assert process.returncode is not None
    assert kept.process is None


def test_children_are_given_only_what_they_need_of_the_environment() -> None:
    given = {"PATH": "p", "LC_ALL": "c", "PYTHONPATH": "x", "SSL_CERT_FILE": "f", "RES_OPTIONS": "o", "TZ": "UTC"}
    kept_back = {"MONGO_URI": "m", "INVENTORY_PORT": "1", "AWS_SECRET_ACCESS_KEY": "k", "HTTP_PROXY": "h"}
    assert clean_environment(given | kept_back) == given


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process that is not 1 adopt orphans")
def test_orphans_are_reaped_and_own_children_left() -> None:
    program = """
import ctypes, os, subprocess, sys, time
from metadata_inventory.service.processes import reap_strangers
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become ours, as with process 1
shell = subprocess.Popen(["sh", "-c", "sleep 0.05 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(shell.stdout.readline())
shell.wait()
deadline = time.monotonic() + 20
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
    reap_strangers(set())
own = subprocess.Popen(["sh", "-c", "exit 7"])
os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
reap_strangers({own.pid})
print(os.path.exists(f"/proc/{orphan}"), own.wait())
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True, timeout=50
    )
    assert shown.stdout == "False 7\n"
