"""Decodes the content codings of a body within bounds of memory and time.

Codings are gzip and deflate (RFC 9110 §8.4.1), br (RFC 7932) and zstd (RFC 8878, window by RFC 9659), stacked in any
order. A few bytes can inflate to gigabytes, and at every layer again. So each step makes at most `STEP_BYTES`, and the
output of every layer is counted. Bytes are decoded in blocks of one size, so that the result does not depend on the
pieces in which the network delivered them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Protocol

import brotli
from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from metadata_inventory.model.capture import CodingError

MAX_CODINGS = 5  # stacked on one body; libcurl's limit too (MAX_ENCODE_STACK)
MAX_LISTED = 16  # codings that are listed of a response; its headers are kept whole
MAX_MEMBERS = 4096  # gzip members or zstd frames in a body, each of which needs a new decoder
BLOCK_BYTES = 16 * 1024  # coded bytes that are decoded at once
STEP_BYTES = 64 * 1024  # decoded bytes that are made at once
ZSTD_WINDOW_LOG = 23  # 8 MiB, RFC 9659 §3

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15  # zlib's wbits


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded body. With an `error`, the content is the coded bytes. `overflow`: the content is cut at `max_bytes`.

    Errors: `unknown_coding` (a coding that is not decoded here), `too_many_codings` (over `MAX_CODINGS`),
    `broken_coding` (bytes that the coding forbids, a wrong checksum, a zstd window over 8 MiB),
    `truncated_coding` (the body ended inside its coding).
    """

    content: bytes
    error: CodingError | None
    overflow: bool


def parse_codings(values: Iterable[str]) -> tuple[str, ...]:
    """The codings that the Content-Encoding values name, in lower case, in the order in which they were applied."""
    names = (part.strip(" \t").lower() for value in values for part in value.split(","))
    spelled = ("gzip" if name == "x-gzip" else name for name in names if name not in ("", "identity"))
    return tuple(islice(spelled, MAX_LISTED))


class BodyDecoder:
    """Decodes a body as it comes; `codings` are in the order of `parse_codings`. No bytes make it raise.

    It holds at most `max_bytes` of decoded bytes, and as many coded ones as long as decoding can still fail.
    """

    def __init__(self, codings: Sequence[str], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._error = _refusal(codings)
        self._layers = [] if self._error else [_LAYERS[name]() for name in reversed(codings)]
        self._made = [0] * len(self._layers)
        self._block = bytearray()
        self._coded = _Kept(max_bytes)
        self._decoded = _Kept(max_bytes)
        self._stopped = False

    @property
    def overflow(self) -> bool:
        """Whether the content is longer than `max_bytes`. `feed` ignores all further bytes then."""
        return self._stopped or (self._coded if self._error else self._decoded).overflow

    @property
    def held_bytes(self) -> int:
        """The memory that the body takes now."""
        return self._coded.size + self._decoded.size + len(self._block)

    def feed(self, chunk: bytes) -> None:
        """Decode the next bytes of the body."""
        if self.overflow:
            return
        if not self._layers:
            (self._coded if self._error else self._decoded).add(chunk)
            return
        self._block += chunk
        while len(self._block) >= BLOCK_BYTES:
            block = bytes(self._block[:BLOCK_BYTES])
            del self._block[:BLOCK_BYTES]
            self._decode(block)

    def finish(self, *, cut: bool = False) -> Decoded:
        """End the body. `cut` says that the transfer broke off: the content is then what could be decoded so far, and a
        coding that has not ended is no error.
        """
        if self._block:
            self._decode(bytes(self._block))
            self._block.clear()
        if not (self._error or self.overflow or cut or all(layer.complete for layer in self._layers)):
            self._error = "truncated_coding"
        kept = self._coded if self._error else self._decoded
        return Decoded(kept.content(), self._error, self.overflow)

    def _decode(self, block: bytes) -> None:
        if self._stopped or self._decoded.overflow:
            return
        self._coded.add(block)
        if self._error:
            return
        try:
            self._pass(0, block)
        except (zlib.error, brotli.error, ZstdError, EOFError, _Excess):
            self._error = "broken_coding"
            self._decoded.drop()
        if self.overflow and not self._error:
            self._coded.drop()

    def _pass(self, index: int, data: bytes) -> None:
        """Decode one layer. Its output goes to the next layer piece by piece, so that none is held in between."""
        if index == len(self._layers):
            self._decoded.add(data)
            return
        for piece in self._layers[index].decode(data):
            self._made[index] += len(piece)
            # Counted for each layer: the layers after it may make little of much (empty gzip blocks, for example),
            # and the content would never reach `max_bytes`.
            self._stopped = self._made[index] > 2 * self._max_bytes + STEP_BYTES
            if not self._stopped:
                self._pass(index + 1, piece)
            if self.overflow:
                return


class _Excess(Exception):
    """More members or frames than `MAX_MEMBERS`."""


class _Kept:
    """Bytes up to a limit, in a BytesIO, which returns its buffer without copying it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = BytesIO()
        self.size = 0
        self.overflow = False

    def add(self, data: bytes) -> None:
        room = self._max_bytes - self.size
        self.overflow |= len(data) > room
        self.size += self._buffer.write(data[:room])

    def drop(self) -> None:
        self._buffer, self.size, self.overflow = BytesIO(), 0, False

    def content(self) -> bytes:
        return self._buffer.getvalue()


class _Layer(Protocol):
    """The decoder of one coding."""

    @property
    def complete(self) -> bool:
        """Whether the coding may end here. It may also be empty: an empty body is not truncated."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The decoded data, in pieces of `STEP_BYTES` at most."""


class _Gzip:
    """RFC 1952: one member after the other. Bytes after the last that begin no other are ignored, as in browsers."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._members = 0
        self._rest = b""  # too short to tell whether another member begins
        self._over = False

    @property
    def complete(self) -> bool:
        return self._member is None

    def decode(self, data: bytes) -> Iterator[bytes]:
        data, self._rest = self._rest + data, b""
        while data and not self._over:
            if self._member is None and not self._begins(data):
                return
            self._member = self._member or zlib.decompressobj(_GZIP_BITS)
            yield from _inflate(self._member, data)
            if not self._member.eof:
                return
            data, self._member = self._member.unused_data, None

    def _begins(self, data: bytes) -> bool:
        if self._members and not data.startswith(_GZIP_MAGIC):
            self._over = not _GZIP_MAGIC.startswith(data)
            self._rest = data if not self._over else b""
            return False
        self._members = _counted(self._members)
        return True


class _Deflate:
    """zlib's format (RFC 9110 §8.4.1.2). Some servers send raw deflate, which browsers accept, and so does this."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._start = b""

    @property
    def complete(self) -> bool:
        return not self._start if self._stream is None else self._stream.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            wrapped = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0  # RFC 1950 §2.2
            self._stream, self._start = zlib.decompressobj(_ZLIB_BITS if wrapped else _RAW_BITS), b""
        if not self._stream.eof:
            yield from _inflate(self._stream, data)


class _Brotli:
    """RFC 7932: one stream, and no bytes after it."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    @property
    def complete(self) -> bool:
        return not self._begun or bool(self._stream.is_finished())

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        while not (self._stream.is_finished() and not data):
            # The limit is met in whole buffers only (google/brotli#1396), the least of which has 32 KiB.
            piece: bytes = self._stream.process(data, output_buffer_limit=STEP_BYTES // 4)
            if piece:
                yield piece
            elif self._stream.can_accept_more_data():
                # Only after an empty piece is there no more output: `can_accept_more_data` looks at the input alone.
                return
            data = b""


class _Zstd:
    """RFC 8878: one frame after the other, skippable frames included."""

    def __init__(self) -> None:
        self._frame: ZstdDecompressor | None = None
        self._frames = 0

    @property
    def complete(self) -> bool:
        return self._frame is None

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame is None:
                self._frames = _counted(self._frames)
                self._frame = ZstdDecompressor(options={DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
            while True:
                piece = self._frame.decompress(data, STEP_BYTES)
                if piece:
                    yield piece
                if self._frame.eof or self._frame.needs_input:
                    break
                data = b""
            if not self._frame.eof:
                return
            data, self._frame = self._frame.unused_data, None


_LAYERS: dict[str, Callable[[], _Layer]] = {"gzip": _Gzip, "deflate": _Deflate, "br": _Brotli, "zstd": _Zstd}


def _refusal(codings: Sequence[str]) -> CodingError | None:
    if len(codings) > MAX_CODINGS:
        return "too_many_codings"
    return None if all(name in _LAYERS for name in codings) else "unknown_coding"


def _counted(members: int) -> int:
    if members == MAX_MEMBERS:
        raise _Excess
    return members + 1


def _inflate(stream: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while True:
        piece = stream.decompress(data, STEP_BYTES)
        if piece:
            yield piece
        data = stream.unconsumed_tail
        # After a full piece there may be more output in zlib's window, although all of the input was taken.
        if stream.eof or (not data and len(piece) < STEP_BYTES):
            return
