"""`/api/metadata/{id}/body/`: the stored body, byte for byte.

The origin wrote these bytes: the answer's headers keep a browser from showing them as a page of this service.
"""

from __future__ import annotations

from metadata_inventory import errors
from metadata_inventory.model.capture import Body
from metadata_inventory.model.view import body_bytes
from metadata_inventory.web.api.representation import run_aside
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation

_HEADERS = ("ETag", "Content-Disposition", "Content-Security-Policy")


class BodyHandler(BaseHandler):
    @operation(
        Operation(
            summary="Read the decoded body of a record, byte for byte.",
            answers={
                200: Answer("The bytes, with the media type that the origin sent.", bytes, _HEADERS),
                304: Answer("The body has the ETag of `If-None-Match`.", headers=_HEADERS),
            },
            errors=(errors.RecordNotFound, errors.Unavailable),
        )
    )
    async def get(self, record_id: str) -> None:
        entry = await self.services.inventory.read(record_id, wait_s=0)
        if entry.capture is None:
            raise errors.RecordNotFound("No capture is stored under this id.")
        body = entry.capture.body
        self.set_header("ETag", f'"{body.sha256}"')
        self.set_header("Cache-Control", "no-cache")
        # A browser is to save the bytes, not to show them, and if it shows them, to run no script in them. A 304 has
        # these headers too: a cache updates those of its stored answer from it (RFC 9111 §4.3.4).
        self.set_header("Content-Disposition", f'attachment; filename="{entry.id[:16]}"')
        self.set_header("Content-Security-Policy", "sandbox; default-src 'none'")
        if self.matches_etag():
            return
        self.set_header("Content-Type", content_type(body))
        content = await self.services.inventory.content(entry)
        if content is None:
            raise errors.Unavailable("The body is being replaced by a newer one; ask again in 1 s.", retry_after_s=1)
        self.finish(await run_aside(body.length, body_bytes, content))


def content_type(body: Body) -> str:
    """The origin's media type, with the charset that was found. Bytes whose content coding failed have no type."""
    if body.coding_error is not None or body.media_type is None:
        return "application/octet-stream"
    return f"{body.media_type}; charset={body.charset}" if body.charset else body.media_type
