"""What all tests share: how hypothesis looks for examples, and the examples of the documentation."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, settings

# No deadlines: machines under load are no bugs. In CI the examples are the same in every run.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("desk"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Example:
    """What stands between two fences of a page: "```python libvirtd" is Python that needs a libvirtd."""

    page: Path
    line: int
    """How many lines stand above it."""
    language: str
    needs: str
    """What it needs, as a word behind the language; empty for what every page's examples have."""
    text: str

    async def run(self, names: dict[str, object]) -> None:
        """Run it, Python that may await; `names` are its globals."""
        lines = "\n" * self.line + self.text  # so that a traceback names the page's own line
        result = eval(compile(lines, str(self.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.iscoroutine(result):
            await result


@attrs.frozen
class DocPage:
    """A page of the documentation."""

    path: Path
    examples: tuple[Example, ...]

    @classmethod
    def read(cls, name: str) -> DocPage:
        path = ROOT / name
        text = path.read_text("utf-8")
        found = FENCE.finditer(text)
        return cls(path, tuple(Example(path, text.count("\n", 0, at.start(3)), at[1], at[2] or "", at[3]) for at in found))

    def of(self, language: str, needs: str = "") -> list[Example]:
        """The examples in a language that need this, in their order."""
        return [example for example in self.examples if (example.language, example.needs) == (language, needs)]

    async def run(self, names: dict[str, object], needs: str = "", *, replacing: Mapping[str, str] | None = None) -> None:
        """Run its Python one after another, as one program that finds `names` as they are given before each example.

        `replacing` says what stands for what in this world.
        """
        given = dict(names)
        for example in self.of("python", needs):
            names.update(given)
            text = example.text
            for there, here in (replacing or {}).items():
                text = text.replace(there, here)
            await attrs.evolve(example, text=text).run(names)


@pytest.fixture(scope="session")
def doc_page() -> Callable[[str], DocPage]:
    """A page by its name from the root: `doc_page("docs/libvirt.md")`."""
    return DocPage.read
