"""The whole service, from a client's side: how near a stored answer comes to Tornado's own speed, and how fast misses
become records.

Client, service, database and origin share the machine, and the client is the same for what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.origin import Origin
from tests.support.running import Service

ONE_HOST = {"INVENTORY_HOST_CONCURRENCY": "512"}  # every URL here is the same host's
PAGE = "<!doctype html><title>A page</title>" + "<p>Some text of a page.</p>" * 400


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="stored records read in a round")
    parser.add_argument("--urls", type=int, default=200, help="unknown URLs collected in a round")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    with (
        Origin() as origin,
        tempfile.TemporaryDirectory() as directory,
        Service(Path(directory), "--allow-destination", "127.0.0.0/8", environ=ONE_HOST) as service,
    ):
        service.wait_for_answer()
        await run(options, origin, service.url)


async def run(options: argparse.Namespace, origin: Origin, base: str) -> None:
    origin.page("/stored", PAGE)
    port = int(base.rpartition(":")[2])
    stored = lookup(origin.url("/stored"))
    await Client(port).until_200(stored)
    body = await Client(port).get(stored)
    ceiling_port = await serve_bytes(body)

    async def read(port: int, path: str) -> float:
        return await rate(options.requests, options.connections, port, lambda client, n: client.get(path))

    ratios, served, collected = [], [], []
    for number in range(options.rounds):
        ceiling = await read(ceiling_port, "/")
        served.append(await read(port, stored))
        ratios.append(served[-1] / ceiling)
        for n in range(options.urls):
            origin.page(f"/{number}/{n}", PAGE)
        collected.append(
            await rate(
                options.urls,
                options.connections,
                port,
                lambda client, n, number=number: client.until_200(lookup(origin.url(f"/{number}/{n}"))),
            )
        )
    print(f"a stored record of {len(body):,} bytes: {median(served):,.0f}/s, {median(ratios):.2f} of a bare handler")
    print(f"unknown URLs, asked for until they are stored: {median(collected):,.0f}/s")


def lookup(url: str) -> str:
    return f"/api/metadata/?url={quote(url, safe='')}"


def median(values: list[float]) -> float:
    return statistics.median(values)


async def rate(count: int, connections: int, port: int, ask: Callable[[Client, int], Awaitable[object]]) -> float:
    """Questions answered a second, by several connections that share them."""
    numbers = iter(range(count))

    async def work() -> None:
        client = Client(port)
        for number in numbers:
            await ask(client, number)
        client.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return count / (time.perf_counter() - started)


class Client:
    """One kept connection, as little work as possible."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(length)

    async def get(self, path: str) -> bytes:
        status, body = await self.ask(path)
        if status != 200:
            raise RuntimeError(f"{path} answers {status}: {body[:200]!r}")
        return body

    async def until_200(self, path: str) -> None:
        while (await self.ask(path + "&wait=30" if "?" in path else path))[0] == 202:
            pass

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def serve_bytes(body: bytes) -> int:
    """A process that answers everything with these bytes from a bare handler; its port."""

    class Bare(RequestHandler):
        def get(self) -> None:
            self.set_header("Content-Type", "application/json")
            self.finish(body)

        def compute_etag(self) -> None:
            return None

    sockets = bind_sockets(0, "127.0.0.1")
    port: int = sockets[0].getsockname()[1]

    def serve() -> None:
        async def forever() -> None:
            server = HTTPServer(Application([("/", Bare)], log_function=lambda handler: None))
            server.add_sockets(sockets)
            await asyncio.Event().wait()

        asyncio.run(forever())

    multiprocessing.get_context("fork").Process(target=serve, daemon=True).start()
    return port


if __name__ == "__main__":
    asyncio.run(main())
