"""Logging to stderr, each record on one line: time (UTC), level, process id, logger, message, fields of `extra`.

A record never takes two lines, whatever text it quotes, and no text reaches a terminal with control characters.
"""

from __future__ import annotations

import logging
import re
import sys
import time

# The attributes that every record has; any other is a field of `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Text from outside must not look like another record (CWE-117), nor control a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """Formats a record as one line; the line ends of a traceback are written as \\n."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = [f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD]
        return super().formatMessage(record) + "".join(fields)

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub(lambda match: repr(match[0])[1:-1], super().format(record))


def set_up(level: str) -> None:
    """Write every record of this process of at least `level` to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG the driver logs whole commands and replies, with the cookies and pages that were collected.
    logging.getLogger("pymongo").setLevel(logging.WARNING)
    # At INFO Tornado quotes a request line that is not HTTP, which can be an API key with a control character in it.
    logging.getLogger("tornado.general").setLevel(logging.WARNING)
