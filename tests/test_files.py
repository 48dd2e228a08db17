# SPDX-License-Identifier: Apache-2.0
"""Encryption and decryption of whole files, by several threads or in order."""

from __future__ import annotations

import codecs
import io
import os
import random
import threading
from pathlib import Path

import pytest
from s3crypt_cli.main import run
from samples import aes, payload

from s3crypt import IntegrityError, StorageError, decrypt_file, encrypt_file, message
from s3crypt.errors import Remedy
from s3crypt.local.sources import FileSource
from s3crypt.message import Sealer
from s3crypt.message.geometry import FINAL_FRAME_OVERHEAD

F = 4096
RUN = 2**20


@pytest.mark.parametrize(
    ("size", "frame_length"),
    [
        *((size, F) for size in (0, 1, F - 1, F, F + 1, 3 * F)),
        *((size, F) for size in (RUN - 1, RUN, RUN + 1, 5 * RUN, 5 * RUN + 17)),
        *((size, 256 * 2**10) for size in (RUN - 1, RUN, RUN + 1, 5 * RUN + 17)),
        (5 * RUN + 17, 3 * RUN),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_files_come_back(tmp_path: Path, size: int, frame_length: int, *, signed: bool) -> None:
    """Files of lengths around frames and runs are restored; `message.decrypt` opens them."""
    plain, sealed, back = tmp_path / "plain", tmp_path / "sealed", tmp_path / "back"
    plain.write_bytes(payload(size))
    written = encrypt_file(plain, sealed, aes(), frame_length=frame_length, signed=signed)
    assert written == sealed.stat().st_size
    assert message.decrypt(sealed.read_bytes(), aes()) == payload(size)
    assert decrypt_file(sealed, back, aes()) == size
    assert back.read_bytes() == payload(size)


def test_progress_counts_every_byte_written(tmp_path: Path) -> None:
    """Progress counts the bytes of the message, or of the plaintext when decrypting."""
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(payload(3 * RUN + 5))
    counts: list[int] = []
    written = encrypt_file(plain, sealed, aes(), progress=counts.append)
    assert sum(counts) == written
    counts.clear()
    assert decrypt_file(sealed, tmp_path / "back", aes(), progress=counts.append) == sum(counts)


@pytest.mark.parametrize("position", [-1, 2 * RUN, -FINAL_FRAME_OVERHEAD, 500])
def test_a_changed_message_leaves_no_file(tmp_path: Path, position: int) -> None:
    """After a flipped bit decryption fails, and the target is unchanged."""
    sealed, back = tmp_path / "sealed", tmp_path / "back"
    whole = bytearray(message.encrypt(payload(4 * RUN + 5), aes()))
    whole[position] ^= 1
    sealed.write_bytes(whole)
    back.write_bytes(b"as it was")
    with pytest.raises(IntegrityError):
        decrypt_file(sealed, back, aes())
    assert back.read_bytes() == b"as it was"
    assert sorted(tmp_path.iterdir()) == [back, sealed]


@pytest.mark.parametrize("change", ["one less", "one more", "one frame less"])
def test_a_message_of_another_length_is_refused(tmp_path: Path, change: str) -> None:
    """A truncated or extended message is refused, also at the boundary of a frame."""
    sealed = tmp_path / "sealed"
    whole = message.encrypt(payload(4 * RUN), aes())
    less = 256 * 2**10 + 32
    changed = {"one less": whole[:-1], "one more": whole + b"x", "one frame less": whole[:-less]}
    sealed.write_bytes(changed[change])
    with pytest.raises(IntegrityError):
        decrypt_file(sealed, tmp_path / "back", aes())
    assert not (tmp_path / "back").exists()


def test_a_file_that_grows_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that grows during encryption is an error, and nothing is written."""
    plain = tmp_path / "plain"
    plain.write_bytes(payload(RUN))
    seal = Sealer.seal

    def growing(*args: object, **options: object) -> int:
        with plain.open("ab") as file:
            file.write(b"more")
        return seal(*args, **options)  # type: ignore[arg-type]  # the arguments are passed on unchanged

    monkeypatch.setattr(Sealer, "seal", growing)
    with pytest.raises(StorageError, match="changed while") as caught:
        encrypt_file(plain, tmp_path / "sealed", aes())
    assert list(tmp_path.iterdir()) == [plain]
    assert caught.value.remedy == Remedy("pipe_what_is_there", file=str(plain))


def test_a_file_that_shrinks_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that shrinks during encryption is an error; missing bytes are not invented."""
    plain = tmp_path / "plain"
    plain.write_bytes(payload(3 * RUN))
    read_into = FileSource.read_into

    def shrinking(self: FileSource, view: memoryview, offset: int) -> int:
        os.truncate(plain, RUN // 2)
        return read_into(self, view, offset)

    monkeypatch.setattr(FileSource, "read_into", shrinking)
    with pytest.raises(StorageError, match="shorter"):
        encrypt_file(plain, tmp_path / "sealed", aes())
    assert list(tmp_path.iterdir()) == [plain]


def test_pipes_are_read_and_written(tmp_path: Path) -> None:
    """Named pipes, which have no size and no offsets, can be read and written."""
    source, target = tmp_path / "source", tmp_path / "target"
    os.mkfifo(source)
    os.mkfifo(target)
    got: list[bytes] = []
    feeding = threading.Thread(target=lambda: source.write_bytes(payload(2 * RUN + 3)))
    taking = threading.Thread(target=lambda: got.append(target.read_bytes()))
    for thread in (feeding, taking):
        thread.start()
    encrypt_file(source, target, aes())
    for thread in (feeding, taking):
        thread.join()
    assert message.decrypt(got[0], aes()) == payload(2 * RUN + 3)


@pytest.mark.parametrize("source", ["/proc/version", "/sys/class/net/lo/mtu"])
def test_files_are_read_whatever_size_they_claim(
    source: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Files of /proc and /sys are read completely, although their stated size is wrong."""
    file = Path(source)
    if not file.exists():
        pytest.skip("needs Linux's /proc and /sys")
    assert file.stat().st_size != len(file.read_bytes())
    encrypt_file(source, tmp_path / "sealed", aes())
    assert message.decrypt((tmp_path / "sealed").read_bytes(), aes()) == file.read_bytes()
    (tmp_path / "key").write_bytes(random.Random("one").randbytes(32))
    assert run(["encrypt", source, "-", "--key", f"aes:tests/one={tmp_path / 'key'}"]) == 0
    assert message.decrypt(capfdbinary.readouterr().out, aes()) == file.read_bytes()


@pytest.mark.parametrize("convert", [encrypt_file, decrypt_file])
def test_a_missing_or_odd_source_says_so(tmp_path: Path, convert: object) -> None:
    """A folder and a missing file as source raise an error."""
    assert callable(convert)
    for source, said in ((tmp_path, "is a directory"), (tmp_path / "none", "Cannot read")):
        with pytest.raises(StorageError, match=said):
            convert(source, tmp_path / "target", aes())
    assert not list(tmp_path.iterdir())


def test_a_source_that_shrinks_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is cut while it is read is an error, even if its stat looks unchanged."""
    sealed, back = tmp_path / "sealed", tmp_path / "back"
    sealed.write_bytes(message.encrypt(payload(4 * RUN), aes()))
    monkeypatch.setattr(FileSource, "verify", lambda _: None)
    read_into = FileSource.read_into

    def cut(self: FileSource, view: memoryview, offset: int) -> int:
        # Whole frames are left, so every frame that is read is valid.
        whole = len(view) // (256 * 2**10 + 32) * (256 * 2**10 + 32)
        filled = read_into(self, view, offset)
        return filled if offset < RUN else min(filled, whole - (256 * 2**10 + 32))

    monkeypatch.setattr(FileSource, "read_into", cut)
    with pytest.raises(StorageError, match="shorter"):
        decrypt_file(sealed, back, aes())
    assert not back.exists()


def test_a_wrapper_is_read_by_its_own_read(tmp_path: Path) -> None:
    """A file object that changes the bytes is read by its own `read`."""
    latin = tmp_path / "latin"
    latin.write_bytes("é".encode("latin-1"))
    with latin.open("rb") as raw:
        recoded = codecs.EncodedFile(raw, "utf-8", "latin-1")
        assert FileSource.of(recoded, "latin") is None

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return (super().read(size) or b"").upper()

    with Counting(latin) as counting:
        assert FileSource.of(counting, "latin") is None


def test_a_descriptor_by_its_name_is_appended_to(tmp_path: Path) -> None:
    """Output to /dev/fd/N is appended to the open file, and does not replace it."""
    plain, out = tmp_path / "plain", tmp_path / "out"
    plain.write_bytes(payload(3 * RUN))
    with out.open("wb") as file:
        file.write(b"head")
        file.flush()
        encrypt_file(plain, f"/dev/fd/{file.fileno()}", aes())
    written = out.read_bytes()
    assert written[:4] == b"head"
    assert message.decrypt(written[4:], aes()) == payload(3 * RUN)
