"""The command line: `metadata-inventory serve`, and what operators ask of a running service.

Imports stand inside functions: multiprocessing's forkserver imports `__main__`, and with it this module, into every
collector process, which needs nothing of the service.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# The settings that have a flag, and what stands for their value in the help; None for a switch, which has no value.
FLAGS: dict[str, str | None] = {
    "host": "HOST",
    "port": "PORT",
    "processes": "N",
    "lanes": "N",
    "data_dir": "DIR",
    "allow_destinations": "CIDR[:PORT]",
    "allow_loopback": None,
    "log_level": "LEVEL",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0 after a wanted end, 1 when a running service refused what it was asked, 2 when
    the command could not start (or was called wrongly).
    """
    given = vars(_build_parser().parse_args(arguments))
    run: Callable[[dict[str, Any]], int] = given.pop("run")
    return run(given)


def _serve(given: dict[str, Any]) -> int:
    import os

    from metadata_inventory.errors import StartError
    from metadata_inventory.service import logs
    from metadata_inventory.service.setting_sources import load

    try:
        settings = load(given["config"], os.environ, {name: given[name] for name in FLAGS})
        logs.set_up(settings.log_level)

        from metadata_inventory.service.supervisor import Supervisor

        return Supervisor(settings).run()
    except StartError as error:
        print(f"error: {' '.join(error.detail.split())} [{error.code}]", file=sys.stderr)
        return 2


def _show_queue(given: dict[str, Any]) -> int:
    from metadata_inventory.cli.queue import show_queue

    return show_queue(given["service"], as_json=given["json"])


def _requeue(given: dict[str, Any]) -> int:
    from metadata_inventory.cli.queue import requeue

    return requeue(given["service"], given["code"])


def _add_key(given: dict[str, Any]) -> int:
    from metadata_inventory.cli import keys

    return keys.add(given["file"], given["name"], given["scope"])


def _list_keys(given: dict[str, Any]) -> int:
    from metadata_inventory.cli import keys

    return keys.show(given["file"])


def _revoke_key(given: dict[str, Any]) -> int:
    from metadata_inventory.cli import keys

    return keys.revoke(given["file"], given["id"])


def _build_parser() -> argparse.ArgumentParser:
    import argparse

    from metadata_inventory import __version__

    parser = argparse.ArgumentParser(
        prog="metadata-inventory",
        description="Give it a URL: it keeps what the URL's server answered.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_queue(commands)
    _add_keys(commands)
    return parser


def _add_keys(commands: Commands) -> None:
    import os

    from metadata_inventory.access.keys import Scope

    keys = commands.add_parser("keys", help="make, list and revoke API keys", description="The API keys of a service.")
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key; it is shown once", allow_abbrev=False)
    add.add_argument("name", metavar="NAME", help="whose it is")
    add.add_argument(
        "--scope",
        action="append",
        choices=[str(scope) for scope in Scope],
        help="what it allows; may be repeated (default: read and collect)",
    )
    show = actions.add_parser("list", help="list the keys, without their secrets", allow_abbrev=False)
    revoke = actions.add_parser("revoke", help="revoke a key; a service notices within a second", allow_abbrev=False)
    revoke.add_argument("id", metavar="ID", help="as listed; the part of the key between its underscores")
    file = os.environ.get("INVENTORY_KEYS_FILE")
    for action, run in ((add, _add_key), (show, _list_keys), (revoke, _revoke_key)):
        action.set_defaults(run=run)
        action.add_argument(
            "--file",
            required=not file,
            default=file,
            metavar="FILE",
            help="the setting keys_file (INVENTORY_KEYS_FILE)",
        )


def _add_queue(commands: Commands) -> None:
    queue = commands.add_parser(
        "queue",
        help="show what a running service owes",
        description="Show what a running service owes.",
        allow_abbrev=False,
    )
    queue.add_argument("--json", action="store_true", help="as the API answers it")
    requeue = commands.add_parser(
        "requeue",
        help="put failed collections back",
        description="Put failed collections back: each is owed again, with all its attempts.",
        allow_abbrev=False,
    )
    requeue.add_argument(
        "--code", action="append", default=[], metavar="CODE", help="only what failed with this code; may be repeated"
    )
    for command, run in ((queue, _show_queue), (requeue, _requeue)):
        command.set_defaults(run=run)
        command.add_argument(
            "--service",
            type=_service_url,
            default="http://localhost:8000",
            metavar="URL",
            help="where the service listens (default: %(default)s); its API key is read from METADATA_INVENTORY_TOKEN",
        )


def _service_url(text: str) -> str:
    """The argument, when requests can be sent there."""
    import argparse
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is no number
        fits = False
    if not fits or not re.fullmatch(r"[!-~]+", text) or "?" in text or "#" in text or "@" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL of a service; one is http://HOST or http://HOST:PORT")
    return text


def _add_serve(commands: Commands) -> None:
    from metadata_inventory.service.setting_sources import CONFIG_FILE_VARIABLE
    from metadata_inventory.service.settings import DECLARATIONS, Settings

    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service: the HTTP API, its collectors and, without MONGO_URI, an embedded database.",
        epilog="Every setting can be given in the configuration file or the environment; MONGO_URI names the MongoDB "
        "to use. A flag overrides the environment, and the environment overrides the file.",
        allow_abbrev=False,
    )
    serve.set_defaults(run=_serve)
    serve.add_argument(
        "--config", metavar="FILE", help=f"TOML file with settings ({CONFIG_FILE_VARIABLE}; default: none)"
    )
    defaults = Settings()
    for name, metavar in FLAGS.items():
        default = getattr(defaults, name) or ("none" if metavar else "off")
        declaration = DECLARATIONS[name]
        described = f"{declaration.description} ({declaration.variable}; default: {default})"
        shown = described.replace("%", "%%")
        if metavar is None:
            serve.add_argument(declaration.flag, dest=name, action="store_true", default=None, help=shown)
        else:
            action = "append" if declaration.is_list else "store"
            serve.add_argument(declaration.flag, dest=name, metavar=metavar, action=action, help=shown)
