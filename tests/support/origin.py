"""A real HTTP origin on a loopback socket, made to misbehave: answers are scripted byte by byte.

Raw sockets on purpose: an HTTP library would refuse to send most of what the tests need. One event loop in a thread of
its own; everything else may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_PAGE = "<!doctype html><html lang=en><head><title>A page</title></head><body><p>Hello.</p></body></html>"
DEADLINE_S = 20.0

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """A request as received. Names in `headers` are in lower case; of a repeated header the last value is kept."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    connection: int  # counts accepted connections from 1
    client_port: int
    at: float  # on the monotonic clock


@dataclass
class Script:
    """The response of a path: chunks that are sent in order, then how the connection goes on."""

    chunks: tuple[bytes, ...] = ()
    keep_alive: bool = False
    reset: bool = False  # end with RST in place of FIN
    stall: bool = False  # keep the connection open and silent afterwards
    endless: bytes = b""  # sent again and again afterwards
    every_s: float = 0.0  # … with this pause between


class Origin:
    """A context manager. Listens on all `addresses`, at one port. The certificate is valid for them and for `names`, or
    else for `certified`.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        addresses: Sequence[str] = ("127.0.0.1",),
        names: Sequence[str] = (),
        certified: Sequence[str] = (),
    ) -> None:
        self.requests: list[Request] = []
        self.port = 0
        self.connections = 0  # accepted so far
        self.closed = 0  # … and ended by the client or by us
        self.ca_file: str | None = None
        self._addresses = addresses
        self._tls = tls
        self._certified = certified or ("localhost", *names, *addresses)
        self.greeting = b""  # sent instead of reading a request; then the connection is closed
        self._scripts: dict[str, Script] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="origin", daemon=True)
        self._started = threading.Event()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.page("/", DEFAULT_PAGE, headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/; HttpOnly")])

    # --- what tests say

    @property
    def base(self) -> str:
        return self.url("").rstrip("/")

    def url(self, path: str = "/", host: str | None = None) -> str:
        host = host or self._addresses[0]
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def page(self, path: str, html: str | bytes = DEFAULT_PAGE, status: int = 200, headers: Headers = ()) -> None:
        """A well-formed answer with a length, on a connection that stays open."""
        body = html.encode() if isinstance(html, str) else html
        lines = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        given = {name.lower() for name, _ in headers}
        lines = [(name, value) for name, value in lines if name.lower() not in given]
        self._scripts[path] = Script((head(status, [*lines, *headers]) + body,), keep_alive=True)

    def redirect(self, path: str, to: str, status: int = 302, headers: Headers = ()) -> None:
        self.page(path, b"", status, [("Location", to), *headers])

    def answer(
        self,
        path: str,
        *chunks: bytes,
        keep_alive: bool = False,
        reset: bool = False,
        stall: bool = False,
        endless: bytes = b"",
        every_s: float = 0.0,
    ) -> None:
        """Send exactly these bytes, then close the connection unless it is kept, reset, stalled or filled."""
        self._scripts[path] = Script(chunks, keep_alive, reset, stall, endless, every_s)

    def hold(self, path: str) -> None:
        """Read and count requests of the path, but do not answer them until `release`."""
        self._released[path] = asyncio.Event()

    def release(self, path: str) -> None:
        event = self._released.pop(path, None)
        if event is not None:
            self._loop.call_soon_threadsafe(event.set)

    def count(self, path: str) -> int:
        with self._changed:
            return sum(request.path == path for request in self.requests)

    def wait_for(self, path: str, count: int, timeout_s: float = DEADLINE_S) -> None:
        """Wait until that many requests of the path have been received; fail when they are not received in time."""
        self.wait_until(lambda: sum(request.path == path for request in self.requests) >= count, timeout_s)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        """Wait until a condition on `requests`, `connections` or `closed` holds; checked when one of them changes."""
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                raise AssertionError(f"not within {timeout_s} s; {len(self.requests)} requests came")

    # --- the machinery

    def __enter__(self) -> Origin:
        self._thread.start()
        if not self._started.wait(DEADLINE_S):
            raise RuntimeError("the origin does not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        if self._directory is not None:
            self._directory.cleanup()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _listen(self) -> None:
        context = self._make_tls() if self._tls else None
        for address in self._addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, self.port), family=family, backlog=2048)
            self.port = listener.getsockname()[1]
            self._servers.append(await asyncio.start_server(self._serve, sock=listener, ssl=context, limit=2**20))

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._tasks.values()):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(10):  # transports are closed by callbacks, some by callbacks of callbacks
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        # asyncio sets it only on sockets that were made with an explicit protocol; without it Nagle waits 40 ms.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._changed:
            self.connections += 1
            number = self.connections
            self._changed.notify_all()
        try:
            if self.greeting:
                writer.write(self.greeting)
                await writer.drain()
                return
            while await self._serve_one(reader, writer, number):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.pop(task, None)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
            with self._changed:
                self.closed += 1
                self._changed.notify_all()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """Read one request and send its response. Return whether the connection stays open."""
        raw = await reader.readuntil(b"\r\n\r\n")
        request = parse_request(raw, number, writer.get_extra_info("peername")[1])
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        held = self._released.get(request.path)
        if held is not None:
            await held.wait()
        script = self._scripts.get(request.path)
        if script is None:
            script = Script((head(404, [("Content-Length", "9")]), b"not found"), keep_alive=True)
        for chunk in script.chunks:
            writer.write(chunk)
            await writer.drain()
        while script.endless:
            writer.write(script.endless)
            await writer.drain()
            await asyncio.sleep(script.every_s)
        if script.stall:
            await reader.read()  # until the client goes
        if script.reset:
            await self._reset(writer)
        return script.keep_alive

    @staticmethod
    async def _reset(writer: asyncio.StreamWriter) -> None:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def _make_tls(self) -> ssl.SSLContext:
        self._directory = tempfile.TemporaryDirectory(prefix="origin-")
        directory = Path(self._directory.name)
        ca, chain = make_certificates(self._certified)
        (directory / "ca.pem").write_bytes(ca)
        (directory / "chain.pem").write_bytes(chain)
        self.ca_file = str(directory / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "chain.pem")
        return context


def head(status: int, headers: Headers, reason: str = "Made Up") -> bytes:
    """A status line and header lines; values may hold any ISO-8859-1 character."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def parse_request(raw: bytes, connection: int, client_port: int) -> Request:
    first, *lines = raw.decode("latin-1").split("\r\n")
    method, path, _ = (*first.split(" "), "", "")[:3]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    return Request(method, path, headers, raw, connection, client_port, time.monotonic())


def make_certificates(hosts: Sequence[str]) -> tuple[bytes, bytes]:
    """Return an authority's PEM, and the PEM of a leaf certificate with its key, for these addresses and names."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Origin test CA")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])

    def builder(name: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    ca = (
        builder(issuer, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    subjects = [name_subject(host) for host in hosts]
    leaf = (
        builder(subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ca.public_bytes(pem), leaf.public_bytes(pem) + secret


def name_subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
