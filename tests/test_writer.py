# SPDX-License-Identifier: Apache-2.0
"""An object that is written through `open` is stored as a whole when the file is closed."""

from __future__ import annotations

import array
import copy
import csv
import gzip
import io
import pickle
import sys
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from samples import (
    CLIENT_SIDE,
    MODES,
    PART,
    aes,
    connect,
    connect_shared,
    make_mode,
    names,
    payload,
    stored,
    uploads,
)
from writer_samples import FRAME, LENGTHS, LONG, MIB, OLD, run_script, write_in_pieces

from s3crypt import SSES3, ClientSide, ConfigError, ConflictError, ObjectInfo, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog


@pytest.fixture
def store() -> S3Crypt:
    """Return a client-side store that needs no KMS."""
    return connect_shared(ClientSide(aes()))


@pytest.fixture
def uri(bucket: str) -> str:
    """Return the URI of an object that does not exist yet."""
    return f"s3://{bucket}/x"


# --- Stored content ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_what_is_written_is_stored(name: str, uri: str, bucket: str, key: str, s3: Any) -> None:
    """In every mode, a closed file is stored with the written bytes, and `info` describes it."""
    store = connect(make_mode(name, key))
    for size in (0, 1, FRAME - 1, FRAME, FRAME + 1, LONG):
        with store.open(uri, "xb") as file:
            write_in_pieces(file, payload(size), seed=size)
            assert names(s3, bucket) == []
        assert store.read(uri) == payload(size)
        assert uploads(s3, bucket) == []
        assert isinstance(file.info, ObjectInfo)
        known = store.inspect(uri)
        assert file.info.size == size
        for told in ("uri", "mode", "size", "stored_size", "etag", "kms_key", "keys", "frames"):
            assert getattr(file.info, told) == getattr(known, told), told
        store.delete(uri)


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_no_plaintext_is_stored(name: str, uri: str, bucket: str, key: str, s3: Any) -> None:
    """S3 receives only ciphertext of a client-side file."""
    with connect_shared(make_mode(name, key)).open(uri, "wb") as file:
        file.write(b"plain text " * 10_000)
    assert b"plain text" not in stored(s3, bucket, "x")


@pytest.mark.parametrize("size", [0, FRAME, 2 * FRAME + 1, LONG])
def test_a_signed_object_is_written(size: int, uri: str) -> None:
    """With `signed`, a written object has a signature, which a read verifies."""
    store = connect_shared(ClientSide(aes(), signed=True))
    with store.open(uri, "wb") as file:
        write_in_pieces(file, payload(size))
    assert store.read(uri) == payload(size)
    assert file.info.signed


@pytest.mark.parametrize("size", [5, LONG])
def test_what_goes_along(size: int, uri: str, bucket: str, s3: Any) -> None:
    """Metadata, tags, content type and storage class given to `open` are stored."""
    with connect_shared(ClientSide(aes())).open(
        uri,
        "wb",
        metadata={"a": "b"},
        tags={"t": "u"},
        content_type="text/csv",
        storage_class="STANDARD_IA",
    ) as file:
        write_in_pieces(file, payload(size))
    head = s3.head_object(Bucket=bucket, Key="x")
    assert head["Metadata"]["a"] == "b"
    assert {"s3crypt-header-length", "s3crypt-frame-length"} < set(head["Metadata"])
    assert head["ContentType"] == "text/csv"
    assert head["StorageClass"] == "STANDARD_IA"
    assert s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"] == [{"Key": "t", "Value": "u"}]
    assert file.info.metadata == {"a": "b"}


@pytest.mark.parametrize("size", [10, LONG])
def test_what_was_there_is_replaced_at_the_end(store: S3Crypt, size: int, uri: str) -> None:
    """Until the file is closed, reads return the old object."""
    store.put(OLD, uri)
    file = store.open(uri, "wb")
    write_in_pieces(file, payload(size))
    assert store.read(uri) == OLD
    file.close()
    assert store.read(uri) == payload(size)
    file.close()
    assert store.read(uri) == payload(size)


def test_what_may_be_written(store: S3Crypt, uri: str) -> None:
    """`write` accepts any contiguous buffer, and refuses text and numbers."""
    numbers = array.array("I", range(1000))
    grid = memoryview(bytes(range(24))).cast("B", (4, 6))
    file: Any
    with store.open(uri, "wb") as file:
        assert file.write(numbers) == 4000
        assert file.write(grid) == 24
        assert file.write(bytearray(b"abc")) == 3
        assert file.write(memoryview(b"abcdef")[1:3]) == 2
        assert file.write(b"") == 0
        file.writelines([b"one\n", b"two\n"])
        for wrong in ("text", 5, None, [b"x"]):
            with pytest.raises(TypeError):
                file.write(wrong)
        assert file.tell() == 4037
    expected = numbers.tobytes() + bytes(range(24)) + b"abcbcone\ntwo\n"
    assert store.read(uri) == expected


def test_a_buffer_may_be_used_again(store: S3Crypt, uri: str) -> None:
    """`write` copies its argument, so the caller can reuse the buffer."""
    buffer = bytearray(300_000)
    with store.open(uri, "wb") as file:
        for number in range(40):
            buffer[:] = bytes([number]) * len(buffer)
            file.write(buffer)
        buffer.clear()
    assert store.read(uri) == b"".join(bytes([number]) * 300_000 for number in range(40))


@pytest.mark.parametrize("step", [1, 13])
def test_many_small_writes(store: S3Crypt, step: int, uri: str) -> None:
    """Many small writes make one object with all their bytes."""
    data = payload(30_000)
    with store.open(uri, "wb") as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
    assert store.read(uri) == data


# --- The `io` interface ------------------------------------------------------------------------


def test_what_a_file_is(store: S3Crypt, uri: str) -> None:
    """The file is writable and reports its position, but it cannot be read or sought in."""
    with store.open(uri, "wb") as file:
        assert isinstance(file, io.BufferedIOBase)
        # The file calls itself seekable: otherwise TextIOWrapper would not track its position, and
        # would write a byte order mark in the middle.
        assert (file.readable(), file.seekable(), file.writable()) == (False, True, True)
        assert not file.isatty()
        assert file.tell() == 0
        file.flush()
        deeds: tuple[Callable[[], object], ...] = (
            lambda: file.read(1),
            lambda: file.readinto(bytearray(1)),
            file.readline,
            lambda: file.seek(0),
            lambda: file.truncate(0),
            file.fileno,
            lambda: next(file),
        )
        for deed in deeds:
            with pytest.raises(io.UnsupportedOperation):
                deed()
        with pytest.raises(ValueError, match="clos"):
            file.info  # noqa: B018 - reading it raises
        file.write(b"after all")
    assert store.read(uri) == b"after all"


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_closed_file_takes_nothing(store: S3Crypt, how: str, uri: str) -> None:
    """All methods of a closed or aborted file raise ValueError, except a further close."""
    file = store.open(uri, "wb")
    file.write(b"x")
    getattr(file, how)()
    assert file.closed
    deeds: tuple[Callable[[], object], ...] = (
        lambda: file.write(b"x"),
        lambda: file.writelines([b"x"]),
        file.tell,
        file.flush,
        file.__enter__,
    )
    for deed in deeds:
        with pytest.raises(ValueError, match="closed"):
            deed()
    file.close()
    file.abort()


def test_an_abort_after_close_takes_nothing_back(store: S3Crypt, uri: str) -> None:
    """An abort after the close does not remove the object."""
    with store.open(uri, "wb") as file:
        file.write(b"kept")
    file.abort()
    assert store.read(uri) == b"kept"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_text_has_its_mark_once_and_its_position(store: S3Crypt, encoding: str, uri: str) -> None:
    """A TextIOWrapper on the file writes one byte order mark, and knows its position."""
    with io.TextIOWrapper(store.open(uri, "wb"), encoding=encoding) as text:
        assert text.tell() == 0
        text.write("one ä\n")
        assert text.tell() == len("one ä\n".encode(encoding))
        text.write("two\n")
        for deed in (lambda: text.seek(0), lambda: text.truncate(0), lambda: text.read(1)):
            with pytest.raises(io.UnsupportedOperation):
                deed()
    assert store.read(uri) == "one ä\ntwo\n".encode(encoding)


def test_text_after_other_bytes_has_no_mark(store: S3Crypt, uri: str) -> None:
    """A TextIOWrapper writes no byte order mark after other bytes."""
    with store.open(uri, "wb") as file:
        file.write(b"head")
        text = io.TextIOWrapper(file, encoding="utf-16")
        text.write("x")
        assert text.tell() == 6
        text.detach()
    own_order = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"
    assert store.read(uri) == b"head" + "x".encode(own_order)


def test_text_csv_and_archives_on_top(store: S3Crypt, bucket: str) -> None:
    """Python's writers of text, CSV and archives can write to the file."""
    rows = [[str(number), "a,b", "two\nlines ä"] for number in range(2000)]
    uri = f"s3://{bucket}/csv"
    with io.TextIOWrapper(store.open(uri, "wb"), encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(rows)
    with io.TextIOWrapper(store.open(uri), encoding="utf-8", newline="") as text:
        assert list(csv.reader(text)) == rows
    with store.open(f"s3://{bucket}/gzip", "wb") as file, gzip.open(file, "wb") as packed:
        packed.write(payload(3 * MIB))
    assert gzip.decompress(store.read(f"s3://{bucket}/gzip")) == payload(3 * MIB)
    with store.open(f"s3://{bucket}/zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one", payload(100_000))
    with store.open(f"s3://{bucket}/zip") as packed_, zipfile.ZipFile(packed_) as archive:
        assert archive.read("one") == payload(100_000)
    with (
        store.open(f"s3://{bucket}/tar", "wb") as file,
        tarfile.open(fileobj=file, mode="w|gz") as tar,
    ):
        entry = tarfile.TarInfo("one")
        entry.size = 100_000
        tar.addfile(entry, io.BytesIO(payload(100_000)))
    with store.open(f"s3://{bucket}/tar") as packed_, tarfile.open(fileobj=packed_) as tar:
        found = tar.extractfile("one")
        assert found
        assert found.read() == payload(100_000)


@pytest.mark.parametrize("how", ["wb", "xb"])
def test_what_is_wrong_with_the_call_is_told_at_open(
    how: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """`open` for writing refuses a wrong argument before any request."""
    store, uri = connect_shared(ClientSide(aes())), f"s3://{bucket}/x"
    with pytest.raises(ConfigError, match="mode"):
        connect_shared().open(uri, how)
    with pytest.raises(ConfigError, match="prefix"):
        store.open(f"s3://{bucket}/a/", how)
    with pytest.raises(ConfigError, match="bucket"):
        store.open(f"s3://{bucket}", how)
    with pytest.raises(ConfigError, match="s3crypt-"):
        store.open(uri, how, metadata={"s3crypt-edks": "x"})
    with pytest.raises(ConfigError, match="ASCII"):
        store.open(uri, how, metadata={"a": "ä"})
    assert requests_log.list() == []


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_file_is_not_copied(how: Callable[[Any], object], store: S3Crypt, uri: str) -> None:
    """Copying the file is refused: a dropped copy would abort the file's upload."""
    with store.open(uri, "wb") as file:
        file.write(b"kept")
        with pytest.raises(TypeError, match="cannot be copied"):
            how(file)
    assert store.read(uri) == b"kept"


# --- Exclusive creation ------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", LENGTHS)
def test_x_stores_only_where_nothing_is(
    name: str, size: int, uri: str, bucket: str, key: str, s3: Any
) -> None:
    """With "xb", an existing object stays, and the file fails with a conflict."""
    store = connect_shared(make_mode(name, key))
    with store.open(uri, "xb") as file:
        file.write(OLD)
    again = store.open(uri, "xb")
    # A file that needs parts looks for the object before it sends a part, so `write` fails.
    with pytest.raises(ConflictError, match=uri), again:
        write_in_pieces(again, payload(size))
    assert again.closed
    assert store.read(uri) == OLD
    assert uploads(s3, bucket) == []


def test_of_two_who_race_one_wins(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """Of two files that were opened with "xb", the file that is closed first is stored."""
    one, two = store.open(uri, "xb"), store.open(uri, "xb")
    one.write(payload(PART + 5))
    two.write(b"two")
    two.close()
    with pytest.raises(ConflictError):
        one.close()
    assert store.read(uri) == b"two"
    assert uploads(s3, bucket) == []


# --- Requests and memory -----------------------------------------------------------------------


def _kinds(log: RequestsLog) -> list[str]:
    return [
        f"{entry['method']} {entry['query'].partition('=')[0].partition('&')[0]}".strip()
        for entry in log.list()
    ]


@pytest.mark.parametrize("size", [0, 1, 1_000_000, PART])
def test_a_small_object_is_one_request(
    store: S3Crypt, size: int, uri: str, requests_log: RequestsLog
) -> None:
    """A small file is stored by one request, however many writes it had."""
    with store.open(uri, "wb") as file:
        for start in range(0, size, 100_000):
            file.write(payload(size)[start : start + 100_000])
        assert requests_log.list() == []
    assert _kinds(requests_log) == ["PUT"]


def test_a_large_object_is_sent_while_it_is_written(
    store: S3Crypt, uri: str, requests_log: RequestsLog
) -> None:
    """Parts of a large file are sent while it is written."""
    with store.open(uri, "wb") as file:
        for start in range(0, 8 * PART, MIB):
            file.write(payload(8 * PART)[start : start + MIB])
        before = sum("partNumber" in entry["query"] for entry in requests_log.list())
    kinds = [kind.partition(" ")[0] for kind in _kinds(requests_log)]
    assert kinds.count("PUT") == 8
    assert kinds.count("POST") == 2
    assert before >= 1
    assert store.read(uri) == payload(8 * PART)


_PEAK = """
import resource, sys
from s3crypt import *
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))), workers=2)
piece, before = bytes(2**20), 0
with store.open(f"s3://{sys.argv[1]}/x", "wb") as file:
    for number in range(int(sys.argv[2])):
        file.write(piece)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_large_object_takes_bounded_memory(bucket: str) -> None:
    """The memory of a writing process does not grow with the length of the object."""
    peaks = []
    for mib in (32, 96):
        done = run_script(_PEAK, bucket, str(mib))
        assert done.returncode == 0, done.stderr.decode()
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 32


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_one_data_key_a_file(name: str, uri: str, key: str, requests_log: RequestsLog) -> None:
    """Writing a file makes one request to KMS."""
    with connect_shared(make_mode(name, key)).open(uri, "wb") as file:
        write_in_pieces(file, payload(PART + 1))
    targets = [entry["headers"].get("x-amz-target") for entry in requests_log.list()]
    assert [target for target in targets if target] == ["TrentService.GenerateDataKey"]


# --- Several files -----------------------------------------------------------------------------


def test_two_files_are_written_in_turns(store: S3Crypt, bucket: str) -> None:
    """Two files that are written in turns get their own bytes."""
    one, two = (store.open(f"s3://{bucket}/{name}", "wb") for name in ("one", "two"))
    with one, two:
        for start in range(0, PART + MIB, MIB):
            one.write(payload(PART + MIB)[start : start + MIB])
            two.write(payload(PART + MIB)[::-1][start : start + MIB])
    assert store.read(f"s3://{bucket}/one") == payload(PART + MIB)
    assert store.read(f"s3://{bucket}/two") == payload(PART + MIB)[::-1]


def test_two_files_of_one_name(store: S3Crypt, uri: str) -> None:
    """If two files of one name are open, the file that is closed last is stored, unmixed."""
    one, two = store.open(uri, "wb"), store.open(uri, "wb")
    write_in_pieces(one, payload(PART + 1))
    write_in_pieces(two, payload(PART + 2))
    two.close()
    assert store.read(uri) == payload(PART + 2)
    one.close()
    assert store.read(uri) == payload(PART + 1)


def test_threads_write_files_of_their_own(store: S3Crypt, bucket: str) -> None:
    """Threads can write files of one store in parallel."""

    def write(number: int) -> None:
        with store.open(f"s3://{bucket}/{number}", "wb") as file:
            write_in_pieces(file, payload(2 * MIB + number), seed=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        assert store.read(f"s3://{bucket}/{number}") == payload(2 * MIB + number)


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_an_object_is_copied_from_file_to_file(mode: Any, bucket: str) -> None:
    """An object can be copied from an open file to a file in another mode."""
    source, target = connect_shared(mode), connect_shared(ClientSide(aes("two")))
    source.put(payload(LONG), f"s3://{bucket}/a")
    with source.open(f"s3://{bucket}/a") as file, target.open(f"s3://{bucket}/b", "wb") as copy:
        while chunk := file.read(3 * MIB):
            copy.write(chunk)
    assert target.read(f"s3://{bucket}/b") == payload(LONG)
