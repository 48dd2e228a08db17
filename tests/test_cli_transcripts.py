# SPDX-License-Identifier: Apache-2.0
"""Transcripts of the command in the sandbox; cli_transcript.py explains their lines."""

import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from cli_transcript import DENYING, Transcript

_TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.fixture
def names(bucket: str, kms: Any) -> dict[str, str]:
    """Make the bucket and the keys that transcripts name."""
    names = {"BUCKET": bucket, "NOBUCKET": f"absent-{uuid.uuid4()}"}
    names |= {"ESC": "\x1b", "NEWLINE": "\n", "C1": "\x9b"}
    for number in (1, 2, 3, 4):
        key = kms.create_key()["KeyMetadata"]["Arn"]
        alias = f"alias/{uuid.uuid4()}"
        kms.create_alias(AliasName=alias, TargetKeyId=key)
        names |= {f"KEY{number}": key, f"ALIAS{number}": alias}
    disabled = kms.create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=disabled)
    denied = kms.create_key(Policy=DENYING)["KeyMetadata"]["Arn"]
    names |= {
        "DISABLED": disabled,
        "DENIED": denied,
        "NOKEY": names["KEY1"][:-12] + "000000000000",
    }
    return names


@pytest.mark.parametrize("script", _TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    script: Path,
    names: dict[str, str],
    session: boto3.Session,
    capfdbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every command of a transcript has the output and exit code that it states."""
    monkeypatch.chdir(tmp_path)
    bucket = session.resource("s3").Bucket(names["BUCKET"])
    Transcript(tmp_path, names, capfdbinary, bucket, session.client("kms")).play(script.read_text())
