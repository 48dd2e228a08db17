# SPDX-License-Identifier: Apache-2.0
"""Checks of the permissions of files that hold secret keys."""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from s3crypt_cli.main import run

from s3crypt import SSEC, ConfigError
from s3crypt.configuration import keyring_of
from s3crypt.errors import KeyFileWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
PUBLIC_PEM = PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
# For each kind of secret key: the content of a key file, and a function that reads it.
READERS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "aes": (bytes(32), lambda file: keyring_of(f"aes:acme/one={file}")),
    "rsa": (PEM, lambda file: keyring_of(f"rsa:acme/one={file}")),
    "customer": (b"00" * 32, SSEC.from_file),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[], Any]]:
    """Write a key file; return its path and a function that reads it."""
    content, read = READERS[request.param]
    file = tmp_path / "the key"
    file.write_bytes(content)
    return file, lambda: read(file)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
@pytest.mark.parametrize("strict", ["1", "0"])
def test_a_file_of_its_owner_alone_is_read(
    mode: int, strict: str, reader: tuple[Path, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file that only its owner can read is read without a warning."""
    monkeypatch.setenv("S3CRYPT_STRICT_KEY_FILES", strict)
    file, read = reader
    file.chmod(mode)
    assert read() is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o444, 0o755])
def test_a_file_that_others_can_read_is_warned_of(
    mode: int, reader: tuple[Path, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file that other users can read causes a warning with the chmod command.

    In strict mode the file is refused.
    """
    file, read = reader
    file.chmod(mode)
    command = f"chmod 600 '{file}'"
    with pytest.warns(KeyFileWarning, match=f"read the key file .*{re.escape(command)}$"):
        assert read() is not None
    monkeypatch.setenv("S3CRYPT_STRICT_KEY_FILES", "True")
    with pytest.raises(ConfigError, match="Other users can read the key file") as caught:
        read()
    assert caught.value.hint == command
    os.chmod(file, 0o600)  # noqa: PTH101 - the command from the warning
    assert read() is not None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o660, 0o666])
def test_a_file_that_others_can_write_is_refused(
    mode: int, reader: tuple[Path, Callable[[], Any]]
) -> None:
    """A key file that other users can write is always refused, because they may replace the key."""
    file, read = reader
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"can write to the key file {file}") as caught:
        read()
    assert f"chmod 600 '{file}'" in str(caught.value.hint)


def test_a_public_key_may_be_read_by_anyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a public key is not secret, so its permissions are not checked."""
    monkeypatch.setenv("S3CRYPT_STRICT_KEY_FILES", "1")
    file = tmp_path / "public.pem"
    file.write_bytes(PUBLIC_PEM)
    file.chmod(0o644)
    assert keyring_of(f"rsa:acme/one={file}") is not None


def test_a_key_may_come_through_a_pipe() -> None:
    """A key is read from a shell's <(command), which is a pipe of this process."""
    read_end, write_end = os.pipe()
    os.write(write_end, bytes(32))
    os.close(write_end)
    try:
        assert keyring_of(f"aes:acme/one=/dev/fd/{read_end}") is not None
    finally:
        os.close(read_end)


def test_a_setting_that_is_neither_is_an_error(
    reader: tuple[Path, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If S3CRYPT_STRICT_KEY_FILES has an invalid value, the error names this variable."""
    file, read = reader
    file.chmod(0o644)
    monkeypatch.setenv("S3CRYPT_STRICT_KEY_FILES", "perhaps")
    with pytest.raises(ConfigError, match="S3CRYPT_STRICT_KEY_FILES is 1 or 0, not 'perhaps'"):
        read()


def test_the_command_warns_once_and_may_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command prints the warning as one line, whatever Python's warning filters are.

    --quiet hides it, and --strict refuses the file.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("S3CRYPT_STRICT_KEY_FILES", raising=False)
    (tmp_path / "plain").write_bytes(b"plain")
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "key").chmod(0o644)
    key = ("--key", "aes:acme/one=key")
    actions: tuple[Literal["error", "ignore"], ...] = ("error", "ignore")
    for action in actions:
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            assert run(["encrypt", "plain", "sealed", *key, *key]) == 0
        said = capfd.readouterr().err
        assert said == (
            "s3crypt: warning: Other users can read the key file key. To fix this: chmod 600 key\n"
            "plain -> sealed (299 B)\n"
        )
    assert run(["decrypt", "sealed", "out", *key, "--quiet"]) == 0
    assert capfd.readouterr().err == ""
    assert run(["decrypt", "sealed", "out", *key, "--strict-key-files"]) == 2
    said = capfd.readouterr().err
    assert said == "s3crypt: Other users can read the key file key.\nhint: chmod 600 key\n"
