"""A record takes one line, whatever text it quotes."""

from __future__ import annotations

import logging
import os
import re

from metadata_inventory.service.logs import LineFormatter


def line(message: str, *arguments: object, **extra: object) -> str:
    record = logging.getLogger("a.b").makeRecord("a.b", logging.INFO, "f", 1, message, arguments, None, extra=extra)
    return LineFormatter().format(record)


def test_line_has_time_level_pid_logger_message_and_fields() -> None:
    expected = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z INFO {os.getpid()} a\.b: it took 3 s host=h\.example"
    assert re.fullmatch(expected, line("it took %d s", 3, host="h.example"))


def test_text_from_outside_makes_no_second_line() -> None:
    shown = line("%s", "a\r\n2026-01-01 ERROR\x1b[2J\u2028\x85b", host="c\nd")
    assert "a\\r\\n2026-01-01 ERROR\\x1b[2J\\u2028\\x85b host=c\\nd" in shown
    assert len(shown.splitlines()) == 1


def test_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "failed", None, (ValueError, error, error.__traceback__))
    shown = LineFormatter().format(record)
    assert len(shown.splitlines()) == 1
    assert "ValueError: first\\nsecond" in shown
