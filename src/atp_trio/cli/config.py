"""`atp config`: look at a configuration, or describe what one may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from atp_trio.cli.execute import FAILED, printable
from atp_trio.cli.output import print_json, print_line

CONFIG: Final = App(name="config", help="Check a configuration file, or describe what one may say.")


@CONFIG.command
async def check(file: Annotated[Path, Parameter(help="The YAML file.")], /) -> int:
    """Tell everything that is wrong with a configuration, a line each: FILE:LINE:COLUMN KEY: what is wrong.

    Variables ATP_SECTION__SETTING count as they will. Nothing is connected, and no password is fetched.
    """
    from atp_trio.config import ConfigMistakes, read_config

    try:
        loaded = read_config(file)
    except ConfigMistakes as error:
        for mistake in error.mistakes:
            print_line(printable(mistake))
        return FAILED
    for warning in loaded.warnings:
        print_line(printable(f"{warning.place} {warning.key}: warning: {warning.problem}"))
    config = loaded.config
    print_line(printable(f"{file}: {len(config.hosts)} hosts, {len(config.spice.vms)} machines"))
    return 0


@CONFIG.command
async def schema() -> None:
    """Print the JSON schema of a configuration, for editors."""
    from atp_trio.config import json_schema

    print_json(json_schema())
