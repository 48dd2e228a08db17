# SPDX-License-Identifier: Apache-2.0
"""The option --quiet: no messages and no progress; data and dry-run output stay on stdout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run
from samples import connect

from s3crypt import SSES3

if TYPE_CHECKING:
    from pathlib import Path

Captured = pytest.CaptureFixture[str]
SSE = ["--mode", "sse-s3"]
KEY = ["--key", "aes:acme/2026=k"]
# Commands that print nothing with --quiet. {b} is a bucket with the objects a and t/b, and an
# unfinished upload.
SILENT = [
    ["put", "one", "s3://{b}/x", *SSE],
    ["put", "-r", "tree", "s3://{b}/x/", *SSE],
    ["put", "-r", "empty", "s3://{b}/x/", *SSE],
    ["put", "--no-overwrite", "one", "s3://{b}/a", *SSE],
    ["get", "s3://{b}/a", "back"],
    ["get", "--no-overwrite", "s3://{b}/a", "one"],
    ["get", "-r", "s3://{b}/t/", "back"],
    ["cp", "s3://{b}/a", "s3://{b}/x", *SSE],
    ["cp", "-r", "s3://{b}/t/", "s3://{b}/x/", *SSE],
    ["mv", "s3://{b}/a", "s3://{b}/x", *SSE],
    ["mv", "-r", "tree", "s3://{b}/x/", *SSE],
    ["rotate", "s3://{b}/a", *SSE],
    ["rotate", "-r", "s3://{b}/t/", *SSE],
    ["rm", "s3://{b}/a"],
    ["rm", "-r", "s3://{b}/t/"],
    ["stat", "s3://{b}/a"],
    ["mb", "s3://{b}"],
    ["keygen", "new"],
    ["encrypt", "one", "sealed", *KEY],
    ["encrypt", "-r", "tree", "sealed", *KEY],
    ["encrypt", "--no-overwrite", "one", "k", *KEY],
    ["clean", "."],
    ["uploads", "s3://{b}", "--abort", "{u}"],
]
LOUD = [
    ["put", "--dry-run", "one", "s3://{b}/x", *SSE],
    ["put", "--dry-run", "-r", "tree", "s3://{b}/x/", *SSE],
    ["get", "--dry-run", "s3://{b}/a", "back"],
    ["get", "--dry-run", "-r", "s3://{b}/t/", "back"],
    ["cp", "--dry-run", "s3://{b}/a", "s3://{b}/x", *SSE],
    ["mv", "--dry-run", "-r", "s3://{b}/t/", "s3://{b}/x/", *SSE],
    ["rm", "--dry-run", "s3://{b}/a"],
    ["rm", "--dry-run", "-r", "s3://{b}/t/"],
    ["rotate", "--dry-run", "s3://{b}/a", *SSE],
    ["rotate", "--dry-run", "-r", "s3://{b}/t/", *SSE],
    ["clean", "--dry-run", "."],
    ["uploads", "--dry-run", "--abort", "{u}", "s3://{b}"],
    ["uploads", "s3://{b}"],
    ["ls", "s3://{b}"],
    ["du", "s3://{b}"],
    ["inspect", "s3://{b}/a"],
    ["presign", "s3://{b}/a"],
]


@pytest.fixture
def places(bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Create the files and objects that the commands use.

    Return the values of their placeholders.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("one", "tree/two", ".one.0123456789ab.s3crypt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "k").write_bytes(os.urandom(32))
    for name in ("a", "t/b"):
        connect(SSES3()).put(b"x", f"s3://{bucket}/{name}")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    return {"b": bucket, "u": upload}


@pytest.mark.parametrize("words", SILENT, ids=" ".join)
def test_a_quiet_command_says_nothing(
    words: list[str], places: dict[str, str], capsys: Captured
) -> None:
    """A successful command with -q prints nothing; only its effect on files and objects shows."""
    assert run([word.format(**places) for word in [*words, "-q"]]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == "" or words[0] in ("stat", "keygen")


@pytest.mark.parametrize("words", LOUD, ids=" ".join)
def test_results_are_printed_all_the_same(
    words: list[str], places: dict[str, str], capsys: Captured
) -> None:
    """A command whose purpose is output prints it with -q too, without messages."""
    assert run([word.format(**places) for word in [*words, "-q"]]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out


def test_a_quiet_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The sandbox starts and stops without output."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run(["sandbox", "start", "--quiet"]) == 0
    assert run(["sandbox", "stop", "--quiet"]) == 0
    assert run(["sandbox", "stop", "-q"]) == 0
    assert capfd.readouterr() == ("", "")
