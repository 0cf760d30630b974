"""Signals that whoever starts the service has it ignore."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.running import Service
from tests.support.waiting import wait_until

WORKER = "metadata_inventory.service.worker"


def test_hangup_that_nohup_has_it_ignore_does_not_end_the_service(tmp_path: Path) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        starting = Service(tmp_path, "--processes", "1")
    finally:
        signal.signal(signal.SIGHUP, previous)
    with starting as service:
        service.wait_for_answer()
        service.process.send_signal(signal.SIGHUP)
        killed = service.child(WORKER)
        killed.kill()
        wait_until(lambda: service.children(WORKER) not in ([], [killed]), 10, what="another worker")
        assert service.end() == 0
