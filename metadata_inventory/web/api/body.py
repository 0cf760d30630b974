"""`/api/metadata/{id}/body/`: the stored body, byte for byte, in a form that no browser takes for a page of ours."""

from __future__ import annotations

import asyncio

from metadata_inventory import errors
from metadata_inventory.model.capture import Body
from metadata_inventory.model.view import body_bytes
from metadata_inventory.web.api.answers import THREAD_BYTES
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation

_HEADERS = ("ETag", "Content-Disposition", "Content-Security-Policy")


class BodyHandler(BaseHandler):
    @operation(
        Operation(
            summary="The decoded body that a record's page source was read from, byte for byte.",
            answers={
                200: Answer("The bytes, under the media type that the origin gave.", bytes, _HEADERS),
                304: Answer("The body is the one that `If-None-Match` names.", headers=_HEADERS),
            },
            errors=(errors.RecordNotFound, errors.Unavailable),
        )
    )
    async def get(self, record_id: str) -> None:
        entry = await self.services.inventory.read(record_id, wait_s=0)
        if entry.capture is None:
            raise errors.RecordNotFound("Nothing has been captured under this id.")
        body = entry.capture.body
        self.set_header("ETag", f'"{body.sha256}"')
        self.set_header("Cache-Control", "no-cache")
        # A stranger wrote it: it is saved, not shown, and where it is shown all the same it runs nothing. A 304 says
        # so too: a cache takes its fields over for what it has stored (RFC 9111 §4.3.4).
        self.set_header("Content-Disposition", f'attachment; filename="{entry.id[:16]}"')
        self.set_header("Content-Security-Policy", "sandbox; default-src 'none'")
        if self.matches_etag():
            return
        self.set_header("Content-Type", content_type(body))
        content = await self.services.inventory.content(entry)
        if content is None:
            raise errors.Unavailable("The body is being replaced by a newer one.", retry_after_s=1)
        large = body.length > THREAD_BYTES
        self.finish(await asyncio.to_thread(body_bytes, content) if large else body_bytes(content))


def content_type(body: Body) -> str:
    """The origin's media type, with the charset that the text was read in; coded bytes are of no type."""
    if body.coding_error is not None or body.media_type is None:
        return "application/octet-stream"
    return f"{body.media_type}; charset={body.charset}" if body.charset else body.media_type
