# SPDX-License-Identifier: Apache-2.0
"""Imported key material: its wrapping, import, rotation, expiry and deletion."""

from __future__ import annotations

import logging
import os
import secrets
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from kms_samples import command, key_of_kind
from lost_replies import count, losing

from s3crypt import sandbox as sandboxes
from s3crypt.errors import ConfigError, KeyUnavailableError
from s3crypt.kms import Importing, KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt.sandbox import Running

_SCHEME = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@pytest.fixture
def manager(session: boto3.Session) -> KeyManager:
    """Return a key manager of the sandbox."""
    return KeyManager(session=session)


@pytest.fixture
def key(manager: KeyManager) -> str:
    """Make a key without material."""
    return manager.create(imported_material=True).arn


@pytest.fixture
def material(tmp_path: Path) -> Callable[[], Path]:
    """Return a function that creates files of 32 random bytes."""

    def make() -> Path:
        path = tmp_path / secrets.token_hex(4)
        path.write_bytes(secrets.token_bytes(32))
        return path

    return make


def wrapped(material: bytes, public_key: bytes) -> bytes:
    """Return material wrapped as a hardware security module wraps it."""
    key = load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    return key.encrypt(material, _SCHEME)


def test_the_first_import_makes_a_key_usable(
    manager: KeyManager, key: str, material: Callable[[], Path], kms: Any
) -> None:
    """Before the first import a key is PendingImport; it never rotates automatically."""
    before = manager.show(key)
    assert (before.origin, before.state) == ("EXTERNAL", "PendingImport")
    assert not before.rotation_enabled
    done = manager.import_material(key, material(), description="ceremony 1")
    assert done.material is not None
    assert (done.material.state, done.material.description) == ("CURRENT", "ceremony 1")
    assert manager.show(key).state == "Enabled"
    kms.generate_data_key(KeyId=key, KeySpec="AES_256")


def test_new_material_waits_for_a_rotation(
    manager: KeyManager, key: str, material: Callable[[], Path], kms: Any
) -> None:
    """New material is used only after a rotation, and older ciphertexts can still be decrypted."""
    manager.import_material(key, material())
    old = kms.encrypt(KeyId=key, Plaintext=b"old")["CiphertextBlob"]
    new = manager.import_material(key, material(), is_new=True).material
    assert new is not None
    assert new.state == "PENDING_ROTATION"
    manager.rotate(key)
    assert [each.state for each in manager.materials(key)] == ["CURRENT", "NON_CURRENT"]
    assert manager.show(key).material_id == new.id
    assert kms.decrypt(KeyId=key, CiphertextBlob=old)["Plaintext"] == b"old"


def test_deleted_material_is_restored_by_the_same_bytes(
    manager: KeyManager, key: str, material: Callable[[], Path], kms: Any
) -> None:
    """Deleted material is restored by an import of the same bytes. Other bytes are refused.

    After the import, the older ciphertexts can be decrypted again.
    """
    file = material()
    manager.import_material(key, file)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert manager.delete_material(key) == key
    with pytest.raises(kms.exceptions.KMSInvalidStateException):
        kms.decrypt(KeyId=key, CiphertextBlob=blob)
    with pytest.raises(KeyUnavailableError, match="the key never had this material"):
        manager.import_material(key, material())
    manager.import_material(key, file)
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == b"x"


def test_the_expiry_is_shown(manager: KeyManager, key: str, material: Callable[[], Path]) -> None:
    """The expiry is shown in UTC, whatever time zone it was given in."""
    moment = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    manager.import_material(key, material(), expires=moment.astimezone())
    (found,) = manager.materials(key)
    assert found.expires == moment


@pytest.mark.parametrize(
    "expires",
    [
        timedelta(days=-1),
        timedelta(0),
        timedelta(days=365, minutes=1),
    ],
)
def test_an_expiry_that_kms_does_not_take(expires: timedelta) -> None:
    """An expiry that is not within the next 365 days is refused."""
    with pytest.raises(ConfigError, match="cannot expire"):
        Importing(expires=datetime.now(UTC) + expires)


def test_an_expiry_needs_a_zone() -> None:
    """An expiry without a time zone is refused, because it is ambiguous."""
    with pytest.raises(ConfigError, match="time zone"):
        Importing(expires=datetime(2027, 1, 1))  # noqa: DTZ001 - the value under test


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"", "has 0 bytes", "openssl rand"),
        (b"\x07" * 31, "has 31 bytes", "openssl rand"),
        (b"\xff" * 33, "more than 32 bytes", "openssl rand"),
        (b"07" * 32, "more than 32 bytes", "looks like text"),
        (b"q" * 44, "more than 32 bytes", "looks like text"),
    ],
)
def test_a_file_has_exactly_32_bytes(
    manager: KeyManager, key: str, tmp_path: Path, content: bytes, message: str, hint: str
) -> None:
    """A material file must have exactly 32 bytes. Otherwise nothing is imported.

    If the file has text instead of raw bytes, the error says so.
    """
    file = tmp_path / "material"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        manager.import_material(key, file)
    assert hint in str(caught.value.hint)
    assert manager.show(key).state == "PendingImport"


def test_a_file_that_others_can_write_is_refused(
    manager: KeyManager, key: str, material: Callable[[], Path]
) -> None:
    """A material file that other users can write is refused, like every other key file."""
    file = material()
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="Other users can write"):
        manager.import_material(key, file)


def test_material_comes_through_a_pipe(manager: KeyManager, key: str) -> None:
    """Material is read completely from a pipe, even if each read returns half of the bytes."""
    reader, writer = os.pipe()
    try:
        os.write(writer, secrets.token_bytes(16))
        os.write(writer, secrets.token_bytes(16))
        os.close(writer)
        manager.import_material(key, f"/dev/fd/{reader}")
    finally:
        os.close(reader)
    assert manager.show(key).state == "Enabled"


_OTHER_KEYS: dict[str, dict[str, str]] = {
    "origin is AWS_KMS": {},
    "of the type HMAC_256": {
        "KeySpec": "HMAC_256",
        "KeyUsage": "GENERATE_VERIFY_MAC",
        "Origin": "EXTERNAL",
    },
    "of the type RSA_2048": {
        "KeySpec": "RSA_2048",
        "KeyUsage": "SIGN_VERIFY",
        "Origin": "EXTERNAL",
    },
}


@pytest.mark.parametrize("message", _OTHER_KEYS)
def test_a_key_that_takes_no_material(
    manager: KeyManager, kms: Any, material: Callable[[], Path], message: str
) -> None:
    """If a key takes no material, imports and deletions fail, and the error has the reason."""
    arn = kms.create_key(**_OTHER_KEYS[message])["KeyMetadata"]["Arn"]
    for refused in (
        lambda: manager.import_wrapped_material(arn, b"wrapped", b"token"),
        lambda: manager.import_material(arn, material()),
        lambda: manager.import_parameters(arn),
        lambda: manager.delete_material(arn),
    ):
        with pytest.raises(KeyUnavailableError, match=message):
            refused()


def test_a_key_that_is_being_deleted_takes_no_material(
    manager: KeyManager, key: str, kms: Any, material: Callable[[], Path]
) -> None:
    """For a key pending deletion, the hint contains the command that cancels the deletion."""
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with pytest.raises(KeyUnavailableError, match="state is PendingDeletion") as caught:
        manager.import_material(key, material())
    assert f"s3crypt keys cancel-deletion {key}" in str(caught.value.hint)


def test_material_that_was_wrapped_elsewhere(manager: KeyManager, key: str) -> None:
    """Material that was wrapped elsewhere, with a public key from KMS, can be imported.

    The import needs the token that KMS returned with the public key.
    """
    offer = manager.import_parameters(key)
    assert offer.expires > datetime.now(UTC) + timedelta(hours=23)
    blob = wrapped(secrets.token_bytes(32), offer.public_key)
    manager.import_wrapped_material(key, blob, offer.token)
    assert manager.show(key).state == "Enabled"
    assert repr(offer.token) not in repr(offer)


def test_material_of_another_token(manager: KeyManager, key: str) -> None:
    """Material is refused if its public key or its token is not from the last request to KMS."""
    first, second = manager.import_parameters(key), manager.import_parameters(key)
    blob = wrapped(secrets.token_bytes(32), first.public_key)
    with pytest.raises(KeyUnavailableError, match=r"cannot unwrap.*nothing was imported") as caught:
        manager.import_wrapped_material(key, blob, second.token)
    assert "import-parameters" in str(caught.value.hint)
    with pytest.raises(KeyUnavailableError, match="import token is not"):
        manager.import_wrapped_material(key, blob, first.token)
    assert manager.show(key).state == "PendingImport"


def test_an_expired_token() -> None:
    """A token is refused after 24 hours. The test uses its own sandbox and moves its clock."""
    with sandboxes.running() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in sandboxes.environment(running).items():
            patch.setenv(name, value)
        manager = KeyManager(session=boto3.Session())
        key = manager.create(imported_material=True).arn
        offer = manager.import_parameters(key)
        sandboxes.advance_clock(running, 24 * 3600 + 1)
        blob = wrapped(secrets.token_bytes(32), offer.public_key)
        with pytest.raises(KeyUnavailableError, match="expired after 24 hours"):
            manager.import_wrapped_material(key, blob, offer.token)


def test_material_that_the_key_has_is_not_new(
    manager: KeyManager, key: str, material: Callable[[], Path]
) -> None:
    """Material that the key already has cannot be imported as new material."""
    file = material()
    manager.import_material(key, file)
    with pytest.raises(KeyUnavailableError, match="already has this material"):
        manager.import_material(key, file, is_new=True)


def test_one_new_material_waits_at_a_time(
    manager: KeyManager, key: str, material: Callable[[], Path]
) -> None:
    """Only one new material can wait for a rotation.

    If the waiting material is deleted, the key has only its current material.
    """
    manager.import_material(key, material())
    waiting = manager.import_material(key, material(), is_new=True).material
    assert waiting is not None
    with pytest.raises(KeyUnavailableError, match=waiting.id) as caught:
        manager.import_material(key, material(), is_new=True)
    assert f"--material {waiting.id}" in str(caught.value.hint)
    manager.delete_material(key, waiting.id)
    assert [each.state for each in manager.materials(key)] == ["CURRENT"]
    assert manager.show(key).state == "Enabled"


def test_nothing_to_delete(manager: KeyManager, key: str, material: Callable[[], Path]) -> None:
    """Deleting material is an error before the first import, and after an earlier deletion."""
    with pytest.raises(KeyUnavailableError, match="no imported material"):
        manager.delete_material(key)
    manager.import_material(key, material())
    manager.delete_material(key)
    with pytest.raises(KeyUnavailableError, match="no imported material"):
        manager.delete_material(key)


@pytest.mark.parametrize("is_new", [False, True])
def test_a_lost_reply_to_an_import(
    key: str, manager: KeyManager, material: Callable[[], Path], sandbox: Running, *, is_new: bool
) -> None:
    """If the reply to an import is lost, a retry finds the import or repeats it.

    New material is imported only once.
    """
    if is_new:
        manager.import_material(key, material())
    with losing(sandbox, "ImportKeyMaterial") as (unlucky, relay):
        done = unlucky.import_material(key, material(), is_new=is_new)
        assert count(relay, "ImportKeyMaterial") == (1 if is_new else 2)
    assert done.material is not None
    assert len(manager.materials(key)) == 1 + is_new


@pytest.mark.parametrize("by_id", [False, True])
def test_a_lost_reply_to_a_deletion(
    key: str, manager: KeyManager, material: Callable[[], Path], sandbox: Running, *, by_id: bool
) -> None:
    """If the reply to a deletion is lost and the material is gone, the deletion succeeded."""
    done = manager.import_material(key, material()).material
    assert done is not None
    with losing(sandbox, "DeleteImportedKeyMaterial") as (unlucky, relay):
        unlucky.delete_material(key, done.id if by_id else None)
        assert count(relay, "DeleteImportedKeyMaterial") == 1
    assert manager.show(key).state == "PendingImport"


def test_no_byte_of_the_material_is_logged(
    manager: KeyManager, key: str, material: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the material nor the token nor the wrapped material is logged.

    botocore logs requests at level DEBUG.
    """
    file = material()
    content = file.read_bytes()
    with caplog.at_level(logging.DEBUG):
        manager.import_material(key, file)
    assert "ImportKeyMaterial" in caplog.text
    for text in (content.hex(), repr(content), b64encode(content).decode().rstrip("=")):
        assert text not in caplog.text
    for name in ("ImportToken", "EncryptedKeyMaterial"):
        assert f'"{name}": "[redacted]"' in caplog.text.replace("\\", "")


def test_the_command_tells_the_expiry_in_utc(key: str, material: Callable[[], Path]) -> None:
    """The command prints the expiry in UTC, whatever time zone it was given in."""
    expires = (datetime.now(UTC) + timedelta(days=9)).astimezone(timezone(timedelta(hours=5)))
    done = command("import-material", key, str(material()), "--expires", expires.isoformat())
    assert f"Expires: {expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in done.stderr


def test_a_deletion_is_checked_before_its_consequence_is_told(kms: Any) -> None:
    """`delete-material` refuses KMS's own material and malformed ids before it prints a warning."""
    generated = key_of_kind(kms, "enabled")
    done = command("delete-material", generated)
    assert "cannot have imported material" in str(done.exception)
    assert "unreadable" not in done.stderr
    assert "not the id" in str(command("delete-material", generated, "--material", "x").exception)
