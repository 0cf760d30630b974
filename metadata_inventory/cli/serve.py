"""`metadata-inventory serve`: reads the settings and runs the service until a signal ends it."""

from __future__ import annotations

import argparse
import os
import sys

from metadata_inventory.errors import StartError
from metadata_inventory.service import logs
from metadata_inventory.service.setting_sources import CONFIG_FILE_VARIABLE, load
from metadata_inventory.service.settings import DECLARATIONS, Settings

# The settings that have a flag, and what stands for their value in the help; None for a switch, which has no value.
# Never one that may hold a secret: every user of the machine can read the command line of a process.
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


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service: the HTTP API, its lane processes and, without MONGO_URI, an embedded database.",
        epilog="Every setting can be given in the configuration file or the environment; MONGO_URI names the MongoDB "
        "to use. A flag overrides the environment, and the environment overrides the file.",
        allow_abbrev=False,
    )
    serve.set_defaults(run=run)
    serve.add_argument(
        "--config", metavar="FILE", help=f"TOML file with settings ({CONFIG_FILE_VARIABLE}; default: none)"
    )
    for name, metavar in FLAGS.items():
        _add_flag(serve, name, metavar)


def run(given: argparse.Namespace) -> int:
    """The exit status: 0 after an end that was asked for, 2 when the service could not start."""
    try:
        settings = load(given.config, os.environ, {name: getattr(given, name) for name in FLAGS})
        logs.set_up(settings.log_level)

        from metadata_inventory.service.supervisor import Supervisor  # not needed to read the settings or show the help

        return Supervisor(settings).run()
    except StartError as error:
        print(f"error: {' '.join(error.detail.split())} [{error.code}]", file=sys.stderr)
        return 2


def _add_flag(serve: argparse.ArgumentParser, name: str, metavar: str | None) -> None:
    declaration = DECLARATIONS[name]
    default = getattr(Settings(), name) or ("none" if metavar else "off")
    described = f"{declaration.description} ({declaration.variable}; default: {default})".replace("%", "%%")
    if metavar is None:
        serve.add_argument(declaration.flag, dest=name, action="store_true", default=None, help=described)
    else:
        action = "append" if declaration.is_list else "store"
        serve.add_argument(declaration.flag, dest=name, metavar=metavar, action=action, help=described)
