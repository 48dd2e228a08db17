# SPDX-License-Identifier: Apache-2.0
"""The commands ls, du, stat, mb, rb, keygen, presign and inspect FILE: output and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import _COMMANDS, _HABITS, run
from s3crypt_cli.options import parse_size
from samples import aes, connect, files, names

import s3crypt
from s3crypt import (
    SSES3,
    ClientSide,
    ConfigError,
    FormatError,
    LocalFileNotFoundError,
    MultiKeyring,
    StorageError,
    encrypt_file,
)
from s3crypt.files import inspect_file

if TYPE_CHECKING:
    from pathlib import Path

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("option", ["-V", "--version"])
@pytest.mark.parametrize("module", ["s3crypt", "s3crypt_cli"])
def test_the_version_and_the_module(module: str, option: str) -> None:
    """`python -m s3crypt` and `python -m s3crypt_cli` run the command."""
    done = subprocess.run(
        [sys.executable, "-m", module, option], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"s3crypt {s3crypt.__version__}\n"


@pytest.mark.parametrize(("verb", "meant"), _HABITS.items())
def test_another_tools_verb(verb: str, meant: str, capsys: Captured) -> None:
    """For another tool's verb, the error suggests s3crypt's verb, if there is one."""
    assert verb not in _COMMANDS
    assert run([verb, "x"]) == 2
    is_there = meant in (*_COMMANDS, "--version")
    assert (f"Did you mean s3crypt {meant}?" in capsys.readouterr().err) is is_there


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1KB", 1024),
        ("1KiB", 1024),
        ("1k", 1024),
        ("2MB", 2**21),
        ("1M", 2**20),
        ("1G", 2**30),
        ("1 GiB", 2**30),
        ("1TB", 2**40),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Units of sizes on the command line are powers of two, as in aws-cli."""
    assert parse_size(text) == size


def test_a_local_message_names_who_can_open_it(tmp_path: Path, capsys: Captured) -> None:
    """`inspect` of an encrypted file shows its keys, size and context, without using a key."""
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(bytes(300_000))
    keyring = MultiKeyring(aes("one"), aes("two"))
    for signed in (False, True):
        encrypt_file(plain, sealed, keyring, context={"team": "a"}, signed=signed)
        assert run(["inspect", str(sealed), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["keys"] == ["aes:tests/one", "aes:tests/two"]
        assert (found["size"], found["signed"], found["frames"]) == (300_000, signed, 2)
        assert found["context"]["team"] == "a"
        assert found["stored_size"] == sealed.stat().st_size


def test_a_local_file_that_is_no_message(tmp_path: Path) -> None:
    """`inspect_file` of a file that is no message fails with the file's name."""
    (tmp_path / "x").write_bytes(b"plain text")
    with pytest.raises(FormatError, match=str(tmp_path / "x")):
        inspect_file(tmp_path / "x")


@pytest.mark.parametrize(
    ("path", "error"),
    [("n" * 300, StorageError), (b"x", ConfigError), ("missing", LocalFileNotFoundError)],
    ids=["too long", "bytes", "missing"],
)
def test_a_local_file_that_cannot_be_opened(path: Any, error: type[Exception]) -> None:
    """`inspect_file` raises the package's own errors for paths that cannot be opened."""
    with pytest.raises(error):
        inspect_file(path)


def test_a_local_file_in_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`inspect_file` raises StorageError if the file's state may not be read."""

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", denied)
    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(StorageError, match="Permission denied"):
        inspect_file(tmp_path / "x")


LONG = "n" * 1024
# For each mistake: the command, its exit code, and what the error names. {b} is a bucket with the
# objects `a`, `a/b` (server-side) and `c` (client-side); {no} is a bucket that does not exist.
MISTAKES: list[tuple[list[str], int, str]] = [
    (["ls", "acme"], 2, "acme"),
    (["ls", "s3://"], 2, "s3://"),
    (["ls", "s3://{no}"], 5, "s3://{no}"),
    (["ls", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["ls", "s3://{b}/../x"], 1, "s3://{b}/../x"),
    (["ls", "s3://{b}/x\ny"], 1, "s3://{b}/x\\ny"),
    (["ls", "s3://{b}/ "], 1, "s3://{b}/ "),
    (["ls", "-r"], 2, "-r"),
    (["ls", "--versions"], 2, "--versions"),
    (["ls", "--jobs", "3", "s3://{b}"], 2, "--jobs"),
    (["ls", "-l", "--sse-c-key-file", "none", "s3://{b}"], 2, "none"),
    (["du"], 2, "S3_URI"),
    (["du", "s3://{no}"], 5, "s3://{no}"),
    (["du", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["du", "s3://{b}/c"], 1, "s3://{b}/c"),
    (["du", "s3://{b}", "--depth", "-1"], 2, "--depth"),
    (["stat"], 2, "S3_URI"),
    (["stat", "s3://{b}"], 2, "s3://{b}"),
    (["stat", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["stat", "s3://{no}/x"], 5, "s3://{no}/x"),
    (["stat", "s3://{b}/a/"], 1, "s3://{b}/a/"),
    (["stat", "s3://{b}/../a"], 1, "s3://{b}/../a"),
    (["stat", "s3://{b}/a", "--mode", "sse-kms"], 2, "sse-kms"),
    (["mb"], 2, "S3_URI"),
    (["mb", "s3://"], 2, "s3://"),
    (["mb", "s3://{b}/x"], 2, "s3://{b}/x"),
    (["mb", "s3://x"], 2, "s3://x"),
    (["rb"], 2, "S3_URI"),
    (["rb", "s3://{no}"], 5, "s3://{no}"),
    (["rb", "s3://{b}"], 5, "s3://{b}"),
    (["rb", "s3://{b}/a"], 2, "s3://{b}/a"),
    (["keygen"], 2, "FILE"),
    (["keygen", "-"], 2, "key"),
    (["keygen", "."], 2, "."),
    (["keygen", "there"], 2, "there"),
    (["keygen", "none/key"], 5, "none/key"),
    (["keygen", "readonly/key"], 5, "readonly/key"),
    (["keygen", LONG], 5, "name too long"),
    (["keygen", "k", "--rsa", "512"], 2, "512"),
    (["presign"], 2, "S3_URI"),
    (["presign", "s3://{b}"], 2, "s3://{b}"),
    (["presign", "s3://{b}/none"], 5, "s3://{b}/none"),
    (["presign", "s3://{no}/x"], 5, "s3://{no}/x"),
    (["presign", "s3://{b}/c"], 3, "s3://{b}/c"),
    (["presign", "s3://{b}/a", "--mode", "sse-kms", "--key", "kms:alias/x"], 3, "s3://{b}/a"),
    (["presign", "s3://{b}/a", "--expires-in", "8d"], 2, "7 days"),
    (["presign", "s3://{b}/a", "--expires-in", "soon"], 2, "soon"),
    (["presign", "--put", "s3://{b}/x"], 2, "encryption"),
    (["presign", "--put", "s3://{b}/a/", "--mode", "sse-s3"], 2, "s3://{b}/a/"),
    (["presign", "--put", "s3://{b}/c", "--mode", "sse-s3"], 3, "s3://{b}/c"),
    (["presign", "--put", "s3://{no}/x", "--mode", "sse-s3"], 5, "s3://{no}/"),
    (["presign", "--put", "s3://{b}/x", "--mode", "sse-s3", "--version-id", "1"], 2, "--put"),
    (["inspect", "none"], 5, "none"),
    (["inspect", "."], 5, "."),
    (["inspect", "there"], 3, "there"),
    (["inspect", "there", "--versions"], 2, "--versions"),
    (["inspect", "--versions", "s3://{b}/none"], 5, "s3://{b}/none"),
    (["inspect", "--versions", "--version-id", "1", "s3://{b}/a"], 2, "--versions"),
]
if os.geteuid() == 0:
    # Root may write into a read-only directory, so this mistake is left out.
    MISTAKES = [row for row in MISTAKES if "readonly/key" not in row[0]]


@pytest.fixture(scope="module")
def filled(s3: Any) -> str:
    """Make a bucket with an object whose name is also a prefix, and a client-side object."""
    bucket = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    for name in ("a", "a/b"):
        connect(SSES3()).put(b"x", f"s3://{bucket}/{name}")
    connect(ClientSide(aes())).put(b"x", f"s3://{bucket}/c")
    return bucket


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with a file and a read-only directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_bytes(b"mine")
    (tmp_path / "readonly").mkdir(mode=0o500)
    return tmp_path


@pytest.mark.parametrize(("words", "code", "named"), MISTAKES, ids=lambda each: str(each)[:50])
def test_a_mistake_is_one_line(  # noqa: PLR0917 - fixtures
    words: list[str],
    code: int,
    named: str,
    filled: str,
    s3: Any,
    folder: Path,
    capsys: Captured,
) -> None:
    """A mistake is reported in one line of at most 160 columns, and changes nothing."""
    # The sandbox's bucket names have 43 characters; they count as 8, like a usual name.
    places = {"b": filled, "no": f"{filled}-no"}
    assert run([word.format(**places) for word in words]) == code
    captured = capsys.readouterr()
    error, *hint = captured.err.splitlines()
    assert named.format(**places) in error or named.lower() in error.lower()
    assert len(error.replace(filled, "b" * 8).replace(LONG, "")) <= 160
    assert all(line.startswith("hint: ") for line in hint)
    assert captured.out == ""
    assert names(s3, filled) == ["a", "a/b", "c"]
    assert files(folder) == ["readonly", "there"]
    assert (folder / "there").read_bytes() == b"mine"


@pytest.mark.parametrize("verb", ["ls", "du", "stat", "presign"])
def test_a_name_of_1024_bytes(verb: str, bucket: str, capsys: Captured) -> None:
    """Each verb works with a name of 1,024 bytes, the longest that S3 allows."""
    connect(SSES3()).put(b"x", f"s3://{bucket}/{'n' * 1022}/x")
    uri = f"s3://{bucket}/{'n' * 1022}/"
    assert run([verb, uri if verb in ("ls", "du") else f"{uri}x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("verb", ["mb", "rb", "ls", "du", "stat", "presign"])
def test_closed_standard_streams(verb: str, bucket: str) -> None:
    """With closed standard streams, a verb ends without a traceback."""
    uri = f"s3://{bucket}" if verb in ("mb", "ls", "du") else f"s3://{bucket}/none"
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m s3crypt {verb} {uri} >&- 2>&-"],
        capture_output=True,
        check=False,
    )
    assert done.returncode in range(6)
    assert (done.stdout, done.stderr) == (b"", b"")
