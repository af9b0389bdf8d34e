"""What commands print: plain lines where the output is piped, rich only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from atp_trio.cli.execute import printable


def print_line(text: str) -> None:
    """Print a line, now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print_line(json.dumps(document, indent=2))


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print names and what they stand for, a pair a line."""
    _print([[printable(name), printable(value)] for name, value in fields], (), "left")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as wide as the header; all but the first column stands to the right."""
    _print([[printable(cell) for cell in row] for row in rows], header, "right")


def _print(rows: list[list[str]], header: Sequence[str], side: str) -> None:
    if sys.stdout.isatty():
        _print_rich(rows, header, side)
        return
    lines = [list(header), *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        pad = str.rjust if side == "right" else str.ljust
        cells = [first.ljust(widths[0]), *(pad(cell, width) for cell, width in zip(others, widths[1:], strict=True))]
        print_line("  ".join(cells).rstrip())


def _print_rich(rows: list[list[str]], header: Sequence[str], side: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD if header else None, show_header=bool(header), show_edge=False)
    for place in range(len(rows[0])):
        justify = "right" if place and side == "right" else "left"
        # Text, not str: square brackets in it mean nothing.
        title = Text(header[place]) if header else ""
        table.add_column(title, style="" if place else "bold", justify=justify)  # type: ignore[arg-type] # a Literal
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
