"""What the log says of a child's end."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

import pytest

from metadata_inventory.service.processes import SupervisedProcess


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("pass", "ended with status 0"),
        ("raise SystemExit(1)", "ended with status 1"),
        ("import os; os.kill(os.getpid(), 1)", "ended by SIGHUP"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        pytest.param(
            "import os; os.kill(os.getpid(), 36)",
            "ended by signal 36",
            marks=pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="has no signal without a name"),
        ),
    ],
)
def test_log_says_how_a_child_ended(code: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    kept = SupervisedProcess("child", lambda: subprocess.Popen([sys.executable, "-S", "-c", code]))
    with caplog.at_level(logging.INFO):
        kept.restart_if_due()
        process = kept.process
        assert process is not None
        process.wait(30)
        kept.restart_if_due()
    assert [message for message in caplog.messages if f"process {process.pid} {said}" in message]
