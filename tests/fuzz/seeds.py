"""The inputs that fuzzing begins with: the responses of the odd servers and of the witnesses' origin, by target."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from tests.fuzz.targets import CODINGS
from tests.odd import cookies, headers, status_lines
from tests.odd.case import Case
from tests.odd.server import Conversation
from tests.witness.cases import CASES

MAX_BYTES: Final = 4096


class _Listener:
    """Stands for a client's socket: sends one request and keeps the response up to MAX_BYTES."""

    def __init__(self, path: str) -> None:
        self.heard = b""
        self._requests = [f"GET {path} HTTP/1.1\r\n\r\n".encode()]

    def recv(self, size: int) -> bytes:
        return self._requests.pop() if self._requests else b""

    def sendall(self, piece: bytes) -> None:
        if len(self.heard) >= MAX_BYTES or len(piece) == 1:  # a byte at a time says nothing else, only slowly
            raise BrokenPipeError
        self.heard += piece


def _heard(case: Case) -> bytes:
    listener = _Listener(case.path)
    with contextlib.suppress(OSError):
        case.serve(Conversation(listener, 1, 80))  # type: ignore[arg-type]
    return listener.heard


def _responses() -> list[bytes]:
    said = [_heard(case) for theme in (status_lines, headers, cookies) for case in theme.CASES]
    answered = [response for case in CASES for response in case.answers.values()]
    return [response[:MAX_BYTES] for response in (*said, *answered)]


def _values(head: bytes, name: bytes) -> list[bytes]:
    return [value.strip() for value in re.findall(rb"(?im)^%s:(.*)$" % name, head)]


def _seeds() -> Iterator[tuple[str, bytes]]:
    for response in _responses():
        head, _, body = response.partition(b"\r\n\r\n")
        yield "headers", head + b"\r\n\r\n"
        for value in _values(head, b"set-cookie"):
            yield "cookie", b"\0" + value
        types = _values(head, b"content-type")
        yield "page", b"".join(types[-1:]) + b"\n" + body
        for coding in _values(head, b"content-encoding"):
            name = coding.decode("latin-1")
            if name in CODINGS:
                yield "body", bytes([CODINGS.index(name), 15]) + body


def _sorted() -> dict[str, tuple[bytes, ...]]:
    sorted_seeds: dict[str, dict[bytes, None]] = {}
    for name, seed in _seeds():
        sorted_seeds.setdefault(name, {})[seed] = None
    return {name: tuple(seeds) for name, seeds in sorted_seeds.items()}


SEEDS: Final = _sorted()
