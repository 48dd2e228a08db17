# SPDX-License-Identifier: Apache-2.0
"""Whole commands of s3crypt and its peers that encrypt, decrypt or transfer one file.

This module imports no large package: on Linux a child's peak memory begins with its parent's peak.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import peers
import workload
from peers import MissingPeerError
from workload import Ended

_SANDBOXED = Path(__file__).with_name("sandboxed.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, its environment, and the file that it writes."""

    words: tuple[str | Path, ...]
    environment: Mapping[str, str]
    target: Path | None = None

    def run(self) -> Ended:
        """Run the command to its end."""
        return workload.run(self.words, self.environment)

    def clear(self) -> None:
        """Remove the file that the command wrote."""
        if self.target:
            self.target.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Kms:
    """A key in the sandbox's KMS, and the environment in which commands find this KMS."""

    environment: Mapping[str, str]
    key: str


@contextmanager
def sandboxed_kms() -> Iterator[Kms]:
    """Run a sandbox in a process of its own, because boto3 would make this process large."""
    with workload.talking([sys.executable, _SANDBOXED]) as said:
        yield Kms(workload.environment(**said["environment"]), said["key"])


def s3crypt_path() -> str:
    """Return the path of the command s3crypt.

    Raises:
        MissingPeerError: The command is not installed.
    """
    beside = Path(sys.executable).with_name("s3crypt")
    found = str(beside) if beside.exists() else shutil.which("s3crypt")
    if not found:
        raise MissingPeerError("the command s3crypt is missing: pip install -e .")
    return found


def s3crypt_file(folder: Path, source: Path, verb: str) -> Command:
    """Return s3crypt's command for this verb, with an AES key in a file."""
    key, sealed, target = folder / "aes-key", folder / "sealed.s3crypt", folder / "out"
    key.write_bytes(bytes(range(32)))
    environment = workload.environment()

    def command(verb: str, source: Path, target: Path) -> Command:
        options = ["--quiet", "--key", f"aes:benchmark/key={key}"]
        return Command((s3crypt_path(), verb, *options, source, target), environment, target)

    return _on_file(command, verb, source, sealed, target)


def age_file(folder: Path, source: Path, verb: str) -> Command:
    """Return age's command for this verb, with a key of age's own kind (X25519)."""
    program = peers.PEERS["age"].path()
    key, sealed, target = folder / "age-key", folder / "sealed.age", folder / "out"
    environment = workload.environment()
    if not key.exists():
        workload.run([Path(program).with_name("age-keygen"), "-o", key], environment)

    def command(verb: str, source: Path, target: Path) -> Command:
        words = (program, f"--{verb}", "--identity", key, "--output", target, source)
        return Command(words, environment, target)

    return _on_file(command, verb, source, sealed, target)


def aws_file(folder: Path, source: Path, verb: str, kms: Kms) -> Command:
    """Return aws-encryption-cli's command at its defaults.

    It then writes signed messages with frames of 4 KiB, and makes one request to KMS.
    """
    program = peers.PEERS["aws-encryption-cli"].path()
    sealed, target = folder / "sealed.aws", folder / "out"

    def command(verb: str, source: Path, target: Path) -> Command:
        given = ("--suppress-metadata", "--wrapping-keys", f"key={kms.key}")
        words = (program, f"--{verb}", *given, "--input", source, "--output", target)
        return Command(words, kms.environment, target)

    return _on_file(command, verb, source, sealed, target)


def _on_file(
    command: Callable[[str, Path, Path], Command],
    verb: str,
    source: Path,
    sealed: Path,
    target: Path,
) -> Command:
    if verb == "encrypt":
        return command(verb, source, target)
    if not sealed.exists():
        command("encrypt", source, sealed).run()
    return command(verb, sealed, target)


def s5cmd_copy(endpoint_url: str, source: Path | str, target: Path | str) -> Command:
    """Return s5cmd's copy command at its defaults, but without signatures and payload hashes."""
    words = (
        peers.PEERS["s5cmd"].path(),
        *("--endpoint-url", endpoint_url, "--no-sign-request", "--no-verify-ssl"),
        *("cp", source, target),
    )
    made = target if isinstance(target, Path) else None
    return Command(words, workload.environment(), made)


def rclone_copy(endpoint_url: str, source: Path | str, target: Path | str) -> Command:
    """Return rclone's copy command, without its comparison of times and checksums.

    An object is given as `s3://BUCKET/NAME`.
    """

    def place(end: Path | str) -> str:
        return str(end).replace("s3://", ":s3:", 1)

    words = (
        peers.PEERS["rclone"].path(),
        *("copyto", "--config", "", "--no-check-certificate", "--s3-no-check-bucket"),
        *("--s3-provider", "Other", "--s3-endpoint", endpoint_url, "--s3-force-path-style"),
        *("--s3-access-key-id", "none", "--s3-secret-access-key", "none", "--s3-no-head"),
        # Without --ignore-checksum, rclone would compare an MD5 that the null server does not have.
        *("--ignore-times", "--ignore-checksum", place(source), place(target)),
    )
    made = target if isinstance(target, Path) else None
    return Command(words, workload.environment(), made)
