"""The documentation: its Python runs, its commands can be parsed, its links lead somewhere.

A new page is listed in docs/README.md. Its Python runs with names that a test here gives it (`RUN`); a word behind "python" says
what else it needs, such as a libvirtd: then a test in another file runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

import atp_trio
from atp_trio.cli.app import SPICE_COMMANDS, _make, join_domain
from atp_trio.config import ConfigMistakes
from atp_trio.testing.child import import_path
from atp_trio.testing.server import open_spice_server

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
# Who runs a page's Python, by what it needs beside what every example has.
RUN = {
    ("README.md", ""),
    ("README.md", "libvirtd"),  # tests/integration/libvirt/test_docs.py
    ("docs/configuration.md", ""),
    ("docs/leaving.md", ""),
    ("docs/libvirt.md", ""),
    ("docs/libvirt.md", "libvirtd"),  # tests/integration/libvirt/test_docs.py
    ("docs/manager.md", ""),
    ("docs/seeing.md", ""),  # test_docs_seeing.py
    ("docs/testing.md", ""),
    ("docs/testing.md", "libvirtd"),  # tests/integration/libvirt/test_docs.py
    ("docs/testing.md", "qemu"),  # tests/integration/qemu/test_docs.py
    ("docs/testing.md", "pytest"),
}
URI = "spice://127.0.0.1:5900"


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Examples write files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def names():
    """What examples may use without saying so."""
    return {"trio": trio, "atp_trio": atp_trio}


def test_every_example_is_run_by_a_test(doc_page):
    assert {(name, one.needs) for name in PAGES for one in doc_page(name).examples if one.language == "python"} == RUN


@pytest.mark.parametrize("name", PAGES)
def test_every_fence_is_of_a_kind_that_is_tested_or_shown_only(doc_page, name):
    page = doc_page(name)
    assert len(page.examples) == len(re.findall(r"^```\w", page.path.read_text("utf-8"), re.MULTILINE))
    assert {one.language for one in page.examples} <= {"python", "sh", "yaml", "text", "toml"}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("docs/") and name != "docs/README.md"])
def test_every_page_is_listed(name):
    assert f"({Path(name).name})" in (ROOT / "docs/README.md").read_text("utf-8")


@pytest.mark.parametrize("name", PAGES[1:])
def test_commands_can_be_parsed(doc_page, name):
    for example in doc_page(name).of("sh"):
        for line in example.text.splitlines():
            # Settings before a command, and what comes after a pipe or a comment, are the shell's business.
            words = shlex.split(line.partition(" | ")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
                del words[0]
            if words and words[0] == "atp":
                words = join_domain(words[1:]) if words[1] in SPICE_COMMANDS else words[1:]
                _make().parse_args(words, exit_on_error=False, print_error=False)


# ---------------------------------------------------------------------------------------------------- the pages


async def test_readme(doc_page, names):
    async with open_spice_server(password="secret", scene="text", size=(720, 400)) as server:
        # What a program does last, this test does.
        await doc_page("README.md").run(names, replacing={URI: server.uri, "trio.run(main)": "await main()"})
    assert Path("screen.png").stat().st_size  # noqa: ASYNC240


async def test_leaving(doc_page, names):
    names |= {"signal": signal}
    await doc_page("docs/leaving.md").run(names)
    with trio.fail_after(10), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["leave_on_sigterm"], scope)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_libvirt(doc_page, names, capsys):
    with trio.fail_after(30):
        async with atp_trio.open_host("test:///default") as host:
            names |= {"host": host, "domain": await host.domain("test")}
            await doc_page("docs/libvirt.md").run(names, replacing={"qemu:///system": "test:///default"})
    out = capsys.readouterr().out
    assert "test RUNNING" in out
    assert "qemu+ssh://192.0.2.10/system" in out
    assert "PAUSED" in out
    assert "test SUSPENDED" in out
    assert "connected" in out


async def test_configuration(doc_page, names, directory, monkeypatch, capsys):
    page = doc_page("docs/configuration.md")
    good, bad = page.of("yaml")
    Path("atp.yaml").write_text(good.text)  # noqa: ASYNC240
    Path("ca.pem").touch()  # noqa: ASYNC240
    await page.run(names)
    assert names["config"].hosts[1].uri.user == "tester"
    assert names["config"].spice.vms[1].spice_uri.tls_port == 5901
    assert names["changed"].heartbeat.interval == 10
    assert names["changed"].spice.vms[0].port == 5999
    Path("atp.yaml").write_text(bad.text)  # noqa: ASYNC240
    with pytest.raises(ConfigMistakes) as caught:
        atp_trio.load_config("atp.yaml", {})
    (shown,) = page.of("text")
    assert str(caught.value) == shown.text.strip()


async def test_manager(doc_page, names, capsys):
    page = doc_page("docs/manager.md")
    async with open_spice_server(size=(64, 48)) as server:
        here = {URI: server.uri, "qemu:///system": "test:///default"}
        (text,) = [example.text for example in page.of("yaml")]
        for there, one in here.items():
            text = text.replace(there, one)
        Path("atp.yaml").write_text(text)  # noqa: ASYNC240
        first, *rest = page.of("python")
        with trio.fail_after(30):
            await attrs.evolve(page, examples=(first,)).run(names, replacing=here)
            async with atp_trio.open_manager("atp.yaml") as names["manager"]:
                await attrs.evolve(page, examples=tuple(rest)).run(names, replacing=here)
    out = capsys.readouterr().out
    assert "(48, 64)" in out
    assert "['test']" in out
    assert "machine vm1 is connected" in out
    assert "machine through is degraded: display:0 down, and display:0 cannot be done without" in out
    assert "('display:0',) ('display:0',) False\n1\n" in out
    assert "spice ()" in out
    assert "vm1 (48, 64)" in out
    assert "vm1 by spice" in out
    assert "vm2 " in out


async def test_testing(doc_page, names):
    with trio.fail_after(60):
        await doc_page("docs/testing.md").run(names)


@pytest.mark.parametrize("number", [0, 1])
def test_testing_pytest(doc_page, directory, number):
    example = doc_page("docs/testing.md").of("python", "pytest")[number]
    (directory / "test_example.py").write_text(example.text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "test_example.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": import_path()})
    assert done.returncode == 0, f"{done.returncode}: {done.stdout} {done.stderr}"
    assert "1 passed" in done.stdout


def test_testing_has_two_pytest_examples(doc_page):
    assert len(doc_page("docs/testing.md").of("python", "pytest")) == 2
