"""The JSON schema says what `load_config` takes."""

from __future__ import annotations

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.config import ConfigMistakes, TransportConfig, json_schema, load_config
from atp_trio.config.structure import bare_type, field_types, item_type

SCHEMA = json_schema()
TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}


def fits(schema, value):
    """Whether a value fits; as much of JSON Schema as ours uses."""
    if "anyOf" in schema:
        return any(fits(one, value) for one in schema["anyOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        return (
            all(name in value for name in schema.get("required", []))
            and all(name in known for name in value)
            and all(fits(known[name], one) for name, one in value.items())
        )
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(fits(schema["items"], one) for one in value)
    if isinstance(value, int | float):
        return (
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        )
    return True


def walk(schema, kind):
    for name, inner in field_types(kind).items():
        found = schema["properties"][name]
        inner = bare_type(inner)  # noqa: PLW2901
        item = item_type(inner)
        if item is not None and attrs.has(item):
            yield from walk(found["items"], item)
        elif attrs.has(inner) and "properties" in found:
            yield from walk(found, inner)
        yield kind, name, found


def test_every_setting_is_there_and_told():
    found = list(walk(SCHEMA, TransportConfig))
    assert len(found) > 50
    assert [(kind.__name__, name) for kind, name, schema in found if not schema.get("description")] == []
    assert all(schema["additionalProperties"] is False for _, _, schema in found if "properties" in schema)


def test_bounds_and_defaults():
    properties = SCHEMA["properties"]
    assert properties["heartbeat"]["properties"]["interval"] == {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": 30.0,
        "description": "How long a peer may be silent before it is probed; without traffic to go by, the time between probes.",
    }
    port = properties["spice"]["properties"]["vms"]["items"]["properties"]["port"]
    assert (port["type"], port["minimum"], port["maximum"]) == (["integer", "null"], 1, 65535)
    assert properties["hosts"]["items"]["required"] == ["id", "host"]


@pytest.mark.parametrize(
    ("data", "is_fit"),
    [
        ({}, True),
        ({"hosts": [{"id": "a", "host": "b", "password": {"env": "X"}}]}, True),
        ({"hosts": [{"id": "a", "host": "b", "password": {"env": "X", "file": "y"}}]}, False),
        ({"hosts": [{"id": "a"}]}, False),
        ({"heartbeat": {"interval": 0}}, False),
        ({"heartbeat": None}, True),
        ({"pool": {"maximum": 1.5}}, False),
        ({"x": 1}, False),
    ],
)
def test_examples(data, is_fit):
    assert fits(SCHEMA, data) == is_fit


names = st.sampled_from(["a", "b", "5900", ""])
numbers = st.integers(-1, 70000) | st.floats(-1, 100) | st.none() | names
vms = st.fixed_dictionaries(
    {"vm_id": names, "server_addr": names, "port": numbers},
    optional={
        "tls": st.booleans() | names,
        "password": names | st.fixed_dictionaries({}, optional={"env": names, "file": names}),
    },
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.lists(st.fixed_dictionaries({"id": names}, optional={"host": names, "x": names}), max_size=2),
        "spice": st.fixed_dictionaries({"vms": st.lists(vms, max_size=2)}),
        "heartbeat": st.fixed_dictionaries({}, optional={"interval": numbers, "patience": numbers}),
        "reconnect": st.fixed_dictionaries({}, optional={"jitter": numbers, "attempts": numbers, "initial": numbers}),
        "pool": st.none() | st.fixed_dictionaries({}, optional={"maximum": numbers}),
    },
)


@given(documents)
def test_what_is_taken_fits(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("schema") / "atp.yaml"
    path.write_text(yaml.safe_dump(data))
    try:
        load_config(path, {})
    except ConfigMistakes:
        return
    assert fits(SCHEMA, data)
