# SPDX-License-Identifier: Apache-2.0
"""Exchange messages with the official clients in both directions, each in its own environment.

    python tests/interop/exchange.py

Installs the pinned clients in a temporary folder, from PyPI and npm, and needs `node`. The clients
open messages of s3crypt, and s3crypt opens theirs, unsigned and signed, at every length around the
frame length. Prints a table. Exits with 1 if a message did not open to its plaintext, or if a
client opened one although docs/interop.md says that it cannot. It takes about two minutes. Pytest
does not collect this file, because it installs packages.
"""

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
from python_peer import CONTEXT, NAME, NAMESPACE, WRAPPING_KEY

from s3crypt import message, sandbox
from s3crypt.errors import S3CryptError
from s3crypt.keyrings import AESKeyring
from s3crypt.keyrings.kms import KMSKeyring

HERE = Path(__file__).parent
FRAME = message.DEFAULT_FRAME_LENGTH
SIZES = {"0": 0, "1": 1, "F-1": FRAME - 1, "F": FRAME, "F+1": FRAME + 1, "3F": 3 * FRAME}
CASES = {f"{kind}-{name}": size for kind in ("unsigned", "signed") for name, size in SIZES.items()}
AES = AESKeyring(NAMESPACE, NAME, WRAPPING_KEY)
_OPENED = "ok"


@dataclass(frozen=True, slots=True)
class Peer:
    """An official client.

    Attributes:
        name: Package and version.
        keyring: The keyring of s3crypt that has the client's key.
        run: Seals or opens (the first argument) the files of one folder into another folder.
        is_compatible: Whether messages open in both directions; if not, each of them must fail.
    """

    name: str
    keyring: message.Keyring
    run: Callable[[str, Path, Path], None]
    is_compatible: bool = True


def main() -> None:
    """Install the clients, exchange messages, print the table, and exit."""
    with tempfile.TemporaryDirectory(prefix="s3crypt-interop-") as folder, sandbox.running() as kms:
        # The official command finds the sandbox's KMS through environment variables.
        os.environ.update(sandbox.environment(kms))
        root = Path(folder)
        plain = _folder(root / "plain")
        for case, size in CASES.items():
            (plain / case).write_bytes(_plaintext(size))
        failures = sum(_exchange(peer, root, plain) for peer in _peers(root))
    print(f"\n{failures} failures" if failures else "\nAll as docs/interop.md says.")
    sys.exit(1 if failures else 0)


def _peers(root: Path) -> Iterator[Peer]:
    """Install each client, and yield it."""
    for version in ("3.3.1", "4.0.7"):
        package = f"aws-encryption-sdk=={version}"
        python = _environment(root / f"sdk-{version}", package) / "python"
        yield Peer(package, AES, _program([python, HERE / "python_peer.py"], {}))
    package = "aws-encryption-sdk-cli==4.3.0"
    arn = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    command = _environment(root / "cli", package) / "aws-encryption-cli"
    yield Peer(f"{package} (KMS)", KMSKeyring(arn), _command(command, arn))
    package = "@aws-crypto/client-node@5.0.2"
    modules = _folder(root / "node")
    _run(["npm", "install", "--silent", "--ignore-scripts", "--prefix", modules, package])
    node: list[Path | str] = ["node", HERE / "node_peer.cjs"]
    environment = {"NODE_PATH": str(modules / "node_modules")}
    yield Peer(package, AES, _program(node, environment))
    by_locale = _program(node, {**environment, "UTF8_SORTING": "no"})
    yield Peer(f"{package} without utf8Sorting", AES, by_locale, is_compatible=False)


def _exchange(peer: Peer, root: Path, plain: Path) -> int:
    """Print the result of each case in both directions. Return the number of failures."""
    ours, opened, theirs = (
        _folder(root / peer.name.replace("/", "-") / name) for name in ("ours", "opened", "theirs")
    )
    for case in CASES:
        (ours / case).write_bytes(_seal((plain / case).read_bytes(), case, peer.keyring))
    peer.run("open", ours, opened)
    peer.run("seal", plain, theirs)
    print(f"\n{peer.name}\n  {'case':<14}{'it opens ours':<16}we open its")
    failures = []
    for case in CASES:
        expected = (plain / case).read_bytes()
        ways = _result(opened, case, expected), _opened_here(theirs, case, expected, peer.keyring)
        print(f"  {case:<14}{_short(ways[0]):<16}{_short(ways[1])}")
        failures += [
            f"  {case}: {text}" for text in ways if (text == _OPENED) != peer.is_compatible
        ]
    for failure in failures:
        print(failure)
    sys.stdout.flush()
    return len(failures)


def _seal(plaintext: bytes, case: str, keyring: message.Keyring) -> bytes:
    return message.encrypt(
        plaintext, keyring, context=CONTEXT, signed=case.startswith("signed"), frame_length=FRAME
    )


def _opened_here(folder: Path, case: str, expected: bytes, keyring: message.Keyring) -> str:
    if not (folder / case).exists():
        return _result(folder, case, expected)
    try:
        plaintext = message.decrypt((folder / case).read_bytes(), keyring, context=CONTEXT)
    except S3CryptError as error:
        return f"{type(error).__name__}: {error}"
    return _OPENED if plaintext == expected else "other bytes"


def _result(folder: Path, case: str, expected: bytes) -> str:
    """Return in words how a client's work on one file ended."""
    failed = folder / f"{case}.failed"
    if failed.exists():
        return " ".join(failed.read_text(encoding="utf-8").split())
    if not (folder / case).exists():
        return "no result"
    return _OPENED if (folder / case).read_bytes() == expected else "other bytes"


def _short(result: str) -> str:
    return result if result == _OPENED else "FAILED"


def _plaintext(size: int) -> bytes:
    """Return `size` bytes in which no two frames are equal."""
    return b"".join(index.to_bytes(4) for index in range(size // 4 + 1))[:size]


def _program(start: list[Path | str], more: Mapping[str, str]) -> Callable[[str, Path, Path], None]:
    def run(verb: str, source: Path, target: Path) -> None:
        _run([*start, verb, source, target, str(FRAME)], more)

    return run


def _command(command: Path, arn: str) -> Callable[[str, Path, Path], None]:
    """Return a function that runs the official command for each file of a folder."""

    def run(verb: str, source: Path, target: Path) -> None:
        for path in sorted(source.iterdir()):
            suite = "AES_256_GCM_HKDF_SHA512_COMMIT_KEY"
            suite += "_ECDSA_P384" if path.name.startswith("signed") else ""
            sealing = ["--encrypt", "--algorithm", suite, "--frame-length", str(FRAME)]
            context = ["-c", *(f"{name}={value}" for name, value in CONTEXT.items())]
            options = [*sealing, *context] if verb == "seal" else ["--decrypt"]
            options += ["-S", "-w", "provider=aws-kms", f"key={arn}"]
            done = subprocess.run(
                [command, *options, "-i", path, "-o", target / path.name],
                capture_output=True,
                check=False,
            )
            if done.returncode:
                (target / f"{path.name}.failed").write_bytes(done.stderr or b"no message")

    return run


def _environment(path: Path, package: str) -> Path:
    """Make a Python environment with this package. Return the folder of its commands."""
    venv.create(path, with_pip=True)
    _run([path / "bin" / "python", "-m", "pip", "install", "--quiet", package])
    return path / "bin"


def _run(command: list[Path | str], more: Mapping[str, str] | None = None) -> None:
    environment = {**os.environ, **(more or {})}
    done = subprocess.run(command, capture_output=True, check=False, env=environment, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


if __name__ == "__main__":
    main()
