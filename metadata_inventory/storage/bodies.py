"""Stores bodies that are too large for a document, as GridFS files named by the sha256 of the decoded body.

A file is complete before a record names it. Two collections of the same bytes may leave two files, and either is read.
An upload that broke off leaves chunks that belong to no file.
"""

from __future__ import annotations

import pymongo
from gridfs import AsyncGridFSBucket

# Bound on all chunks of one body together. The client's bound is for one operation.
TRANSFER_S = 60.0


class BodyFiles:
    def __init__(self, bucket: AsyncGridFSBucket) -> None:
        self._bucket = bucket

    async def put(self, sha256: str, content: bytes) -> None:
        """Store the zstd frame, unless there is one under this name."""
        with pymongo.timeout(TRANSFER_S):
            async for _ in self._bucket.find({"filename": sha256}).limit(1):
                return
            await self._bucket.upload_from_stream(sha256, content)

    async def get(self, sha256: str) -> bytes:
        """The zstd frame. Raises `gridfs.errors.NoFile`, a PyMongoError, when there is none."""
        with pymongo.timeout(TRANSFER_S):
            return await (await self._bucket.open_download_stream_by_name(sha256)).read()
