"""The examples of the documentation that need a libvirtd and a guest."""

from __future__ import annotations

import pytest
import trio

import atp_trio
from atp_trio.testing.guest import ECHO_PORT

WITHIN = 90.0  # seconds; an emulated machine on a busy host


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Examples write files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_libvirt(doc_page, libvirtd, domain, directory, capsys):
    with trio.fail_after(WITHIN):
        async with atp_trio.open_host(libvirtd.uri) as host:
            names = {"trio": trio, "atp_trio": atp_trio, "host": host, "domain": await host.domain(domain)}
            await doc_page("docs/libvirt.md").run(names, "libvirtd", replacing={"org.example.echo.0": ECHO_PORT})
    out = capsys.readouterr().out
    assert "'status': 'running'" in out
    assert "STOP\n" in out
    assert out.index("b'one\\n'") < out.index("b'two\\n'") < out.index("ExitStatus(returncode=0")
    assert (directory / "greeting.txt").read_bytes() == b"hello"
    assert "b'hello\\n'\nhello\n" in out
    assert names["picture"].width > 0


async def test_the_readme(doc_page, libvirtd, domain, directory, capsys):
    names = {"trio": trio, "atp_trio": atp_trio}
    with trio.fail_after(WITHIN):
        await doc_page("README.md").run(names, "libvirtd")
        await names["look"](libvirtd.uri, domain)
    out = capsys.readouterr().out
    assert out.startswith("Linux ")
    assert "'status': 'running'" in out
    assert (directory / "screen.png").read_bytes().startswith(b"\x89PNG")


async def test_testing(doc_page, new_libvirtd, capsys):
    with trio.fail_after(WITHIN):
        await doc_page("docs/testing.md").run({"trio": trio, "atp_trio": atp_trio}, "libvirtd")
    assert capsys.readouterr().out == "RUNNING\n"
