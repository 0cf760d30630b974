"""A server on a loopback socket that says whatever a case makes it say, connection by connection.

Blocking sockets, a thread for each connection: a case reads as what happens on the wire, in order.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

LISTENS_ON = "127.0.0.1"
PATIENCE_S = 20.0  # for anything the collector should do; a case is over long before
PORT = b"{port}"  # stands for the server's own port in what a case sends

Serve = Callable[["Conversation"], None]


class Conversation:
    """One accepted connection. OSError, raised when the client has gone, ends it."""

    def __init__(self, sock: socket.socket, number: int, port: int) -> None:
        self.sock = sock
        self.number = number  # counts accepted connections from 1
        self.port = port
        self.paths: list[str] = []  # of the requests read so far
        self._unread = b""

    def read_request(self) -> bytes:
        """The next request's head; empty when the client has closed."""
        while b"\r\n\r\n" not in self._unread:
            more = self.sock.recv(65536)
            if not more:
                return b""
            self._unread += more
        request, _, self._unread = self._unread.partition(b"\r\n\r\n")
        self.paths.append(request.split(b" ")[1].decode("latin-1"))
        return request

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece.replace(PORT, str(self.port).encode()) if len(piece) < 4096 else piece)

    def drip(self, data: bytes, every_s: float = 0.02) -> None:
        """Byte by byte."""
        for number in range(len(data)):
            self.sock.sendall(data[number : number + 1])
            time.sleep(every_s)

    def fill(self, piece: bytes) -> None:
        """Again and again until the client goes."""
        while True:
            self.sock.sendall(piece)

    def wait(self) -> None:
        """Silence until the client goes."""
        while self.sock.recv(65536):
            pass

    def reset(self) -> None:
        """RST in place of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def secure(self, context: ssl.SSLContext) -> None:
        """Start TLS: everything after this is encrypted."""
        self.sock = secured = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        secured.do_handshake()  # now that whoever ends the server finds the socket


class OddServer:
    """A context manager. Whatever `serve` raises but OSError is raised again on leaving."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listener = socket.create_server((LISTENS_ON, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.conversations: list[Conversation] = []
        self._faults: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> OddServer:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        _shut(self._listener)
        until = time.monotonic() + PATIENCE_S
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < until:
            for conversation in self.conversations:  # again, since one may just be changing its socket for TLS's
                _shut(conversation.sock)
            for thread in self._threads:
                thread.join(0.1)
        self._listener.close()
        if self._faults and kind is None:
            raise self._faults[0]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(PATIENCE_S)
                conversation = Conversation(sock, len(self.conversations) + 1, self.port)
                self.conversations.append(conversation)
                self._start(self._converse, conversation)

    def _converse(self, conversation: Conversation) -> None:
        try:
            self._serve(conversation)
        except OSError:  # the client has gone
            pass
        except BaseException as fault:  # an edge: told where the test can see it
            self._faults.append(fault)
        finally:
            _shut(conversation.sock)
            conversation.sock.close()


def _shut(sock: socket.socket) -> None:
    """Wake whoever waits for it. Below TLS, whose own shutdown would take the session from under another thread."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def close(conversation: Conversation) -> None:
    """The default end of a response: the connection is closed."""


def answers(*pieces: bytes, then: Serve = close) -> Serve:
    """Read a request, send the pieces, and `then`; by default the connection is closed."""

    def serve(conversation: Conversation) -> None:
        if conversation.read_request():
            conversation.send(*pieces)
            then(conversation)

    return serve


def replies(make_answer: Callable[[Conversation, bytes], bytes]) -> Serve:
    """Answer every request with what `make_answer` returns for its head, on a connection that stays open."""

    def serve(conversation: Conversation) -> None:
        while request := conversation.read_request():
            conversation.send(make_answer(conversation, request))

    return serve


def keeps_answering(answer: bytes) -> Serve:
    """The same for every request, on a connection that stays open."""
    return replies(lambda conversation, request: answer)


def routes(answers_by_path: Mapping[str, bytes]) -> Serve:
    """An answer for each path, on a connection that stays open."""
    return replies(lambda conversation, request: answers_by_path[conversation.paths[-1]])


def first_and_others(first: Serve, others: Serve) -> Serve:
    """One behaviour for the first connection, and one for all later ones."""
    return lambda conversation: (first if conversation.number == 1 else others)(conversation)


def whole(
    *lines: bytes, status: bytes = b"200 OK", body: bytes = b"hello", version: bytes = b"HTTP/1.1", length: bool = True
) -> bytes:
    """A response with these header lines and, unless told otherwise, the body's Content-Length."""
    given = (*lines, b"Content-Length: %d" % len(body)) if length else lines
    return b"\r\n".join([version + b" " + status, *given, b"", b""]) + body


def moved(location: bytes, *lines: bytes, status: bytes = b"302 Found") -> bytes:
    """A redirect without a body."""
    return whole(b"Location: " + location, *lines, status=status, body=b"")
