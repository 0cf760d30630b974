"""Decoding content codings: contents, errors, and bounds for bodies that inflate."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from metadata_inventory.collect.parse import content_coding
from metadata_inventory.collect.parse.content_coding import (
    BLOCK_BYTES,
    MAX_CODINGS,
    MAX_MEMBERS,
    STEP_BYTES,
    BodyDecoder,
    Decoded,
    parse_codings,
)

MIB = 1024 * 1024
TEXT = b"<!doctype html><title>A page</title>" + b"<p>Some text, again and again.</p>" * 40


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def wide_zstd(data: bytes) -> bytes:
    """A zstd frame that needs a window of 16 MiB."""
    options = {zstd.CompressionParameter.window_log: 24}
    packer = zstd.ZstdCompressor(options=options)
    return packer.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "br": lambda data: bytes(brotli.compress(data, quality=5)),
    "zstd": zstd.compress,
}


def encode(data: bytes, codings: Sequence[str]) -> bytes:
    for name in codings:
        data = ENCODERS[name](data)
    return data


def decode(
    coded: bytes, *codings: str, max_bytes: int = 10 * MIB, cut: bool = False, pieces: Sequence[int] = ()
) -> Decoded:
    decoder = BodyDecoder(codings, max_bytes)
    for chunk in split(coded, pieces):
        decoder.feed(chunk)
    return decoder.finish(cut=cut)


def split(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


@pytest.mark.parametrize(
    ("values", "codings"),
    [
        pytest.param([], (), id="none"),
        pytest.param(["gzip"], ("gzip",), id="one"),
        pytest.param(["GZip , BR"], ("gzip", "br"), id="a list, in the order applied"),
        pytest.param(["gzip", "br"], ("gzip", "br"), id="two headers"),
        pytest.param(["x-gzip"], ("gzip",), id="x-gzip"),
        pytest.param(["identity, ,deflate,"], ("deflate",), id="identity and empty elements"),
        pytest.param(["compress;q=1"], ("compress;q=1",), id="whatever else is kept as it is"),
        pytest.param(["gzip," * 1000], ("gzip",) * content_coding.MAX_LISTED, id="bounded"),
    ],
)
def test_codings_are_read_from_headers(values: list[str], codings: tuple[str, ...]) -> None:
    assert parse_codings(values) == codings


@pytest.mark.parametrize("data", [b"", b"x", TEXT, TEXT * 500], ids=["empty", "byte", "page", "long"])
@pytest.mark.parametrize("name", ENCODERS)
def test_each_coding_is_taken_off(name: str, data: bytes) -> None:
    assert decode(encode(data, [name]), name) == Decoded(data, None, False)


def test_body_without_codings_is_kept_as_it_is() -> None:
    assert decode(TEXT) == Decoded(TEXT, None, False)


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=MAX_CODINGS))
def test_stacked_codings_round_trip(data: bytes, codings: list[str]) -> None:
    assert decode(encode(data, codings), *codings) == Decoded(data, None, False)


@pytest.mark.parametrize(
    ("coded", "name", "content"),
    [
        pytest.param(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", b"ab", id="two gzip members"),
        pytest.param(gzip.compress(b"a") + b"\0" * 512, "gzip", b"a", id="gzip and padding"),
        pytest.param(gzip.compress(b"a") + b"garbage", "gzip", b"a", id="gzip and garbage"),
        pytest.param(gzip.compress(b"a") + b"\x1f\x8b", "gzip", b"a", id="gzip and less than a member's beginning"),
        pytest.param(raw_deflate(TEXT), "deflate", TEXT, id="raw deflate"),
        pytest.param(zlib.compress(TEXT) + b"garbage", "deflate", TEXT, id="deflate and garbage"),
        pytest.param(zstd.compress(b"a") + zstd.compress(b"b"), "zstd", b"ab", id="two zstd frames"),
        pytest.param(b"\x50\x2a\x4d\x18\3\0\0\0abc" + zstd.compress(b"a"), "zstd", b"a", id="a skippable frame"),
        pytest.param(b"", "gzip", b"", id="nothing at all, as after HEAD"),
    ],
)
def test_what_browsers_accept_is_accepted(coded: bytes, name: str, content: bytes) -> None:
    assert decode(coded, name) == Decoded(content, None, False)


GZIPPED = gzip.compress(TEXT, mtime=0)


@pytest.mark.parametrize(
    ("coded", "codings", "error"),
    [
        pytest.param(TEXT, ["compress"], "unknown_coding", id="unknown"),
        pytest.param(GZIPPED, ["gzip", "aes128gcm"], "unknown_coding", id="unknown above a known one"),
        pytest.param(GZIPPED, ["gzip"] * (MAX_CODINGS + 1), "too_many_codings", id="too many"),
        pytest.param(TEXT, ["gzip"], "broken_coding", id="gzip that is none"),
        pytest.param(TEXT, ["deflate"], "broken_coding", id="deflate that is none"),
        pytest.param(TEXT, ["br"], "broken_coding", id="brotli that is none"),
        pytest.param(TEXT, ["zstd"], "broken_coding", id="zstd that is none"),
        pytest.param(GZIPPED[:-8] + b"\0" * 8, ["gzip"], "broken_coding", id="gzip with a wrong checksum"),
        pytest.param(GZIPPED + GZIPPED[:4] + b"\xff" * 20, ["gzip"], "broken_coding", id="a broken second member"),
        pytest.param(encode(b"a", ["br"]) + b"garbage", ["br"], "broken_coding", id="brotli and garbage"),
        pytest.param(zstd.compress(b"a") + b"garbage", ["zstd"], "broken_coding", id="zstd and garbage"),
        pytest.param(wide_zstd(b"a"), ["zstd"], "broken_coding", id="zstd window over 8 MiB"),
        pytest.param(encode(TEXT, ["br"]), ["gzip", "br"], "broken_coding", id="the inner coding"),
        pytest.param(gzip.compress(b"") * (MAX_MEMBERS + 1), ["gzip"], "broken_coding", id="too many gzip members"),
        pytest.param(zstd.compress(b"") * (MAX_MEMBERS + 1), ["zstd"], "broken_coding", id="too many zstd frames"),
        pytest.param(encode(GZIPPED[:-1], ["br"]), ["gzip", "br"], "truncated_coding", id="inner coding cut short"),
    ],
)
def test_failed_coding_leaves_the_coded_bytes(coded: bytes, codings: list[str], error: str) -> None:
    assert decode(coded, *codings) == Decoded(coded, error, False)


@pytest.mark.parametrize("name", ENCODERS)
def test_coding_cut_short_anywhere_leaves_the_coded_bytes(name: str) -> None:
    coded = encode(TEXT, [name])
    for end in range(1, len(coded)):
        assert decode(coded[:end], name) == Decoded(coded[:end], "truncated_coding", False)


@pytest.mark.parametrize("name", ENCODERS)
def test_transfer_cut_short_leaves_what_could_be_decoded(name: str) -> None:
    data = random.Random(1).randbytes(200_000)
    coded = encode(data, [name])
    decoded = decode(coded[: len(coded) // 2], name, cut=True)
    assert (decoded.error, decoded.overflow) == (None, False)
    assert data.startswith(decoded.content)
    assert decoded.content


@pytest.mark.parametrize("codings", [[], ["gzip"], ["deflate"], ["br"], ["zstd"], ["zstd", "br"]], ids=str)
@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_content_is_cut_at_the_limit(codings: list[str], excess: int) -> None:
    data = random.Random(2).randbytes(100_000)
    decoded = decode(encode(data, codings), *codings, max_bytes=len(data) - excess)
    assert decoded == Decoded(data[: len(data) - max(excess, 0)], None, excess > 0)


def test_coded_bytes_that_are_kept_are_cut_at_the_limit_too() -> None:
    assert decode(TEXT, "compress", max_bytes=10) == Decoded(TEXT[:10], "unknown_coding", True)
    assert decode(TEXT, "br", max_bytes=10) == Decoded(TEXT[:10], "broken_coding", True)


def test_overflow_is_seen_while_the_body_comes() -> None:
    decoder = BodyDecoder(["gzip"], 1000)
    decoder.feed(encode(random.Random(3).randbytes(3 * BLOCK_BYTES), ["gzip"])[: 2 * BLOCK_BYTES])
    assert decoder.overflow
    assert decoder.held_bytes <= 1000


def test_broken_coding_gives_up_what_was_decoded() -> None:
    coded = bytearray(encode(random.Random(4).randbytes(4 * BLOCK_BYTES), ["gzip"]))
    coded[-8:] = bytes(8)
    decoder = BodyDecoder(["gzip"], MIB)
    decoder.feed(bytes(coded))
    assert decoder.finish().error == "broken_coding"
    assert decoder.held_bytes == len(coded)


def test_limit_passed_and_coding_broken_in_one_block_is_broken_however_the_bytes_come() -> None:
    coded = bytearray(encode(random.Random(5).randbytes(2000), ["gzip"]))
    coded[-8:] = bytes(8)
    whole = decode(bytes(coded), "gzip", max_bytes=1000)
    assert whole.error == "broken_coding"
    assert decode(bytes(coded), "gzip", max_bytes=1000, pieces=[1] * len(coded)) == whole


@pytest.mark.parametrize(
    ("name", "coded", "content"),
    [
        pytest.param("gzip", gzip.compress(b"a") + gzip.compress(b"b") + b"\x1f\x8b", b"ab", id="gzip"),
        pytest.param("deflate", zlib.compress(TEXT), TEXT, id="deflate"),
        pytest.param("deflate", raw_deflate(TEXT), TEXT, id="raw deflate"),
        pytest.param("br", encode(TEXT, ["br"]), TEXT, id="brotli"),
        pytest.param("zstd", zstd.compress(b"a") + zstd.compress(b"b"), b"ab", id="zstd"),
    ],
)
def test_a_layer_decodes_single_bytes(name: str, coded: bytes, content: bytes) -> None:
    layer = content_coding._LAYERS[name]()
    assert b"".join(piece for byte in coded for piece in layer.decode(bytes([byte]))) == content
    assert layer.complete


MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=3)


@given(
    data=st.one_of(st.binary(max_size=3000), st.integers(1, 300_000).map(lambda n: b"ab" * n)),
    codings=st.lists(st.sampled_from([*ENCODERS, "unknown"]), max_size=3),
    mutations=MUTATIONS,
    tail=st.binary(max_size=20),
    sizes=st.lists(st.integers(0, 5000), max_size=20),
    max_bytes=st.sampled_from([10, 2000, STEP_BYTES, MIB]),
    cut=st.booleans(),
)
def test_result_does_not_depend_on_how_the_bytes_come(
    data: bytes,
    codings: list[str],
    mutations: list[tuple[int, int]],
    tail: bytes,
    sizes: list[int],
    max_bytes: int,
    cut: bool,
) -> None:
    coded = bytearray(encode(data, [name for name in codings if name != "unknown"]) + tail)
    for at, value in mutations:
        if coded:
            coded[at % len(coded)] = value
    whole = decode(bytes(coded), *codings, max_bytes=max_bytes, cut=cut)
    assert decode(bytes(coded), *codings, max_bytes=max_bytes, cut=cut, pieces=sizes) == whole
    assert len(whole.content) <= max_bytes
    if whole.error:
        assert bytes(coded).startswith(whole.content)


@given(st.binary(max_size=400), st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=3))
def test_no_bytes_raise(data: bytes, codings: list[str]) -> None:
    decoded = decode(data, *codings)
    assert decoded.error in (None, "broken_coding", "truncated_coding")


@cache
def zeros(name: str, length: int) -> bytes:
    """Zero bytes, coded without holding them all in memory."""
    packers = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj,
        "zstd": zstd.ZstdCompressor,
    }
    if name == "br":
        packer = brotli.Compressor(quality=1)
        return b"".join([*(packer.process(bytes(MIB)) for _ in range(length // MIB)), packer.finish()])
    made = packers[name]()
    return b"".join([*(made.compress(bytes(MIB)) for _ in range(length // MIB)), made.flush()])


@pytest.mark.parametrize(
    "outer", [[], ["gzip"], ["br"], ["zstd"], ["gzip", "zstd"]], ids=lambda names: "+".join(names) or "alone"
)
@pytest.mark.parametrize("name", ENCODERS)
def test_bomb_of_512_mib_stays_near_the_limit(name: str, outer: list[str]) -> None:
    bomb = encode(zeros(name, 512 * MIB), outer)
    decoder = BodyDecoder([name, *outer], MIB)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    started = time.process_time()
    for at in range(0, len(bomb), BLOCK_BYTES):
        decoder.feed(bomb[at : at + BLOCK_BYTES])
    decoded = decoder.finish()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert decoded.overflow
    assert decoded.content == bytes(MIB)
    assert peak < 4 * MIB
    assert time.process_time() - started < 5  # 512 MiB take several times as long


def test_bomb_that_ends_in_nothing_stops_as_well() -> None:
    """Empty deflate blocks of 5 bytes, compressed a thousandfold by another coding."""
    empty_blocks = b"\0\0\0\xff\xff" * (64 * MIB // 5)
    bomb = encode(empty_blocks, ["zstd"])
    decoder = BodyDecoder(["deflate", "zstd"], MIB)
    decoder.feed(bomb)
    assert decoder.finish() == Decoded(b"", None, True)


def test_step_stays_bounded_for_every_coding() -> None:
    for name, layer in content_coding._LAYERS.items():
        coded = zeros(name, 64 * MIB)
        longest = max(map(len, layer().decode(coded)))
        assert longest <= STEP_BYTES, name
