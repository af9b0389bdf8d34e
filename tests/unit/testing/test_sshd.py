"""The files of SSH, with a script in ssh-keygen's place; that clients get in is an integration test."""

from __future__ import annotations

import subprocess

import pytest

from atp_trio.testing.sshd import Ssh


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    keygen = tools / "ssh-keygen"
    keygen.write_text('#!/bin/sh\nfor file; do :; done; echo private >"$file"; echo "ssh-ed25519 ${file##*/}" >"$file.pub"\n')
    client = tools / "ssh"
    client.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    for program in (keygen, client):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}")
    return Ssh.make(tmp_path / "it's here", 2222)


def test_one_key_is_let_in_on_loopback(ssh):
    lines = ssh.server_config.read_text().splitlines()
    assert {"Port 2222", "ListenAddress 127.0.0.1", "PasswordAuthentication no", "UsePAM no"} <= {*lines}
    assert (ssh.directory / "authorized_keys").read_text() == "ssh-ed25519 client_key\n"


def test_the_client_knows_this_server_alone(ssh):
    assert ssh.known_hosts.read_text() == "[127.0.0.1]:2222 ssh-ed25519 host_key\n"
    words = subprocess.run([ssh.client, "-p", "2222", "a host"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[:2] == ["-F", "none"]
    assert f'UserKnownHostsFile="{ssh.known_hosts}"' in words
    assert words[-3:] == ["-p", "2222", "a host"]


def test_files_are_the_users_alone(ssh):
    assert ssh.directory.stat().st_mode & 0o077 == 0


def test_keys_stay_when_the_port_changes(ssh):
    (ssh.directory / "host_key.pub").write_text("ssh-ed25519 kept\n")
    assert Ssh.make(ssh.directory, 2223).known_hosts.read_text() == "[127.0.0.1]:2223 ssh-ed25519 kept\n"
