"""Builds what is stored of the last hop's body: its description, the summary of an HTML page, the compressed bytes."""

from __future__ import annotations

import hashlib

from backports import zstd

from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.outcomes import Truncation
from metadata_inventory.collect.parse.content_coding import Decoded
from metadata_inventory.collect.parse.content_type import Identified, identify, parse_media_type
from metadata_inventory.collect.parse.summary import HTML_TYPES, MAX_HTML_CHARACTERS, summarize
from metadata_inventory.model.capture import Body, Summary
from metadata_inventory.model.charsets import decode

LEVEL = 3  # zstd's default


def build_body(hop: Hop, truncated: Truncation | None) -> tuple[Body, Summary | None, bytes]:
    """The description, the summary if the body is HTML, and the decoded content as one zstd frame."""
    decoded = Decoded(b"", None, False) if hop.decoder is None else hop.decoder.finish(cut=truncated is not None)
    identified = _identify(decoded, hop.reader.values("content-type"))
    stored = zstd.compress(decoded.content, LEVEL)
    body = Body(
        sha256=hashlib.sha256(decoded.content).hexdigest(),
        length=len(decoded.content),
        stored_length=len(stored),
        wire_length=hop.wire_length,
        wire_sha256=hop.wire_hash.hexdigest(),
        content_codings=hop.codings,
        coding_error=decoded.error,
        media_type=identified.media_type,
        charset=identified.charset,
        charset_source=identified.charset_source,
        encoding=identified.encoding,
        truncated="length" if decoded.overflow else truncated,
    )
    return body, _summarize(decoded.content, identified, hop.url), stored


def _summarize(content: bytes, identified: Identified, url: str) -> Summary | None:
    if identified.charset is None or identified.media_type not in HTML_TYPES:
        return None
    # Characters beyond the summary's own limit are not decoded. A character takes four bytes at most.
    text = decode(content[: 4 * (MAX_HTML_CHARACTERS + 1)], identified.charset)
    return summarize(text, url, identified.media_type)


def _identify(decoded: Decoded, content_types: list[str]) -> Identified:
    """Of several Content-Type lines the last counts, as in browsers. Content that is still coded is not text."""
    content_type = content_types[-1] if content_types else None
    if decoded.error is None:
        return identify(decoded.content, content_type)
    media_type = parse_media_type(content_type)[0] if content_type else None
    return Identified(media_type=media_type, charset=None, charset_source=None, encoding="base64")
