# SPDX-License-Identifier: Apache-2.0
"""`get --range`, `cat --head` and `cat --tail`: the returned bytes, and the refusals."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run

import s3crypt

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

SIZE = 700_000
FRAME = 2**16
PLAIN = secrets.token_bytes(SIZE)


@dataclass(frozen=True, slots=True)
class Command:
    """Runs the command for one object with its key."""

    uri: str
    key: bytes
    options: tuple[str, ...]
    capture: pytest.CaptureFixture[bytes]

    def output(self, verb: str, *arguments: str, code: int = 0) -> bytes:
        """Return the output, after checking the exit code."""
        self.capture.readouterr()
        ended = run([verb, self.uri, *arguments, *self.options])
        out, err = self.capture.readouterr()
        assert ended == code, err.decode()
        return out


def _mode(name: str, key: bytes) -> s3crypt.Mode:
    keyring = s3crypt.AESKeyring("team", "one", key)
    modes: dict[str, s3crypt.Mode] = {
        "header": s3crypt.ClientSide(keyring, frame_length=FRAME),
        "metadata": s3crypt.ClientSide(keyring, frame_length=FRAME, key_location="metadata"),
        "signed": s3crypt.ClientSide(keyring, frame_length=FRAME, signed=True),
        "sse-s3": s3crypt.SSES3(),
        "sse-c": s3crypt.SSEC(key),
    }
    return modes[name]


def _command(
    uri: str, mode: str, plain: bytes, folder: Path, capture: pytest.CaptureFixture[bytes]
) -> Command:
    key, file = secrets.token_bytes(32), folder / "one"
    file.write_bytes(key)
    s3crypt.S3Crypt(_mode(mode, key)).put(plain, uri)
    options = {
        "sse-s3": (),
        "sse-c": ("--sse-c-key-file", str(file)),
        "signed": ("--key", f"aes:team/one={file}", "--allow-unverified-signature"),
    }.get(mode, ("--key", f"aes:team/one={file}"))
    return Command(uri, key, options, capture)


@pytest.fixture(params=["header", "metadata", "signed", "sse-s3", "sse-c"])
def command(
    request: pytest.FixtureRequest,
    bucket: str,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Command:
    """Put an object of eleven frames in one mode."""
    return _command(f"s3://{bucket}/object", request.param, PLAIN, tmp_path, capfdbinary)


@pytest.fixture
def client(bucket: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Put a client-side object of eleven frames."""
    return _command(f"s3://{bucket}/object", "header", PLAIN, tmp_path, capfdbinary)


RANGES = {
    "0-0": slice(0, 1),
    "0-99": slice(0, 100),
    f"0-{FRAME - 1}": slice(0, FRAME),
    f"{FRAME - 1}-{FRAME}": slice(FRAME - 1, FRAME + 1),
    f"100000-{SIZE - 1}": slice(100_000, SIZE),
    "100000-9999999": slice(100_000, SIZE),
    "100000-": slice(100_000, SIZE),
    f"{SIZE - 1}-": slice(SIZE - 1, SIZE),
    "-1": slice(SIZE - 1, SIZE),
    "-100000": slice(SIZE - 100_000, SIZE),
    "-9999999": slice(0, SIZE),
    "0-": slice(0, SIZE),
}


def test_ranges(command: Command) -> None:
    """Ranges at the edges of frames and of the object return the right bytes in every mode."""
    for text, part in RANGES.items():
        assert command.output("get", "-", "--range", text) == PLAIN[part], text


@pytest.mark.parametrize("text", ["0-99", "100000-", "-100000"])
def test_ranges_to_files(client: Command, text: str, tmp_path: Path) -> None:
    """An existing file is replaced completely by the range."""
    target = tmp_path / "out"
    target.write_bytes(b"x" * SIZE)
    client.output("get", str(target), "--range", text)
    assert target.read_bytes() == PLAIN[RANGES[text]]


def test_a_refused_range_leaves_files_as_they_were(client: Command, tmp_path: Path) -> None:
    """After a refused range the old file is unchanged, and no temporary file is left."""
    target = tmp_path / "out"
    target.write_bytes(b"old")
    before = set(tmp_path.iterdir())
    client.output("get", str(target), "--range", f"{SIZE}-", code=5)
    assert target.read_bytes() == b"old"
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("count", [1, 100, FRAME, SIZE - 1, SIZE, SIZE + 1])
def test_the_first_and_the_last_bytes(client: Command, count: int) -> None:
    """--head and --tail return the requested number of bytes, or the whole object."""
    assert client.output("cat", "--head", str(count)) == PLAIN[:count]
    assert client.output("cat", "--tail", str(count)) == PLAIN[-count:]


def test_the_first_bytes_of_several_objects(client: Command) -> None:
    """--head applies to each of several objects."""
    assert client.output("cat", client.uri, "--head", "10") == PLAIN[:10] * 2


def test_only_what_has_the_bytes_is_fetched(client: Command, requests_log: RequestsLog) -> None:
    """For the last 100 of 700,000 bytes only a part of the object is fetched."""
    client.output("cat", "--tail", "100")
    fetched = [entry for entry in requests_log.list() if entry["method"] == "GET"]
    assert sum(entry["response_bytes"] for entry in fetched) < SIZE / 2


@pytest.mark.parametrize("mode", ["header", "sse-s3", "sse-c"])
@pytest.mark.parametrize("option", ["--head", "--tail"])
def test_nothing_of_an_empty_object(
    mode: str, option: str, bucket: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """--head and --tail of an empty object print nothing and succeed."""
    command = _command(f"s3://{bucket}/empty", mode, b"", tmp_path, capfdbinary)
    assert command.output("cat", option, "10") == b""


def test_a_truncated_object_does_not_pass_for_an_empty_one(
    s3: Any, bucket: str, client: Command
) -> None:
    """A truncated object is refused without output, however it is cut."""
    stored = s3.get_object(Bucket=bucket, Key="object")
    body, metadata = stored["Body"].read(), stored["Metadata"]
    header = int(metadata["s3crypt-header-length"])
    for length in (header + 36, header + FRAME + 100, len(body) - 1):
        s3.put_object(Bucket=bucket, Key="object", Body=body[:length], Metadata=metadata)
        for option in ("--head", "--tail"):
            assert client.output("cat", option, "10", code=3) == b""


def test_a_tampered_frame_is_not_given_out(s3: Any, bucket: str, client: Command) -> None:
    """A range with the changed frame is refused; other ranges return the stored bytes."""
    stored = s3.get_object(Bucket=bucket, Key="object")
    body, metadata = bytearray(stored["Body"].read()), stored["Metadata"]
    body[2 * FRAME] ^= 1
    s3.put_object(Bucket=bucket, Key="object", Body=bytes(body), Metadata=metadata)
    assert client.output("get", "-", "--range", f"{FRAME}-{2 * FRAME}", code=3) == b""
    assert client.output("get", "-", "--range", "0-99") == PLAIN[:100]
    assert client.output("get", "-", "--range", "-100") == PLAIN[-100:]
