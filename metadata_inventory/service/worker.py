"""`python -m metadata_inventory.service.worker`: one API worker, started by the supervisor and by nobody else.

It reads its order (`processes.WorkerOrder`) from standard input, which the supervisor keeps open: when that ends, so
has the supervisor, and the worker ends at once. SIGTERM: finish the requests under way, then end.

Imports stand inside functions: the forkserver imports this module, as it is `__main__` here, for every collector
process, and those need nothing of the service.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metadata_inventory.service.processes import WorkerOrder


# Enough for every connection that there may be; Linux's own default bound.
MOST_FILES = 1_048_576
# For everything that is no client's connection: the database, collectors, logs.
RESERVED_FILES = 256


def main() -> None:
    import msgspec

    from metadata_inventory.service import logs
    from metadata_inventory.service.processes import WorkerOrder

    # Descriptor 0 is kept to ourselves and replaced: collectors below must not hold or read the supervisor's pipe.
    pipe = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    line = pipe.readline()
    if not line:
        sys.exit("error: a worker is started by the supervisor: metadata-inventory serve")
    threading.Thread(target=_end_with, args=(pipe.fileno(),), name="supervisor-watch", daemon=True).start()
    order = msgspec.json.decode(line, type=WorkerOrder)
    logs.set_up(order.settings.log_level)
    _make_private(order.ready_fd)
    asyncio.run(serve(order, [socket.socket(fileno=_make_private(fd)) for fd in order.socket_fds]))


async def serve(order: WorkerOrder, sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM; then accept no more, let what runs end within the grace, and end the children."""
    from metadata_inventory.errors import StartError
    from metadata_inventory.service.bootstrap import Service
    from metadata_inventory.web.app import make_app
    from metadata_inventory.web.http.server import make_server

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    ending = asyncio.create_task(ended.wait())
    settings = order.settings
    try:
        max_connections = _fit(settings.max_connections)
        service = Service(settings)
        starting = asyncio.create_task(service.start())
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            os._exit(0)  # at once: it has taken nothing on yet, and its children end with it
        await starting
    except StartError as error:
        logging.getLogger(__name__).error("worker %d cannot start: %s [%s]", order.number, error.detail, error.code)
        os._exit(2)  # at once: other lanes are in the middle of their start, and their processes end with this one
    server = make_server(
        make_app(service.services),
        max_connections=max_connections,
        idle_timeout_s=settings.idle_timeout_s,
        body_timeout_s=settings.body_timeout_s,
    )
    server.add_sockets(sockets)
    os.write(order.ready_fd, b"\n")
    await ending
    server.stop()
    await service.close()
    await server.close_all_connections()


def _fit(connections: int) -> int:
    """As many of the connections as the limit of open files allows; raises StartError when that is none."""
    from metadata_inventory.errors import StartError

    room = raise_file_limit() - RESERVED_FILES
    if room < 1:
        raise StartError(f"The system's limit of open files must be above {RESERVED_FILES}.")
    if room < connections:
        logging.getLogger(__name__).warning("the system's limit of open files allows %d connections", room)
    return min(connections, room)


def raise_file_limit() -> int:
    """Let this process, and the collectors below, open as many files as the system allows it; how many."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def _end_with(pipe_fd: int) -> None:
    while os.read(pipe_fd, 4096):
        pass
    os._exit(1)


def _make_private(fd: int) -> int:
    os.set_inheritable(fd, False)
    return fd


if __name__ == "__main__":
    main()
