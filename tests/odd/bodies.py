"""Bodies: content codings that lie, bombs, and bodies that do not end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import cache

import brotli
from backports import zstd

from tests.odd.case import HELLO, MIB, Case, page
from tests.odd.server import Conversation, Serve, answers, whole

OK = b"HTTP/1.1 200 OK\r\n"
TEXT = "".join(f"line {number}\n" for number in range(2_000)).encode()
BOMB_MIB = 512
KEPT = 10 * MIB  # of a body, by default
GROWS_MIB = 40  # a body decoded and coded, its compressed form, and libraries' own needs


def coded(coding: bytes, content: bytes) -> Serve:
    return answers(whole(b"Content-Encoding: " + coding, body=content))


def lazily(coding: bytes, make: Callable[[], bytes]) -> Serve:
    """Like `coded`; what is sent is made when it is needed."""

    def serve(conversation: Conversation) -> None:
        coded(coding, make())(conversation)

    return serve


@cache
def gzip_bomb() -> bytes:
    """512 MiB of zeros as one gzip member with its right checksum, without compressing each of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)  # stands by itself: may be repeated
    crc = 0
    for _ in range(BOMB_MIB):
        crc = zlib.crc32(bytes(MIB), crc)
    start = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    end = b"\x03\x00" + crc.to_bytes(4, "little") + (BOMB_MIB * MIB).to_bytes(4, "little")
    return start + mebibyte * BOMB_MIB + end


@cache
def deflate_bomb() -> bytes:
    return b"\x78\xda" + gzip_bomb()[10:-8]  # without its checksum, which nobody will reach


@cache
def brotli_bomb() -> bytes:
    packer = brotli.Compressor(quality=1)
    return b"".join([*(packer.process(bytes(MIB)) for _ in range(BOMB_MIB)), packer.finish()])


@cache
def zstd_bomb() -> bytes:
    return zstd.compress(bytes(MIB)) * BOMB_MIB


@cache
def blocks_bomb() -> bytes:
    """Gzip within gzip: the inner one is 64 MiB of empty blocks, which make nothing of much."""
    inner = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * (64 * MIB // 5)
    return gzip.compress(inner, 1)


def bomb(name: str, does: str, coding: bytes, make: Callable[[], bytes]) -> Case:
    return Case(
        name=name,
        does=does,
        says="`length`: the first 10 MiB; no more is ever held",
        serve=lazily(coding, make),
        deadline_ms=10_000,
        grows_mib=GROWS_MIB,
        expect=page(truncated="length", length=KEPT),
    )


def resets_inside_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(OK + b"Content-Length: 100\r\n\r\n" + HELLO)
    conversation.reset()


CASES = (
    Case(
        name="gzip-cut-off-without-length",
        does="closes inside a gzip stream that has no length",
        says="`truncated_coding`; the coded bytes are kept (libcurl calls it a success)",
        serve=answers(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(TEXT)[:-20]),
        expect=page(coding_error="truncated_coding", body=gzip.compress(TEXT)[:-20]),
    ),
    Case(
        name="gzip-cut-off-with-length",
        does="closes inside a gzip stream, before its length",
        says="`disconnect`; decoded as far as it came",
        serve=answers(
            OK + b"Content-Encoding: gzip\r\nContent-Length: 99999\r\n\r\n" + gzip.compress(b"hello" * 9)[:-8]
        ),
        expect=page(truncated="disconnect", body=b"hello" * 9),
    ),
    Case(
        name="gzip-that-is-none",
        does="sends plain text as gzip",
        says="`broken_coding`; the bytes as they came",
        serve=coded(b"gzip", HELLO),
        expect=page(coding_error="broken_coding", body=HELLO),
    ),
    Case(
        name="gzip-with-wrong-checksum",
        does="sends gzip with a wrong checksum",
        says="`broken_coding`; the coded bytes",
        serve=coded(b"gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
        expect=page(coding_error="broken_coding"),
    ),
    Case(
        name="gzip-then-garbage",
        does="sends bytes behind the end of its gzip",
        says="the page; they are ignored, as in browsers",
        serve=coded(b"gzip", gzip.compress(HELLO) + b"garbage"),
        expect=page(body=HELLO),
    ),
    Case(
        name="gzip-in-members",
        does="sends several gzip members one after the other",
        says="the page, of all of them",
        serve=coded(b"x-gzip", gzip.compress(b"hel") + gzip.compress(b"lo")),
        expect=page(body=HELLO, codings=("gzip",)),
    ),
    Case(
        name="deflate-without-zlib",
        does="sends deflate without zlib's header, as some servers do",
        says="the page",
        serve=coded(b"deflate", zlib.compress(HELLO)[2:-4]),
        expect=page(body=HELLO),
    ),
    Case(
        name="coded-twice",
        does="puts gzip over brotli, named in two headers",
        says="the page, both taken off",
        serve=answers(
            whole(b"Content-Encoding: br", b"Content-Encoding: gzip", body=gzip.compress(brotli.compress(HELLO)))
        ),
        expect=page(body=HELLO, codings=("br", "gzip")),
    ),
    Case(
        name="coding-named-twice",
        does="names gzip twice for a body that has it once",
        says="`broken_coding`; the coded bytes",
        serve=coded(b"gzip, gzip", gzip.compress(HELLO)),
        expect=page(coding_error="broken_coding", body=gzip.compress(HELLO)),
    ),
    Case(
        name="coding-unknown",
        does="uses a content coding that nobody asked for",
        says="`unknown_coding`; the bytes as they came",
        serve=coded(b"sdch", HELLO),
        expect=page(coding_error="unknown_coding", codings=("sdch",), body=HELLO),
    ),
    Case(
        name="codings-twelve",
        does="names gzip twelve times",
        says="`too_many_codings`; the bytes as they came",
        serve=coded(b", ".join([b"gzip"] * 12), HELLO),
        expect=page(coding_error="too_many_codings", body=HELLO),
    ),
    Case(
        name="zstd-with-huge-window",
        does="sends zstd that asks for a window of 128 MiB",
        says="`broken_coding`: RFC 9659 allows 8 MiB",
        serve=coded(b"zstd", bytes.fromhex("28b52ffd 00 88 010000")),
        expect=page(coding_error="broken_coding"),
    ),
    bomb("bomb-gzip", "sends 512 MiB of zeros as 0.5 MiB of gzip", b"gzip", gzip_bomb),
    bomb("bomb-deflate", "sends 512 MiB of zeros as deflate", b"deflate", deflate_bomb),
    bomb("bomb-brotli", "sends 512 MiB of zeros as brotli", b"br", brotli_bomb),
    bomb("bomb-zstd", "sends 512 MiB of zeros as zstd", b"zstd", zstd_bomb),
    bomb(
        "bomb-nested",
        "sends 512 MiB of zeros as gzip within gzip: 2 KiB",
        b"gzip, gzip",
        lambda: gzip.compress(gzip_bomb()),
    ),
    Case(
        name="bomb-of-empty-blocks",
        does="sends gzip within gzip whose inner stream is 64 MiB and makes nothing",
        says="`length`, an empty body: the output of each layer is bounded too",
        serve=lazily(b"gzip, gzip", blocks_bomb),
        deadline_ms=10_000,
        grows_mib=GROWS_MIB,
        expect=page(truncated="length", body=b""),
    ),
    Case(
        name="body-without-end",
        does="sends a body without end",
        says="`length`: the first 10 MiB",
        serve=answers(OK + b"\r\n", then=lambda conversation: conversation.fill(b"x" * 65536)),
        deadline_ms=10_000,
        grows_mib=GROWS_MIB,
        expect=page(truncated="length", length=KEPT, wire_length=KEPT),
    ),
    Case(
        name="chunks-without-end",
        does="sends chunks without end",
        says="`length`: as much as is kept",
        serve=answers(
            OK + b"Transfer-Encoding: chunked\r\n\r\n",
            then=lambda conversation: conversation.fill(b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        ),
        options={"max_body_bytes": MIB},
        expect=page(truncated="length", length=MIB),
    ),
    Case(
        name="drip-in-body",
        does="sends its body byte by byte and is never done",
        says="`time`, and what came until the deadline",
        serve=answers(OK + b"\r\n", then=lambda conversation: conversation.drip(b"x" * 10_000, 0.01)),
        deadline_ms=500,
        waits=True,
        expect=page(truncated="time"),
    ),
    Case(
        name="body-below-the-least-speed",
        does="sends a byte of its body now and then",
        says="`time`, before the deadline: it is slower than the least speed",
        serve=answers(OK + b"\r\n", then=lambda conversation: conversation.drip(b"x" * 10_000, 0.3)),
        options={"low_speed_s": 1},
        expect=page(truncated="time"),
    ),
    Case(
        name="stall-in-body",
        does="stops inside its body and stays open",
        says="`time`, and what came",
        serve=answers(OK + b"Content-Length: 100\r\n\r\n" + HELLO, then=Conversation.wait),
        deadline_ms=400,
        waits=True,
        expect=page(truncated="time", body=HELLO),
    ),
    Case(
        name="reset-in-body",
        does="resets the connection inside the body",
        says="`disconnect`, and what came",
        serve=resets_inside_body,
        expect=page(truncated="disconnect", body=HELLO),
    ),
)
