# SPDX-License-Identifier: Apache-2.0
"""Hints about KMS keys name an existing s3crypt command and the affected key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from s3crypt_cli.keys import keys as key_commands
from samples import connect, kms_keyring

import s3crypt
from s3crypt import SSEKMS, ClientSide, KeyUnavailableError
from s3crypt.aws_errors import translate

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(s3crypt.__file__).resolve().parents[1]
SOURCES = [
    path
    for folder, kind in (("s3crypt", "py"), ("cli", "py"), ("docs", "md"))
    for path in sorted((ROOT / folder).rglob(f"*.{kind}"))
]
KEY = "arn:aws:kms:eu-west-1:111122223333:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"
_VERB = re.compile(r"s3crypt keys ([a-z][a-z-]*[a-z])\b|s3crypt_keys\(\s*\"([a-z-]+)\"")


def test_every_verb_that_is_advised_exists() -> None:
    """Hints, fixes, diagnoses and documentation pages name only existing commands."""
    named: dict[str, str] = {}
    for path in SOURCES:
        for match in _VERB.finditer(path.read_text("utf-8")):
            named.setdefault(match[1] or match[2], path.name)
    assert {"enable", "cancel-deletion", "import-material"} <= named.keys()
    missing = {verb: page for verb, page in named.items() if verb not in key_commands.commands}
    assert not missing


def disable(kms: Any, key: str) -> None:
    """Disable a key."""
    kms.disable_key(KeyId=key)


def delete(kms: Any, key: str) -> None:
    """Schedule the deletion of a key."""
    kms.schedule_key_deletion(KeyId=key)


@pytest.mark.parametrize("mode", ["sse-kms", "client"])
@pytest.mark.parametrize(("spoil", "command"), [(disable, "enable"), (delete, "cancel-deletion")])
def test_a_refusal_names_the_command_for_its_key(
    bucket: str, kms_key: str, mode: str, spoil: Callable[[Any, str], None], command: str
) -> None:
    """If KMS refuses a key, directly or through S3, the error names the key."""
    store = connect(SSEKMS(kms_key) if mode == "sse-kms" else ClientSide(kms_keyring(kms_key)))
    store.put(b"plain", f"s3://{bucket}/x")
    spoil(boto3.client("kms"), kms_key)
    with pytest.raises(KeyUnavailableError) as raised:
        store.read(f"s3://{bucket}/x")
    assert f"`s3crypt keys {command} {kms_key}`" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("subject", "said", "command"),
    [
        ("s3://acme/x", f"{KEY} is disabled.", f"enable {KEY}"),
        ("s3://acme/x", "The key is disabled.", "enable KEY"),
        (f"KMS key {KEY}", "", f"enable {KEY}"),
        ("KMS key alias/reports", "", "enable alias/reports"),
        ("alias/reports", "", "enable alias/reports"),
        (f"KMS key {KEY} to KMS key {KEY}0", "", "enable KEY"),
        (f"KMS key {KEY} to KMS key {KEY}0", f"{KEY}0 is disabled.", f"enable {KEY}0"),
        ("the KMS keys", "", "enable KEY"),
        ("$(x)", "`y`", "enable KEY"),
    ],
)
def test_the_key_in_the_advice(subject: str, said: str, command: str) -> None:
    """The hint names the key in KMS's message, else the subject, else the placeholder KEY."""
    reply: Any = {"Error": {"Code": "DisabledException", "Message": said}}
    error = translate(ClientError(reply, "Decrypt"), subject, KeyUnavailableError)
    assert error.hint == f"Enable it: `s3crypt keys {command}`."


@pytest.mark.parametrize(
    ("said", "command"),
    [
        (f"{KEY} is pending deletion.", f"cancel-deletion {KEY}"),
        (f"{KEY} is pending import.", f"import-material {KEY} FILE"),
        (f"{KEY} is creating.", f"show {KEY}"),
        ("", "show KEY"),
    ],
)
def test_the_advice_follows_the_state(said: str, command: str) -> None:
    """The hint follows KMS's message, because KMS has one error code for several key states."""
    reply: Any = {"Error": {"Code": "KMS.KMSInvalidStateException", "Message": said}}
    error = translate(ClientError(reply, "GetObject"), "s3://acme/x")
    assert f"`s3crypt keys {command}`" in str(error.hint)
