"""The command line: assembles the parsers of all commands and runs the one that was called.

The parser of a command is in the command's module (`queue` and `requeue` share `cli.queue`). This module imports none
of them, and no large package, before `main` is called: multiprocessing's forkserver imports `__main__`, and with it
this module, into every lane process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: the command has done its work. 1: a running service refused a request, or a file could not be used. 2: the
    command was called wrongly, or the service could not start.
    """
    given = _build_parser().parse_args(arguments)
    return int(given.run(given))


def _build_parser() -> argparse.ArgumentParser:
    import argparse

    from metadata_inventory import __version__
    from metadata_inventory.cli import keys, queue, serve

    parser = argparse.ArgumentParser(
        prog="metadata-inventory",
        description="Give it a URL: it stores the headers, cookies and page source of the response.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (serve, queue, keys):
        command.add_parsers(commands)
    return parser
