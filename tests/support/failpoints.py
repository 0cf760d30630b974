"""Faults that the database server is told to make: MongoDB's `failCommand`, which the embedded one knows as well."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient


async def fail_commands(mongo_uri: str, *commands: str, mode: dict[str, int], **fault: Any) -> None:
    """The next commands of these names, of whomever, fail so; `{"times": 0}` ends it."""
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as admin:
        data = {"failCommands": commands, **fault}
        await admin.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)


async def block_commands(mongo_uri: str, *commands: str, times: int, block_s: float) -> None:
    """The next commands of these names are carried out `block_s` later."""
    mode = {"times": times}
    await fail_commands(mongo_uri, *commands, mode=mode, blockConnection=True, blockTimeMS=round(block_s * 1000))
