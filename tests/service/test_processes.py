"""The supervisor's children: when they are started again, their environment, and the reaping of orphans."""

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


def kill(supervised: SupervisedProcess) -> float:
    """Kill the child and let that be noticed; returns the delay before the next start."""
    assert supervised.process is not None
    supervised.process.kill()
    supervised.process.wait()
    delay_s = supervised.restart_if_due()
    assert delay_s is not None
    return delay_s


def test_ended_child_is_replaced_later_each_time() -> None:
    clock = Clock()
    supervised = SupervisedProcess("child", spawn, clock=clock)
    delays = []
    for _ in range(8):
        assert supervised.restart_if_due() is None
        delays.append(kill(supervised))
        assert supervised.restart_if_due() == delays[-1]
        assert supervised.process is None
        clock.now_s += delays[-1]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_delay_begins_anew_after_a_stable_minute() -> None:
    clock = Clock()
    supervised = SupervisedProcess("child", spawn, clock=clock)
    for _ in range(4):
        supervised.restart_if_due()
        clock.now_s += kill(supervised)
    supervised.restart_if_due()
    clock.now_s += 60
    assert kill(supervised) == pytest.approx(0.1)


def test_child_that_cannot_be_started_is_tried_again_later() -> None:
    def fail() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/absent/program"])

    clock = Clock()
    supervised = SupervisedProcess("child", fail, clock=clock)
    assert supervised.restart_if_due() == pytest.approx(0.1)
    clock.now_s += 0.1
    assert supervised.restart_if_due() == pytest.approx(0.2)


def test_running_child_is_left_alone() -> None:
    supervised = SupervisedProcess("child", spawn)
    supervised.restart_if_due()
    process = supervised.process
    assert supervised.restart_if_due() is None
    assert supervised.process is process
    supervised.stop(deadline=0)
    assert process is not None
    assert process.returncode is not None
    assert supervised.process is None


def test_children_are_given_only_what_they_need_of_the_environment() -> None:
    given = {"PATH": "p", "LC_ALL": "c", "PYTHONPATH": "x", "SSL_CERT_FILE": "f", "RES_OPTIONS": "o", "TZ": "UTC"}
    withheld = {"MONGO_URI": "m", "INVENTORY_PORT": "1", "AWS_SECRET_ACCESS_KEY": "k", "HTTP_PROXY": "h"}
    assert clean_environment(given | withheld) == given


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process that is not 1 adopt orphans")
def test_orphans_are_reaped_and_own_children_left() -> None:
    program = """
import ctypes, os, subprocess, sys, time
from metadata_inventory.service.processes import reap_orphans
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become ours, as with process 1
shell = subprocess.Popen(["sh", "-c", "sleep 0.05 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(shell.stdout.readline())
shell.wait()
deadline = time.monotonic() + 20
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
    reap_orphans(set())
own = subprocess.Popen(["sh", "-c", "exit 7"])
os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
reap_orphans({own.pid})
print(os.path.exists(f"/proc/{orphan}"), own.wait())
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True, timeout=50
    )
    assert shown.stdout == "False 7\n"
