"""A JSON schema of the configuration, for editors: written from the attrs classes, so that it cannot say anything else."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any, Final

import attrs

from atp_trio.config.model import TransportConfig
from atp_trio.config.secret import Secret
from atp_trio.config.structure import bare_type, field_types, item_type
from atp_trio.hypervisor.uri import HostUri
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.setting import Number, Optional

__all__ = ["json_schema"]

_PLAIN: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Path: {"type": "string"},
    HostUri: {"type": "string"},
    SpiceUri: {"type": "string"},
}


def json_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of what `load_config` reads."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "atp-trio configuration",
        **_of_class(TransportConfig),
    }


def _of_type(kind: Any) -> dict[str, Any]:
    kind = bare_type(kind)
    if kind is Secret:
        return _of_secret()
    inner = item_type(kind)
    if inner is not None:
        return {"type": "array", "items": _of_type(inner)}
    return dict(_PLAIN[kind]) if kind in _PLAIN else _of_class(kind)


def _of_class(kind: type[attrs.AttrsInstance]) -> dict[str, Any]:
    kinds, told = field_types(kind), _field_docs(kind)
    fields = attrs.fields(kind)
    properties = {field.name: _of_field(field, kinds[field.name], told.get(field.name)) for field in fields}
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _of_field(field: attrs.Attribute[Any], kind: Any, told: str | None) -> dict[str, Any]:
    schema = _of_type(kind)
    if told is not None:
        schema["description"] = told
    if isinstance(field.default, str | int | float | tuple):
        schema["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    rule = field.validator.rule if isinstance(field.validator, Optional) else field.validator
    if isinstance(rule, Number):
        bounds = {"exclusiveMinimum": rule.above, "minimum": rule.minimum, "maximum": rule.maximum}
        schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    # A setting without a value is one that is left out.
    return schema if field.default is attrs.NOTHING else _or_nothing(schema)


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}


def _of_secret() -> dict[str, Any]:
    told = _field_docs(Secret)
    sources: dict[str, dict[str, Any]] = {
        "env": {"type": "string"},
        "file": {"type": "string"},
        "command": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    }
    objects = [
        {
            "type": "object",
            "properties": {name: kind | {"description": told[name]}},
            "required": [name],
            "additionalProperties": False,
        }
        for name, kind in sources.items()
    ]
    return {"anyOf": [{"type": "string", "description": told["value"]}, *objects]}


def _field_docs(kind: type[attrs.AttrsInstance]) -> dict[str, str]:
    """The text under each field, which Python itself does not keep."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    told: dict[str, str] = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            told[field.target.id] = " ".join(text.value.value.split())
    return told
