"""Makes the database server fail commands, by MongoDB's fail point `failCommand`; the embedded database has it too."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient


async def fail_commands(mongo_uri: str, *commands: str, mode: dict[str, int], **fault: Any) -> None:
    """Make the next commands of these names fail, whichever client sends them; the mode `{"times": 0}` ends it."""
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as admin:
        data = {"failCommands": commands, **fault}
        await admin.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)


async def block_commands(mongo_uri: str, *commands: str, times: int, block_s: float) -> None:
    """Delay the next `times` commands of these names by `block_s`."""
    mode = {"times": times}
    await fail_commands(mongo_uri, *commands, mode=mode, blockConnection=True, blockTimeMS=round(block_s * 1000))
