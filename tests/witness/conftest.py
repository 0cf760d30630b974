"""The comparison needs Debian's curl and Chromium: plain `pytest` leaves it out, `tox run -e witness` runs it."""

from __future__ import annotations

import os
from collections import Counter

import pytest

COMPARISON = "test_witness.py"
collect_ignore = [] if os.environ.get("TEST_WITNESS") == "1" else [COMPARISON]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "witness: compares with other implementations (TEST_WITNESS=1)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases and values were compared, if any were."""
    cases: Counter[str] = Counter()
    values: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for witness, count in getattr(report, "user_properties", ()):
            if report.when == "call" and COMPARISON in report.nodeid:
                cases[witness] += 1
                values[witness] += int(str(count))
    for witness, count in cases.items():
        terminalreporter.write_line(f"{witness}: {count} cases, {values[witness]} values compared")
