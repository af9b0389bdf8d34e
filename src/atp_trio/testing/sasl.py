"""The files by which a server that uses Cyrus SASL knows one user."""

from __future__ import annotations

import subprocess
from pathlib import Path

from atp_trio.errors import HypervisorError


def make_sasl_dir(path: Path, application: str, user: str, password: str) -> dict[str, str]:
    """Write the settings of an application, and a database with one user.

    DIGEST-MD5 is there for connections without TLS: libvirt takes only what encrypts there, and of the mechanisms that need no
    Kerberos it alone does.

    Args:
        path: The directory; it is made.
        application: The name by which the server's program asks for its settings, as in `libvirt`.
        user: The user's name.
        password: Given to `saslpasswd2` by its standard input; it lies in the database in clear text.

    Returns:
        What the server's environment must have.

    Raises:
        HypervisorError: `saslpasswd2` failed.
    """
    path.mkdir(mode=0o700)
    database = path / "users.db"
    (path / f"{application}.conf").write_text(f"mech_list: scram-sha-256 digest-md5\nsasldb_path: {database}\n")
    command = ["saslpasswd2", "-p", "-c", "-f", str(database), "-a", application, user]
    done = subprocess.run(command, input=password, text=True, check=False, capture_output=True)  # noqa: S603 - our own words
    if done.returncode:
        raise HypervisorError(f"saslpasswd2: {' '.join(done.stderr.split())}")
    return {"SASL_CONF_PATH": str(path)}
