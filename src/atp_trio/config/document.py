"""A YAML file as plain values, each with the place where it stands.

What YAML can say beyond that is refused: keys that are no text, a key that stands there twice, and values that grow by aliases
beyond what a file can hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import yaml

from atp_trio.config.mistake import ConfigMistakes, Mistake, Place

__all__ = ["Document", "KeyPath", "format_key", "parse_document", "parse_value"]

# Far beyond a thousand machines with every setting.
MAX_BYTES: Final = 4 * 2**20
MAX_VALUES: Final = 200_000
MAX_DEPTH: Final = 20
_TOO_MUCH: Final = "too many values, or nested too deeply"

KeyPath = tuple[str | int, ...]
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_SCALARS: Final = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def format_key(path: KeyPath) -> str:
    """A path as people write it: `spice.vms[0].port`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@attrs.define(eq=False)
class Document:
    """What a file says.

    Attributes:
        data: Its values; a setting without a value is left out.
        keys: Where the key of each setting stands.
        values: Where the value of each setting stands.
        mistakes: What was wrong so far.
    """

    file: str
    data: dict[str, Any] = attrs.field(factory=dict)
    keys: dict[KeyPath, Place] = attrs.field(factory=dict)
    values: dict[KeyPath, Place] = attrs.field(factory=dict)
    mistakes: list[Mistake] = attrs.field(factory=list)

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """Where a setting stands; where it is missing, what it should stand in."""
        while path:
            found = (self.keys.get(path) if of_key else None) or self.values.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return self.values.get((), Place(self.file, 1, 1))

    def wrong(self, path: KeyPath, problem: str, *, of_key: bool = False) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(self.place(path, of_key=of_key), format_key(path), problem))


def parse_document(text: bytes, file: str) -> Document:
    """Read YAML.

    Raises:
        ConfigMistakes: It is no YAML, or not a mapping; what is wrong within is in `mistakes` of what is given.
    """
    document = Document(file)
    if len(text) > MAX_BYTES:
        raise ConfigMistakes([Mistake(Place(file), "", f"the file is larger than {MAX_BYTES} bytes")])
    try:
        _check_depth(text)
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        if node is None or node.tag == _NULL:
            return document
        if not isinstance(node, yaml.MappingNode):
            raise ConfigMistakes([Mistake(_place(file, node.start_mark), "", "a mapping of settings is wanted here")])
        document.data = _Reader(document, loader).read(node, ())
    except yaml.YAMLError as error:
        raise ConfigMistakes([_syntax_mistake(file, error)]) from None  # the error's text may show a password
    return document


def _check_depth(text: bytes | str) -> None:
    """The composer, in C, calls itself for every level, and would overrun its stack; the parser before it does not."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            mark: Any = event.start_mark  # the C parser has a class of its own for it
            raise yaml.MarkedYAMLError(problem=_TOO_MUCH, problem_mark=mark)


def parse_value(text: str) -> Any:
    """A single value, as YAML reads it: `10` is a number, `true` a truth value, and what is no YAML a text."""
    try:
        _check_depth(text)
        value = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError):
        return text
    return value if isinstance(value, str | int | float | list | None) else text


def _place(file: str, mark: yaml.error.Mark) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


def _syntax_mistake(file: str, error: yaml.YAMLError) -> Mistake:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return Mistake(_place(file, error.problem_mark), "", f"this is no YAML: {error.problem or error.context}")
    return Mistake(Place(file), "", "this is no YAML: it is not UTF-8 text")


class _Reader:
    """Makes values of nodes, and notes where each stands."""

    def __init__(self, document: Document, loader: yaml.CSafeLoader) -> None:
        self._document = document
        self._loader = loader
        self._count = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self._document.values[path] = _place(self._document.file, node.start_mark)
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_MUCH, problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(one, (*path, number)) for number, one in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag not in _SCALARS:
            return node.value  # a date, say, which is meant as text
        try:
            return self._loader.construct_object(node)
        except (ValueError, OverflowError):
            self._document.wrong(path, "this number is too large")
            return None

    def _read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = self._read_merged(value_node, path) | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._document.mistakes.append(
                    Mistake(_place(self._document.file, key_node.start_mark), format_key(path), "a setting's name is a text")
                )
                continue
            name = str(key_node.value)
            inner = (*path, name)
            if name in found:
                self._document.mistakes.append(
                    Mistake(_place(self._document.file, key_node.start_mark), format_key(inner), "it stands here twice")
                )
                continue
            self._document.keys[inner] = _place(self._document.file, key_node.start_mark)
            found[name] = self.read(value_node, inner)
        both = merged | found
        return {name: value for name, value in both.items() if value is not None}

    def _read_merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        """`<<: *name`: what stands elsewhere counts here, unless it is said here."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for one in nodes:
            if not isinstance(one, yaml.MappingNode):
                raise yaml.MarkedYAMLError(problem="only mappings can be merged", problem_mark=one.start_mark)
            before = self._document.values.get(path)
            result = self.read(one, path) | result
            if before is not None:
                self._document.values[path] = before
        return result


def read_file(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        ConfigMistakes: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigMistakes([Mistake(Place(str(path)), "", f"the file cannot be read: {error.strerror}")]) from error
