"""`python -m metadata_inventory.service.worker`: one API worker. The supervisor starts it; people do not.

It reads its settings and descriptors (`processes.WorkerInput`) from standard input, which the supervisor keeps open.
When the input ends, the supervisor has ended, and the worker ends at once. On SIGTERM it finishes the requests under
way, then ends.

Imports stand inside functions: multiprocessing's forkserver imports this module, as it is `__main__` here, into every
lane process, which must not get the service's modules.
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
    from metadata_inventory.service.processes import WorkerInput

MAX_FILES = 1_048_576  # enough for every connection that the settings allow; Linux's own default limit
RESERVED_FILES = 256  # for everything but clients' connections: the database, lane processes, logs


def main() -> None:
    import msgspec

    from metadata_inventory.service import logs
    from metadata_inventory.service.processes import WorkerInput

    # The pipe moves to a descriptor that is not inherited: lane processes must not hold or read the supervisor's pipe.
    pipe = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    line = pipe.readline()
    if not line:
        sys.exit("error: a worker is started by the supervisor; run metadata-inventory serve")
    threading.Thread(target=_exit_at_end_of, args=(pipe.fileno(),), name="supervisor-watch", daemon=True).start()
    given = msgspec.json.decode(line, type=WorkerInput)
    logs.set_up(given.settings.log_level)
    _make_private(given.ready_fd)
    asyncio.run(serve(given, [socket.socket(fileno=_make_private(fd)) for fd in given.socket_fds]))


async def serve(given: WorkerInput, sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM. Then accept nothing more, let requests finish within the grace, end the lane processes."""
    from metadata_inventory.errors import StartError
    from metadata_inventory.service.bootstrap import Service
    from metadata_inventory.web.app import make_app
    from metadata_inventory.web.http.server import make_server

    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    stopping = asyncio.create_task(stop_requested.wait())
    settings = given.settings
    try:
        max_connections = _limit_connections(settings.max_connections)
        service = Service(settings)
        starting = asyncio.create_task(service.start())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            os._exit(0)  # at once: it has claimed no job yet, and its lane processes end with it
        await starting
    except StartError as error:
        logging.getLogger(__name__).error("worker %d cannot start: %s [%s]", given.number, error.detail, error.code)
        os._exit(2)  # at once: other lanes are still starting, and their processes end with this one
    server = make_server(
        make_app(service.services),
        max_connections=max_connections,
        idle_timeout_s=settings.idle_timeout_s,
        body_timeout_s=settings.body_timeout_s,
    )
    server.add_sockets(sockets)
    os.write(given.ready_fd, b"\n")
    await stopping
    server.stop()
    await service.close()
    await server.close_all_connections()


def _limit_connections(wanted: int) -> int:
    """The connections wanted, or as many as the limit of open files allows. Raises StartError when it allows none."""
    from metadata_inventory.errors import StartError

    room = raise_file_limit() - RESERVED_FILES
    if room < 1:
        raise StartError(f"The system's limit of open files must be above {RESERVED_FILES}.")
    if room < wanted:
        logging.getLogger(__name__).warning("the system's limit of open files allows %d connections", room)
    return min(wanted, room)


def raise_file_limit() -> int:
    """Raise the limit of open files, which lane processes inherit, as far as the system allows; returns the limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def _exit_at_end_of(pipe_fd: int) -> None:
    while os.read(pipe_fd, 4096):
        pass
    os._exit(1)


def _make_private(fd: int) -> int:
    os.set_inheritable(fd, False)
    return fd


if __name__ == "__main__":
    main()
