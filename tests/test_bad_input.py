# SPDX-License-Identifier: Apache-2.0
"""Every verb with odd names, full disks, closed streams, narrow terminals and locked objects.

tests/test_verbs.py and tests/test_cli_copying.py test mistakes on the command line.
"""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run
from samples import connect, files, names

from s3crypt import SSES3

if TYPE_CHECKING:
    from collections.abc import Mapping

Captured = pytest.CaptureFixture[str]
SSE = ["--mode", "sse-s3"]
KEY = ["--key", "aes:acme/2026=k"]
OTHER = ["--key", "aes:acme/2027=k2", "--from-key", "aes:acme/2026=k"]
LONG = "n" * 1023
NAMES = {
    "dots": "../x",
    "inner dots": "a/../b",
    "blank": " ",
    "blanks": "a b / c",
    "tab": "a\tb",
    "newline": "a\nb",
    "escape": "a\x1b[31mb",
    "quotes": "a'b\"c`$(d)",
    "wildcards": "a*b?[c]",
    "percent": "a%2Fb%",
    "plus": "a+b&c=d",
    "accents": "naïve/日本",
    "1,024 bytes": f"{LONG[:500]}/{LONG[501:]}y",
}


def told(captured: str) -> tuple[str, list[str]]:
    """Return the error's only line, and its hints."""
    error, *hints = captured.splitlines()
    assert error.startswith("s3crypt: ")
    assert all(line.startswith("hint: ") for line in hints)
    return error, hints


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with a file of 1,000 bytes and two keys."""
    monkeypatch.chdir(tmp_path)
    for key in ("k", "k2"):
        (tmp_path / key).write_bytes(os.urandom(32))
    (tmp_path / "f").write_bytes(b"x" * 1000)
    return tmp_path


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_verb_takes_every_name(
    name: str, bucket: str, s3: Any, folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Every verb accepts every name, touches no other object and prints no control character."""
    uri, other = f"s3://{bucket}/{name}", f"s3://{bucket}/y{name[1:]}"
    lines = [
        ["put", "f", uri, *KEY],
        ["ls", uri],
        ["ls", "-l", "--json", uri],
        ["ls", "--versions", "-r", uri],
        ["cat", uri, *KEY],
        ["stat", uri],
        ["inspect", uri],
        ["inspect", "--versions", uri],
        ["get", uri, "back", *KEY],
        ["rotate", uri, *OTHER],
        ["cp", uri, other, "--key", OTHER[1]],
        ["rm", uri],
        ["mv", other, uri, "--key", OTHER[1]],
        ["mv", uri, "moved", "--key", OTHER[1]],
        ["put", "f", uri, *SSE],
        ["presign", uri],
        ["presign", "--put", uri, *SSE],
        ["rm", uri],
    ]
    for words in lines:
        assert run(words) == 0, words
        assert b"\x1b" not in capsysbinary.readouterr().out
    assert names(s3, bucket) == []
    assert Path("back").read_bytes() == Path("moved").read_bytes() == Path("f").read_bytes()
    assert files(folder) == ["back", "f", "k", "k2", "moved"]


@pytest.fixture
def mixed(bucket: str) -> str:
    """Return a bucket with an object whose name is also a prefix."""
    for name in ("p", "p/a", "q"):
        connect(SSES3()).put(b"x", f"s3://{bucket}/{name}")
    return bucket


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["rm", "s3://{b}/p"], ["p/a", "q"]),
        (["rm", "-r", "s3://{b}/p"], ["p", "q"]),
        (["rm", "-r", "s3://{b}/p/"], ["p", "q"]),
        (["mv", "s3://{b}/p", "out"], ["p/a", "q"]),
        (["mv", "-r", "s3://{b}/p", "out"], ["p", "q"]),
        (["mv", "s3://{b}/p", "s3://{b}/z", *SSE], ["p/a", "q", "z"]),
        (["rm", "s3://{b}/p*"], ["q"]),
    ],
    ids=str,
)
def test_a_prefix_that_is_an_object_too(
    words: list[str], left: list[str], mixed: str, s3: Any, folder: Path
) -> None:
    """If an object's name is also a prefix, -r acts on the objects below it, not on the object."""
    assert folder.exists()
    assert run([word.format(b=mixed) for word in words]) == 0
    assert names(s3, mixed) == left


# Each row: the words of a command, its exit code, and a text in its error. {b} is a bucket with the
# archived object `ice`, the locked version {v} of `held`, the client-side object `c`, the SSE-C
# object `own` and the SSE-S3 object `s`. {m} is a message under the key k. In the folder are the
# file `f`, a link to it, a folder `empty`, a pipe, and two keys.
REFUSED: list[tuple[list[str], int, str]] = [
    (["cat", "s3://{b}/ice"], 5, "s3://{b}/ice"),
    (["rotate", "s3://{b}/ice", "--from-mode", "sse-s3", *KEY], 5, "s3://{b}/ice"),
    (["get", "s3://{b}/ice", "out"], 5, "s3://{b}/ice"),
    (["cp", "s3://{b}/ice", "s3://{b}/new", *SSE], 5, "s3://{b}/ice"),
    (["rm", "--version-id", "{v}", "s3://{b}/held"], 5, "s3://{b}/held"),
    (["rb", "s3://{b}"], 5, "s3://{b}"),
    (["cat", "s3://{b}/c"], 3, "s3://{b}/c"),
    (["cat", "s3://{b}/c", "--key", "aes:acme/2027=k2"], 4, "s3://{b}/c"),
    (["cat", "s3://{b}/c", "--key", "aes:acme/2026=k2"], 3, "s3://{b}/c"),
    (["cat", "s3://{b}/s", *KEY], 3, "s3://{b}/s"),
    (["cat", "s3://{b}/own"], 5, "s3://{b}/own"),
    (["inspect", "s3://{b}/own"], 5, "s3://{b}/own"),
    (["rotate", "s3://{b}/c", *SSE], 3, "s3://{b}/c"),
    (["rotate", "s3://{b}/s", *KEY], 3, "s3://{b}/s"),
    (["rotate", "s3://{b}/c", "--key", "aes:acme/9=k2"], 3, "s3://{b}/c"),
    (["rotate", "s3://{b}", *SSE], 2, "s3://{b}"),
    (["rotate", "s3://{b}/none", *SSE], 5, "s3://{b}/none"),
    (["rotate", "-r", "s3://{b}/none", *SSE], 5, "s3://{b}/none"),
    (["rotate", "s3://{b}-no/x", *SSE], 5, "s3://{b}-no"),
    (["rotate"], 2, "S3_URI"),
    (["cat"], 2, "S3_URI"),
    (["cat", "s3://{b}/none"], 5, "s3://{b}/none"),
    (["cat", "s3://{b}"], 2, "s3://{b}"),
    (["cat", "f"], 2, "f"),
    (["encrypt"], 2, "IN"),
    (["decrypt"], 2, "IN"),
    (["encrypt", "f", "out"], 2, "key"),
    (["encrypt", "none", "out", *KEY], 5, "none"),
    (["encrypt", "f", "f", *KEY], 2, "same file"),
    (["encrypt", "f", ".", *KEY], 2, "."),
    (["encrypt", ".", "out", *KEY], 2, "."),
    (["encrypt", "f", "none/out", *KEY], 5, "none/out"),
    (["encrypt", "f", "/dev/full", *KEY], 5, "/dev/full"),
    (["encrypt", "f", "/proc/out", *KEY], 5, "/proc/out"),
    (["encrypt", "f", LONG, *KEY], 5, "name too long"),
    (["encrypt", "-r", ".", "in", *KEY], 2, "in"),
    (["decrypt", "f", "out", *KEY], 3, "f"),
    (["decrypt", "none", "out", *KEY], 5, "none"),
    (["decrypt", "f", "f", *KEY], 2, "same file"),
    (["decrypt", "f", "/dev/full", *KEY], 3, "f"),
    (["get", "s3://{b}/s", "/proc/out"], 5, "/proc/out"),
    (["get", "s3://{b}/s", LONG], 5, "name too long"),
    (["mv", "s3://{b}/s", LONG], 5, "name too long"),
    (["put", "f", "s3://{b}/" + LONG + "yy", *SSE], 5, "long"),
    (["mv", "f", "s3://{b}/" + LONG + "yy", *SSE], 5, "long"),
    # No arguments, or too many.
    (["put"], 2, "SOURCE"),
    (["get"], 2, "S3_URI"),
    (["inspect"], 2, "S3_URI"),
    (["clean"], 2, "FOLDER"),
    (["completion"], 2, "bash"),
    (["completion", "tcsh"], 2, "tcsh"),
    (["ls", "s3://{b}", "s3://{b}"], 2, "s3://{b}"),
    (["du", "s3://{b}", "s3://{b}"], 2, "s3://{b}"),
    (["stat", "s3://{b}/s", "s3://{b}/c"], 2, "s3://{b}/c"),
    (["mb", "s3://{b}-1", "s3://{b}-2"], 2, "s3://{b}-2"),
    (["rb", "s3://{b}-1", "s3://{b}-2"], 2, "s3://{b}-2"),
    (["keygen", "a", "b"], 2, "b"),
    (["encrypt", "f", "out", "more", *KEY], 2, "more"),
    # A missing bucket.
    (["cat", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["ls", "-l", "s3://{b}-no"], 5, "s3://{b}-no"),
    (["ls", "-r", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["ls", "--versions", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["du", "-p", "s3://{b}-no"], 5, "s3://{b}-no"),
    (["inspect", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["inspect", "-r", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["inspect", "--versions", "s3://{b}-no/x"], 5, "s3://{b}-no"),
    (["put", "f", "s3://{b}-no/x", *KEY], 5, "s3://{b}-no"),
    (["uploads", "s3://{b}-no"], 5, "s3://{b}-no"),
    (["presign", "--put", "s3://{b}-no/x", "--sse-c-key-file", "k"], 5, "s3://{b}-no"),
    # A missing object, version, file or folder.
    (["inspect", "s3://{b}/none"], 5, "s3://{b}/none"),
    (["inspect", "-r", "s3://{b}/none"], 5, "s3://{b}/none"),
    (["inspect", "s3://{b}"], 2, "s3://{b}"),
    (["inspect", "s3://{b}/none*"], 1, "none*"),
    (["inspect", "none", "s3://{b}/s"], 2, "s3://{b}/s"),
    (["inspect", "s3://{b}/s", "--version-id", "none"], 5, "s3://{b}/s"),
    (["stat", "s3://{b}/s", "--version-id", "none"], 1, "s3://{b}/s"),
    (["presign", "s3://{b}/s", "--version-id", "none"], 5, "s3://{b}/s"),
    (["cat", "s3://{b}/s", "--version-id", "none"], 5, "s3://{b}/s"),
    (["ls", "-l", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["ls", "-r", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["ls", "--versions", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["du", "-p", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["du", "--versions", "s3://{b}/none"], 1, "s3://{b}/none"),
    (["clean", "none"], 5, "none"),
    (["clean", "f"], 2, "f"),
    (["encrypt", "-r", "none", "out", *KEY], 2, "none"),
    (["decrypt", "-r", "f", "out", *KEY], 2, "f"),
    (["encrypt", "none", "out", "--encode", *KEY], 5, "none"),
    (["decrypt", "none", "out", "--decode", *KEY], 5, "none"),
    (["encrypt", "f", "out", "--key", "aes:acme/2026=none"], 2, "none"),
    # An object's name given as a prefix, or as a bucket.
    (["cat", "s3://{b}/s/"], 5, "s3://{b}/s/"),
    (["inspect", "s3://{b}/s/"], 5, "s3://{b}/s/"),
    (["presign", "s3://{b}/s/"], 5, "s3://{b}/s/"),
    (["presign", "--put", "s3://{b}/s/", *SSE], 2, "s3://{b}/s/"),
    (["ls", "s3://{b}/s/"], 1, "s3://{b}/s/"),
    (["du", "s3://{b}/s"], 1, "s3://{b}/s"),
    (["mb", "s3://{b}/s"], 2, "s3://{b}/s"),
    # The same file on both sides.
    (["encrypt", "f", "./f", "--encode", *KEY], 2, "same file"),
    (["decrypt", "f", "link", "--decode", *KEY], 2, "same file"),
    (["encrypt", "-r", ".", ".", *KEY], 2, "."),
    (["decrypt", "-r", ".", "./in/", *KEY], 2, "in"),
    (["keygen", "k"], 2, "k"),
    (["keygen", "link"], 2, "link"),
    # A target that is read-only, or full.
    (["keygen", "/proc/k"], 5, "/proc/k"),
    (["keygen", "/dev/full"], 2, "/dev/full"),
    (["keygen", "f/k"], 5, "f/k"),
    (["decrypt", "{m}", "/proc/out", *KEY], 5, "/proc/out"),
    (["decrypt", "{m}", "/dev/full", *KEY], 5, "/dev/full"),
    (["decrypt", "{m}", "f/out", *KEY], 5, "f/out"),
    (["decrypt", "{m}", LONG, *KEY], 5, "name too long"),
    (["encrypt", "f", "/dev/full", "--encode", *KEY], 5, "/dev/full"),
    (["encrypt", "f", "/proc/out", "--encode", *KEY], 5, "/proc/out"),
    # Another mode, or another key.
    (["presign", "s3://{b}/own"], 5, "s3://{b}/own"),
    (["presign", "s3://{b}/own", "--sse-c-key-file", "k2"], 5, "s3://{b}/own"),
    (["presign", "s3://{b}/s", "--sse-c-key-file", "k"], 5, "s3://{b}/s"),
    (["presign", "s3://{b}/s", *KEY], 3, "s3://{b}/s"),
    (["presign", "--put", "s3://{b}/x", *KEY], 2, "s3://{b}/x"),
    (["presign", "--put", "s3://{b}/c", *SSE], 3, "s3://{b}/c"),
    (["presign", "s3://{b}/s", "--no-sign-request"], 2, "--no-sign-request"),
    (["inspect", "s3://{b}/own", "--sse-c-key-file", "k2"], 5, "s3://{b}/own"),
    (["inspect", "s3://{b}/s", "--sse-c-key-file", "k"], 5, "s3://{b}/s"),
    (["decrypt", "{m}", "out", "--key", "aes:acme/2026=k2"], 3, "m"),
    (["decrypt", "{m}", "out", "--key", "aes:acme/2027=k2"], 4, "m"),
    (["decrypt", "{m}", "out", "--signed", *KEY], 3, "m"),
    (["decrypt", "{m}", "out", "--decode", *KEY], 3, "m"),
    (["decrypt", "{m}", "out", "--context", "a=b", *KEY], 3, "m"),
    # Archived.
    (["presign", "--put", "s3://{b}-no/ice", *SSE], 5, "s3://{b}-no"),
    (["inspect", "f"], 3, "f"),
    (["inspect", "/dev/null"], 3, "/dev/null"),
    (["inspect", "pipe"], 3, "pipe"),
    (["inspect", "f/x"], 5, "f/x"),
    # Names.
    (["ls", "s3://{b}/a\nb"], 1, "s3://{b}/a\\nb"),
    (["stat", "s3://{b}/a\nb"], 1, "s3://{b}/a\\nb"),
    (["cat", "s3://{b}/a\nb"], 5, "s3://{b}/a\\nb"),
    (["inspect", "s3://{b}/a\nb"], 5, "s3://{b}/a\\nb"),
    (["inspect", "a\nb"], 5, "a\\nb"),
    (["presign", "s3://{b}/a\x1b[31mb"], 5, "s3://{b}/a\\x1b[31mb"),
    (["presign", "s3://{b}/../s"], 5, "s3://{b}/../s"),
    (["inspect", "s3://{b}/ "], 5, "s3://{b}/ "),
    (["encrypt", "a\nb", "out", *KEY], 5, "a\\nb"),
    (["decrypt", "f", "none\n/out", *KEY], 5, "none\\n/out"),
    (["du", "s3://{b}/a\nb"], 1, "s3://{b}/a\\nb"),
    (["clean", "a\nb"], 5, "a\\nb"),
    (["mb", "s3://a..b"], 2, "a..b"),
    (["mb", "s3://a\nb"], 2, "a\\nb"),
    (["mb", "s3://a b"], 2, "a b"),
    (["mb", ".."], 2, ".."),
    (["mb", "s3://A"], 2, "A"),
    (["rb", "s3://a\nb"], 2, "a\\nb"),
    (["rb", "s3://a b"], 2, "a b"),
    (["uploads", "s3://a b"], 2, "a b"),
    (["ls", "s3://a b"], 2, "a b"),
    (["stat", "s3://{b}/" + LONG + "yy"], 5, "long"),
    (["cat", "s3://{b}/" + LONG + "yy"], 5, "long"),
    (["inspect", "s3://{b}/" + LONG + "yy"], 5, "long"),
    (["presign", "s3://{b}/" + LONG + "yy"], 5, "long"),
    (["presign", "--put", "s3://{b}/new/" + LONG + "yy", *SSE], 2, "too long"),
    (["rotate", "s3://{b}/" + LONG + "yy", *SSE], 5, "s3://{b}/"),
    (["inspect", LONG], 5, "name too long"),
    (["encrypt", LONG, "out", *KEY], 5, "name too long"),
    (["clean", LONG], 5, "no such folder"),
]


@pytest.fixture(scope="module")
def guarded(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Make the bucket of the table, and the keys `k` and `k2`."""
    bucket = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                    "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
                }
            ]
        },
    )
    keys = tmp_path_factory.mktemp("keys")
    for name in ("k", "k2", "f"):
        (keys / name).write_bytes(os.urandom(32))
    s3.put_object(Bucket=bucket, Key="ice", Body=b"x", StorageClass="GLACIER")
    held = s3.put_object(
        Bucket=bucket,
        Key="held",
        Body=b"x",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
    )
    put = ["put", "-q", str(keys / "f")]
    assert run([*put, f"s3://{bucket}/c", "--key", f"aes:acme/2026={keys / 'k'}"]) == 0
    assert run([*put, f"s3://{bucket}/s", *SSE]) == 0
    assert run([*put, f"s3://{bucket}/own", "--sse-c-key-file", str(keys / "k")]) == 0
    key = ["--key", f"aes:acme/2026={keys / 'k'}"]
    assert run(["encrypt", "-q", str(keys / "f"), str(keys / "m"), *key]) == 0
    return {"b": bucket, "v": held["VersionId"], "keys": str(keys), "m": str(keys / "m")}


@pytest.mark.parametrize(("words", "code", "named"), REFUSED, ids=lambda each: str(each)[:60])
def test_a_refusal_is_one_line(  # noqa: PLR0917 - fixtures
    words: list[str],
    code: int,
    named: str,
    guarded: Mapping[str, str],
    s3: Any,
    folder: Path,
    capsys: Captured,
) -> None:
    """A refused command prints one line of at most 160 columns that names the object.

    Nothing is changed.
    """
    for key in ("k", "k2"):
        (folder / key).write_bytes(Path(guarded["keys"], key).read_bytes())
    (folder / "link").symlink_to("f")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    before, files_before = names(s3, guarded["b"]), files(folder)
    assert run([word.format(**guarded) for word in words]) == code
    captured = capsys.readouterr()
    error, _ = told(captured.err)
    assert named.format(**guarded).lower() in error.lower()
    for long, short in ((guarded["b"], "b" * 8), (guarded["m"], "m"), (LONG, "")):
        error = error.replace(long, short)
    assert len(error) <= 160
    assert captured.out == ""
    assert names(s3, guarded["b"]) == before
    assert files(folder) == files_before
    assert (folder / "f").read_bytes() == b"x" * 1000


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the mount point of a disk of 64 KiB. Skip the test if this process cannot mount it."""
    place = tmp_path_factory.mktemp("disk")
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip("no file system can be mounted here")
    return place


@pytest.mark.parametrize(
    "line",
    [
        "get s3://{b}/big {disk}/out --mode sse-s3",
        "get -r s3://{b}/ {disk}/ --mode sse-s3",
        "cp s3://{b}/big {disk}/out --mode sse-s3",
        "mv s3://{b}/big {disk}/out --mode sse-s3",
        "encrypt big {disk}/out --key aes:acme/2026=k",
        "decrypt sealed {disk}/out --key aes:acme/2026=k",
    ],
)
def test_a_full_disk(line: str, bucket: str, s3: Any, folder: Path, small_disk: Path) -> None:
    """On a full disk the source and the disk are unchanged, and the error names the target."""
    Path("big").write_bytes(os.urandom(200_000))
    assert run(["put", "-q", "big", f"s3://{bucket}/big", *SSE]) == 0
    assert run(["encrypt", "-q", "big", "sealed", *KEY]) == 0
    command = line.format(b=bucket, disk=small_disk)
    script = (
        f"mount -t tmpfs -o size=64k tmpfs {small_disk} && "
        f"{sys.executable} -m s3crypt {command}; code=$?; ls -A {small_disk}; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False
    )
    error = done.stderr.splitlines()[0]
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert f"{small_disk}/" in error
    assert "No space left" in error
    assert len(error.replace(str(small_disk), "").replace(bucket, "")) <= 160
    assert names(s3, bucket) == ["big"]
    assert (folder / "big").exists()


@pytest.mark.parametrize(
    "line",
    [
        "put f s3://{b}/new --mode sse-s3",
        "put - s3://{b}/new --mode sse-s3",
        "get s3://{b}/q out",
        "cat s3://{b}/q",
        "cp s3://{b}/q s3://{b}/new --mode sse-s3",
        "mv s3://{b}/none s3://{b}/new --mode sse-s3",
        "rm s3://{b}/none",
        "inspect s3://{b}/q",
        "rotate s3://{b}/q --mode sse-s3",
        "keygen new",
        "encrypt f out --key aes:acme/2026=k",
        "decrypt - out --key aes:acme/2026=k",
        "encrypt - out --encode --key aes:acme/2026=k",
        "inspect f",
        "ls -l -r s3://{b}",
        "clean .",
    ],
)
def test_closed_standard_streams(line: str, mixed: str, folder: Path) -> None:
    """With closed streams the command ends with an exit code and without a traceback."""
    command = f"exec {sys.executable} -X faulthandler -m s3crypt {line.format(b=mixed)}"
    done = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], capture_output=True, check=False)
    assert done.returncode in range(6)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (folder / "f").read_bytes() == b"x" * 1000
    errors = subprocess.run(
        ["sh", "-c", f"{command} <&- >&-"], capture_output=True, check=False, text=True
    )
    assert errors.returncode in range(6)
    assert "Traceback" not in errors.stderr


@pytest.mark.parametrize(
    "line",
    [
        "get s3://{b}/none out",
        "put none s3://{b}/x --mode sse-s3",
        "cat s3://{b}/none",
        "rm s3://{b}/none",
        "rotate s3://{b}/none --mode sse-s3",
        "decrypt f out --key aes:acme/2026=k",
        "encrypt none out --key aes:acme/2026=k",
        "inspect s3://{b}/none",
        "presign s3://{b}/none",
        "mb s3://f",
    ],
)
def test_a_terminal_of_40_columns(line: str, mixed: str, folder: Path) -> None:
    """Errors are not wrapped at 40 columns, so that a line can be copied as a whole."""
    assert folder.exists()
    master, slave = pty.openpty()
    words = shlex.split(line.format(b=mixed))
    with subprocess.Popen(
        [sys.executable, "-m", "s3crypt", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"COLUMNS": "40", "TERM": "xterm"},
    ) as process:
        os.close(slave)
        screen = b""
        try:
            while piece := os.read(master, 65536):
                screen += piece
        except OSError:  # Linux reports the end of a terminal this way
            os.close(master)
    assert process.returncode in (1, 2, 3, 5)
    lines = screen.decode().replace("\r", "").splitlines()
    shown = [each for each in lines if "s3crypt: " in each]
    assert len(shown) == 1
    assert any(word in shown[0] for word in (f"s3://{mixed}", "none", "f"))
