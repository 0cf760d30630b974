"""For the service's processes, which import it when they start: names below .example are this machine."""

from __future__ import annotations

import socket
from typing import Any

_look_up = socket.getaddrinfo


def _look_up_here(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode("ascii") if isinstance(host, bytes) else host
    return _look_up("127.0.0.1" if name and name.endswith(".example") else host, *arguments, **options)


socket.getaddrinfo = _look_up_here
