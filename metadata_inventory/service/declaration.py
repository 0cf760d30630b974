"""The declaration of a setting beside its default: its type, its meaning, its names and its checks.

The type of a setting says most of how it is read. A tuple is given as a list in TOML and with commas in a variable.
Where the type allows None, an empty text means None, as TOML has no null. A choice may be given in any case. The rest
stands in `Meta.extra`: "expected" says in words what a value must be; the other keys are fields of `Declaration`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct


class Declaration(Struct, frozen=True, kw_only=True):
    """The declaration of one setting beside its default."""

    name: str
    kind: Any  # the annotated type
    description: str
    variable: str  # in the environment
    flag: str  # on the command line, for the settings that have one
    check: Callable[[Any], object] | None = None  # raises InvalidSettings for a value of the right type that is wrong
    redact: Callable[[Any], str] | None = None  # for a value that may hold a secret: what may be shown of it

    @property
    def is_list(self) -> bool:
        return get_origin(self.kind.__origin__) is tuple

    @property
    def optional(self) -> bool:
        return NoneType in get_args(self.kind.__origin__)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The only values that the setting can have; empty when it is not limited to some."""
        return get_args(self.kind.__origin__) if get_origin(self.kind.__origin__) is Literal else ()

    def show(self, value: object) -> str:
        """The value as it may be logged."""
        return self.redact(value) if self.redact is not None and value is not None else repr(value)


def read_declarations(settings: type[Struct], *, variable_prefix: str) -> dict[str, Declaration]:
    """The declaration of each field of `settings`, by its name. Each has an annotation with one `Meta`."""
    return {field.name: _declare(field, variable_prefix) for field in msgspec.structs.fields(settings)}


def _declare(field: msgspec.structs.FieldInfo, variable_prefix: str) -> Declaration:
    (meta,) = field.type.__metadata__
    names = {"variable": variable_prefix + field.name.upper(), "flag": "--" + field.name.replace("_", "-")}
    extra = {key: value for key, value in (meta.extra or {}).items() if key != "expected"}
    return Declaration(name=field.name, kind=field.type, description=meta.description, **names | extra)
