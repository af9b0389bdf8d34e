"""Configurations from text."""

from __future__ import annotations

from textwrap import dedent

import pytest

from atp_trio.config import ConfigMistakes, load_config


@pytest.fixture
def load(tmp_path):
    """`load(text, **environ)`: the configuration that a file of this text is."""

    def read(text, **environ):
        path = tmp_path / "atp.yaml"
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return load_config(path, environ)

    return read


@pytest.fixture
def mistakes(load, tmp_path):
    """`mistakes(text, **environ)`: the lines that are told, the file called FILE."""

    def read(text, **environ):
        with pytest.raises(ConfigMistakes) as caught:
            load(text, **environ)
        assert caught.value.__cause__ is None
        return str(caught.value).replace(str(tmp_path / "atp.yaml"), "FILE").splitlines()

    return read
