"""Debian packages: which versions apt would install, and their files, without installing anything."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from atp_trio.errors import AtpError
from atp_trio.testing.guest.recipe import KERNEL_PACKAGE


class GuestUnavailable(AtpError):
    """The guest cannot be built on this machine; the sentence says what to do."""


@attrs.frozen
class Package:
    """One version of a package, as apt would download it."""

    file_name: str
    """As in `busybox-static_1%3a1.35.0-4_amd64.deb`: the version is in it."""
    checksum: str
    """As apt's index gives it, with the name of the algorithm; empty where a repository has none."""


_USE_APT = "run `apt-get update` with a network and Debian's main repository"


def run_tool(*command: str, hint: str = _USE_APT, instead: str = "use Debian", cwd: Path | None = None) -> str:
    """Run a tool and give what it writes.

    Args:
        command: Its name and arguments.
        hint: What to do when it fails.
        instead: What to do where it is missing.
        cwd: Where it runs.

    Raises:
        GuestUnavailable: It is missing, or failed.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command,
            cwd=cwd,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # we read its English
        )
    except FileNotFoundError:
        raise GuestUnavailable(f"the test guest is built with {command[0]}, which is not here: {instead}") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(str(error.stderr).split()) or f"exit status {error.returncode}"
        raise GuestUnavailable(f"{' '.join(command[:2])} failed ({reason}): {hint}") from error
    return done.stdout


def kernel_package() -> str:
    """The package that holds the kernel apt would install now.

    Raises:
        GuestUnavailable: apt does not know one.
    """
    depends = run_tool("apt-cache", "depends", "--important", KERNEL_PACKAGE)
    names = re.findall(r"Depends: (linux-image-\d\S*)", depends)
    if not names:
        raise GuestUnavailable(f"apt's {KERNEL_PACKAGE} depends on no kernel: the guest needs Debian's main repository")
    return str(names[0])


def resolve(names: Sequence[str]) -> list[Package]:
    """The versions of these packages that apt would download, by name.

    Raises:
        GuestUnavailable: apt is missing, or knows no such package.
    """
    lines = run_tool("apt-get", "download", "--print-uris", *sorted(set(names))).splitlines()
    # 'uri' file size algorithm:checksum
    fields = [line.split() for line in lines if line.startswith("'")]
    return sorted((Package(row[1], row[3] if len(row) > 3 else "") for row in fields), key=lambda package: package.file_name)


def download(names: Sequence[str], packages: Sequence[Package], store: Path) -> list[Path]:
    """Bring the packages into the directory `store`; what is there already is not fetched again.

    Raises:
        GuestUnavailable: They cannot be downloaded.
    """
    store.mkdir(parents=True, exist_ok=True)
    paths = [store / package.file_name for package in packages]
    if not all(path.exists() for path in paths):
        # Downloaded aside and moved, so that what lies in the store is whole.
        with tempfile.TemporaryDirectory(dir=store) as aside:
            run_tool("apt-get", "download", "-q", "-o", "APT::Sandbox::User=", *names, cwd=Path(aside))
            for file in Path(aside).iterdir():
                file.replace(store / file.name)
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise GuestUnavailable(f"apt-get download gave other files than it said, without {', '.join(missing)}: try again")
    return paths


def unpack(archives: Sequence[Path], tree: Path) -> None:
    """Unpack the packages into the directory `tree`.

    Raises:
        GuestUnavailable: A package cannot be unpacked; it is deleted, so that the next try downloads it again.
    """
    for archive in archives:
        try:
            run_tool("dpkg-deb", "-x", str(archive), str(tree), hint="try again, with space on the disk")
        except GuestUnavailable:
            archive.unlink(missing_ok=True)
            raise


def find_files(tree: Path, pattern: str) -> dict[str, Path]:
    """Files of unpacked packages: path in the guest to path here.

    A package made before the merge of /bin, /sbin and /lib into /usr has its files outside of usr; the guest has them inside.

    Raises:
        GuestUnavailable: There is no such file.
    """
    inside = pattern.removeprefix("usr/")
    found = {f"usr/{path.relative_to(root).as_posix()}": path for root in (tree, tree / "usr") for path in root.glob(inside)}
    if not found:
        raise GuestUnavailable(f"the guest's packages hold no {pattern}: this Debian release is unknown to the recipe")
    return found
