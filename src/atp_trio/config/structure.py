"""From plain values to attrs classes, every mistake noted.

Each field is read and checked by itself (its validator is called here, before the class is made), so that one wrong value hides
no other; what is wrong between the fields of a class shows when each of them is right. Nothing is converted that is not meant: a
number is no text, and a text is no list.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from atp_trio.config.document import Document, KeyPath
from atp_trio.config.secret import Secret
from atp_trio.errors import ConfigError
from atp_trio.hypervisor.uri import HostUri
from atp_trio.spice.streams.uri import SpiceUri

__all__ = ["bare_type", "field_types", "item_type", "structure"]

T = TypeVar("T")

_SHOWN: Final = 60


def structure(document: Document, kind: type[T], base: Path) -> T | None:
    """Make a `kind` of the document's data; None where something is wrong, which is then noted in the document.

    Args:
        document: What was read.
        kind: An attrs class.
        base: The directory that relative paths start from.
    """
    try:
        return _make_converter(base).structure(document.data, kind)
    except Exception as error:
        if not _note(document, error, ()):
            raise
        return None


def field_types(kind: type[attrs.AttrsInstance]) -> dict[str, Any]:
    """The types of a class's fields."""
    attrs.resolve_types(kind)
    return {field.name: field.type for field in attrs.fields(kind)}


def bare_type(kind: Any) -> Any:
    """The type itself, where it may also be None."""
    if isinstance(kind, types.UnionType):
        return next(one for one in typing.get_args(kind) if one is not types.NoneType)
    return kind


def item_type(kind: Any) -> Any:
    """The type of a list's items; None where it is no list."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _make_converter(base: Path) -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _class_hook(kind, converter))
    converter.register_structure_hook_func(lambda kind: item_type(kind) is not None, _tuple_hook(converter))
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Path, lambda value, _: base / Path(_text(value)).expanduser())
    converter.register_structure_hook(HostUri, lambda value, _: HostUri.parse(_text(value)))
    converter.register_structure_hook(SpiceUri, lambda value, _: SpiceUri.parse(_text(value)))
    secret_hook = _class_hook(Secret, converter)
    converter.register_structure_hook(Secret, lambda value, _: _secret(value, secret_hook))
    return converter


# --- fields and classes

Hook = Callable[[Any, Any], Any]


def _class_hook(kind: type[attrs.AttrsInstance], converter: Converter) -> Hook:
    field_types(kind)
    overrides: dict[str, Any] = {field.name: override(struct_hook=_field_hook(field, converter)) for field in attrs.fields(kind)}
    make = make_dict_structure_fn(kind, converter, **overrides)

    def hook(value: Any, wanted: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ConfigError(f"settings are wanted here, not {_show(value)}")
        return make(value, wanted)

    return hook


def _field_hook(field: attrs.Attribute[Any], converter: Converter) -> Hook:
    def hook(value: Any, wanted: Any) -> Any:
        try:
            made = converter.structure(value, wanted)
            if field.validator is not None:
                field.validator(None, field, made)
        except ConfigError as error:
            # A plain text that is secret: the sentence would show it.
            if not field.repr and not isinstance(wanted, type) and str in typing.get_args(wanted):
                raise ConfigError("a text is wanted; a number or a truth value stands in quotes") from None
            raise error from None
        return made

    return hook


def _tuple_hook(converter: Converter) -> Hook:
    def hook(value: Any, wanted: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"a list is wanted here, not {_show(value)}")
        inner = item_type(wanted)
        made, errors = [], []
        for number, one in enumerate(value):
            try:
                made.append(converter.structure(one, inner))
            except Exception as error:  # noqa: BLE001 - all of them are told
                error.__notes__ = [*getattr(error, "__notes__", []), IterableValidationNote("an item", number, inner)]
                errors.append(error)
        if errors:
            raise IterableValidationError("a list", errors, wanted)
        return tuple(made)

    return hook


def _secret(value: Any, hook: Hook) -> Secret:
    if isinstance(value, str):
        return Secret(value=value)
    if isinstance(value, Mapping) and "value" not in value:
        if isinstance(value.get("command"), str):
            raise ConfigError("command is a list: the program and its arguments")
        made: Secret = hook(value, Secret)
        return made
    raise ConfigError("a password is a text (a number stands in quotes), or one of env, file and command")


# --- plain values


def _text(value: Any, _: Any = None) -> str:
    if not isinstance(value, str):
        hint = "; put it in quotes" if isinstance(value, int | float) else ""
        raise ConfigError(f"a text is wanted, not {_show(value)}{hint}")
    return value


def _truth(value: Any, _: Any = None) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"true or false is wanted, not {_show(value)}")
    return value


def _whole_number(value: Any, _: Any = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"a whole number is wanted, not {_show(value)}")
    return value


def _number(value: Any, _: Any = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"a number is wanted, not {_show(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError("this number is too large") from None


def _show(value: Any) -> str:
    if isinstance(value, dict | list):
        return "settings" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# --- mistakes


def _note(document: Document, error: BaseException, path: KeyPath) -> bool:
    """Note what an error says, and where; whether it is one of those that a configuration can cause."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        return all([_note_part(document, part, path) for part in error.exceptions])  # noqa: C419 - each is noted
    if isinstance(error, ForbiddenExtraKeysError):
        for name in error.extra_fields:
            known = ", ".join(field.name for field in attrs.fields(error.cl))
            document.wrong((*path, name), f"there is no such setting; there are {known}", of_key=True)
        return True
    if isinstance(error, KeyError):
        document.wrong(path, "it is missing")
        return True
    if isinstance(error, ConfigError):
        document.wrong(path, str(error))
        return True
    return False


def _note_part(document: Document, error: BaseException, path: KeyPath) -> bool:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return _note(document, error, (*path, note.name))
        if isinstance(note, IterableValidationNote):
            return _note(document, error, (*path, note.index))
    return _note(document, error, path)
