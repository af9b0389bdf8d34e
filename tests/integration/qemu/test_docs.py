"""The examples of the documentation that need a QEMU and the guest."""

from __future__ import annotations

import shutil

import pytest
import trio

import atp_trio
from atp_trio.testing.guest.build import cache_directory


@pytest.fixture
def lent_cache(guest, tmp_path, monkeypatch):
    """The cache of guests, with room for one more that is not kept: it would be in another's place."""
    lent = tmp_path / "atp-trio"
    lent.mkdir()
    for entry in cache_directory().iterdir():
        (lent / entry.name).symlink_to(entry)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield lent
    shutil.rmtree(lent)


async def test_testing(doc_page, qemu, lent_cache, capsys):
    names = {"trio": trio, "atp_trio": atp_trio}
    with trio.fail_after(120):
        await doc_page("docs/testing.md").run(names, "qemu")
    assert "'status': 'running'" in capsys.readouterr().out
    initramfs = await trio.Path(names["guest"].initramfs).read_bytes()
    assert b"usr/bin/greet" in initramfs
