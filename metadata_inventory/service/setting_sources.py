"""Reads the settings from a TOML file, the environment and the flags of the command line.

Each source overrides the one before it. A name that is no setting, or a value that does not fit, is refused with its
source, so that a misspelt setting is never silently replaced by its default. A message never shows the value of a
setting that may hold a secret.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.service.declaration import Declaration
from metadata_inventory.service.kubernetes import find_service_variables
from metadata_inventory.service.settings import DECLARATIONS, ENVIRONMENT_PREFIX, Settings
from metadata_inventory.validation import ValueMismatch, convert, expectation, show

CONFIG_FILE_VARIABLE = "INVENTORY_CONFIG"

_BY_VARIABLE = {declaration.variable: declaration for declaration in DECLARATIONS.values()}


def load(config_file: str | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings in force. `flags` holds the values given on the command line, None for those that were not given.

    Without `config_file` the file is the one that INVENTORY_CONFIG names, if any. Raises InvalidSettings.
    """
    values: dict[str, Any] = {}
    config_file = config_file or environ.get(CONFIG_FILE_VARIABLE)
    if config_file:
        values |= _read_file(config_file)
    values |= _read_environment(environ)
    values |= _read_flags(flags)
    try:
        return Settings(**values)
    except ValueError as error:  # each value fits; two of them do not go together
        raise InvalidSettings(str(error)) from None


def _read_file(path: str) -> dict[str, object]:
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise InvalidSettings(f"The configuration file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidSettings(f"The configuration file {path} is not UTF-8 text: see line {line}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"The configuration file {path} is not valid TOML: see {_locate(error, text)}.") from None
    for name in table:
        if name not in DECLARATIONS:
            raise InvalidSettings(f"{path}: there is no setting {show(name)}.{_suggest(name, DECLARATIONS)}")
    return {name: _convert(DECLARATIONS[name], value, source=path) for name, value in table.items()}


def _locate(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Where the text is wrong. Before Python 3.14 the error says so in its own text only."""
    place = re.search(r"line [0-9]+, column [0-9]+", str(error))
    return place[0] if place else f"line {len(text.splitlines())}, its last"


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings among the variables.

    An empty variable counts as not set: a compose file's `${NAME:-}` makes an empty one of a variable that is missing.
    """
    foreign = {CONFIG_FILE_VARIABLE, *find_service_variables(environ)}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        if variable in foreign:
            continue
        if declaration := _BY_VARIABLE.get(variable):
            if text:
                values[declaration.name] = _convert(declaration, text, source=variable)
        elif variable.startswith(ENVIRONMENT_PREFIX):
            raise InvalidSettings(f"{variable}: there is no such setting.{_suggest(variable, _BY_VARIABLE)}")
    return values


def _read_flags(flags: Mapping[str, object]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in flags.items():
        if value is not None:
            declaration = DECLARATIONS[name]
            text = ",".join(value) if isinstance(value, list) else value  # a flag that was given more than once
            values[name] = _convert(declaration, text, source=declaration.flag)
    return values


def _convert(declaration: Declaration, value: object, *, source: str) -> object:
    """The value as the setting's type. Text may spell any type, as variables and flags are nothing else."""
    is_text = isinstance(value, str)
    if isinstance(value, str):
        value = _prepare_text(declaration, value)
    try:
        converted: object = convert(declaration.name, value, declaration.kind, strict=not is_text)
        if declaration.check is not None and converted is not None:
            declaration.check(converted)
    except ValueMismatch as mismatch:
        sentence = str(mismatch)
        if declaration.redact is not None:
            sentence = f"{declaration.name} must be {expectation(declaration.kind)}."
        raise InvalidSettings(f"{source}: {sentence}") from None
    except InvalidSettings as error:
        raise InvalidSettings(f"{source}: {error.detail}") from None
    return converted


def _prepare_text(declaration: Declaration, text: str) -> object:
    if declaration.is_list:
        return [item.strip() for item in text.split(",") if item.strip()]
    if declaration.optional and not text:
        return None
    return next((choice for choice in declaration.choices if choice.lower() == text.lower()), text)


def _suggest(name: str, known: Collection[str]) -> str:
    """A sentence that names the setting that was probably meant; empty when none resembles it."""
    without_prefix = name.removeprefix(ENVIRONMENT_PREFIX)
    close = [without_prefix] if without_prefix in known else difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""
