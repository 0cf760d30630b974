"""Logging to stderr: a line a record, with time (UTC), level, process id, logger, message and the fields of `extra`."""

from __future__ import annotations

import logging
import re
import sys
import time

# What every record has: anything else came in by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Text from outside must not look like a record of its own (CWE-117), nor steer a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """A record as one line; a traceback's line ends are written out as \\n."""

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
    """Send every record of this process from `level` on to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG the driver writes whole commands and replies: cookies and pages of what was collected.
    logging.getLogger("pymongo").setLevel(logging.WARNING)
    # Of a request that is no HTTP, Tornado quotes the line at INFO: a key that was pasted with a control character.
    logging.getLogger("tornado.general").setLevel(logging.WARNING)
