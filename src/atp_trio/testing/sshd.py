"""An SSH server on loopback that lets one key in, and what a client needs to use it: no file of the user is read or written."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

import attrs

PRIVILEGE_SEPARATION: Final = "/run/sshd"
"""An empty directory, without which sshd does not start; Debian's own service makes it, too."""


@attrs.frozen
class Ssh:
    """The files of a server and its client, in one directory."""

    directory: Path
    port: int
    user: str

    @classmethod
    def make(cls, directory: Path, port: int) -> Self:
        """Write the files, with new keys (Ed25519, not encrypted)."""
        directory.mkdir(mode=0o700, exist_ok=True)
        ssh = cls(directory, port, getpass.getuser())
        for key in (ssh.host_key, ssh.key_file):
            if not key.exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own words
        ssh.known_hosts.write_text(f"[127.0.0.1]:{port} {_public(ssh.host_key)}")
        ssh.authorized_keys.write_text(_public(ssh.key_file))
        ssh.server_config.write_text(ssh.server_settings())
        ssh.client.write_text(ssh.client_script())
        ssh.client.chmod(0o700)
        return ssh

    @property
    def host_key(self) -> Path:
        """The server's private key."""
        return self.directory / "host_key"

    @property
    def key_file(self) -> Path:
        """The client's private key."""
        return self.directory / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The server's public key, as a client wants it."""
        return self.directory / "known_hosts"

    @property
    def authorized_keys(self) -> Path:
        """The client's public key, as the server wants it."""
        return self.directory / "authorized_keys"

    @property
    def client(self) -> Path:
        """A program like `ssh` that knows this server and has no configuration besides: libvirt's `command=`."""
        return self.directory / "ssh"

    @property
    def uri(self) -> str:
        """The URI of the libvirtd behind this server, by the program `ssh`."""
        return f"qemu+ssh://{self.user}@127.0.0.1:{self.port}/system?keyfile={self.key_file}&command={self.client}"

    def uri_through(self, transport: str) -> str:
        """The same by libssh or libssh2."""
        options = f"keyfile={self.key_file}&known_hosts={self.known_hosts}&sshauth=privkey"
        return f"qemu+{transport}://{self.user}@127.0.0.1:{self.port}/system?{options}"

    @property
    def server_config(self) -> Path:
        """The file of the server's settings."""
        return self.directory / "sshd_config"

    def server_settings(self) -> str:
        """The server's settings: one key, no passwords, loopback."""
        return (
            f'Port {self.port}\nListenAddress 127.0.0.1\nHostKey "{self.host_key}"\n'
            f'AuthorizedKeysFile "{self.authorized_keys}"\nPidFile none\nStrictModes no\nUsePAM no\n'
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "MaxStartups 100\nMaxSessions 100\n"  # for tests with many connections at once
        )

    def client_script(self) -> str:
        """The text of the program `client`."""
        # ssh reads its options as it reads its files: a path with blanks in it is quoted.
        options = [f'UserKnownHostsFile="{self.known_hosts}"', "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
        return f'#!/bin/sh\nexec ssh -F none {shlex.join(word for option in options for word in ("-o", option))} "$@"\n'

    def server_command(self) -> list[str]:
        """The command that runs the server in the foreground. Its complaints come on standard error."""
        with_directory = ["sh", "-ec", f'mkdir -p {PRIVILEGE_SEPARATION}; exec "$@"', "sh"]
        # It starts itself again for each connection, by its whole path.
        return [*with_directory, find_sshd() or "sshd", "-D", "-e", "-f", str(self.server_config)]


def find_sshd() -> str | None:
    """Where the SSH server's program is; None if it is not there."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()
