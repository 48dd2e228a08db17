# SPDX-License-Identifier: Apache-2.0
"""Objects written as files: whole once closed, and until then, or else, not at all."""

from __future__ import annotations

import array
import copy
import csv
import gc
import gzip
import io
import linecache
import os
import pickle
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import warnings
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from relay import Answer, Asked, relaying
from samples import (
    CLIENT_SIDE,
    MODES,
    PART,
    aes,
    connect,
    make_mode,
    names,
    payload,
    stored,
    uploads,
)

import s3crypt
from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    KeyUnavailableError,
    ObjectInfo,
    S3Crypt,
    S3CryptError,
    StorageError,
)
from s3crypt.objects import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from conftest import RequestsLog

    from s3crypt import Mode
    from s3crypt.sandbox import Running

MIB = 2**20
FRAME = 2**18
LONG = 20 * MIB
OLD = b"what was there before"
# Nothing sent yet, and parts sent already.
LENGTHS = (10, LONG)


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    """Return a key that stays usable; to make one takes longer than most tests."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@cache
def _client() -> Any:
    """Return one client for all stores: to make one takes longer than most tests."""
    return connect().client


def _connect(mode: Mode | None = None) -> S3Crypt:
    return S3Crypt(mode, client=_client())


@pytest.fixture
def store() -> S3Crypt:
    """Return a store that asks no key service."""
    return _connect(ClientSide(aes()))


@pytest.fixture
def uri(bucket: str) -> str:
    """Return where nothing is yet."""
    return f"s3://{bucket}/x"


def _nothing(s3: Any, bucket: str) -> bool:
    """Tell whether neither an object nor an upload is there."""
    return names(s3, bucket) == [] and uploads(s3, bucket) == []


def _write(file: Any, data: bytes, seed: int = 0) -> None:
    """Write in pieces of any length."""
    chance = random.Random(seed)
    with memoryview(data) as view:
        place = 0
        while place < len(view):
            count = chance.choice((1, 1000, FRAME, FRAME + 1, 3 * MIB))
            assert file.write(view[place : place + count]) == min(count, len(view) - place)
            place += count
            assert file.tell() == min(place, len(view))


# --- What is written is what is stored ---------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_what_is_written_is_stored(name: str, uri: str, bucket: str, key: str, s3: Any) -> None:
    """Encrypted as asked, and told so."""
    store = connect(make_mode(name, key))
    for size in (0, 1, FRAME - 1, FRAME, FRAME + 1, LONG):
        with store.open(uri, "xb") as file:
            _write(file, payload(size), seed=size)
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
    """S3 gets ciphertext, as of a put."""
    with _connect(make_mode(name, key)).open(uri, "wb") as file:
        file.write(b"plain text " * 10_000)
    assert b"plain text" not in stored(s3, bucket, "x")


@pytest.mark.parametrize("size", [0, FRAME, 2 * FRAME + 1, LONG])
def test_a_signed_object_is_written(size: int, uri: str) -> None:
    """Its signature is verified when all is read."""
    store = _connect(ClientSide(aes(), signed=True))
    with store.open(uri, "wb") as file:
        _write(file, payload(size))
    assert store.read(uri) == payload(size)
    assert file.info.signed


@pytest.mark.parametrize("size", [5, LONG])
def test_what_goes_along(size: int, uri: str, bucket: str, s3: Any) -> None:
    """Metadata, tags, content type and storage class, in one request or by parts."""
    with _connect(ClientSide(aes())).open(
        uri,
        "wb",
        metadata={"a": "b"},
        tags={"t": "u"},
        content_type="text/csv",
        storage_class="STANDARD_IA",
    ) as file:
        _write(file, payload(size))
    head = s3.head_object(Bucket=bucket, Key="x")
    assert head["Metadata"]["a"] == "b"
    assert {"s3crypt-header-length", "s3crypt-frame-length"} < set(head["Metadata"])
    assert head["ContentType"] == "text/csv"
    assert head["StorageClass"] == "STANDARD_IA"
    assert s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"] == [{"Key": "t", "Value": "u"}]
    assert file.info.metadata == {"a": "b"}


@pytest.mark.parametrize("size", [10, LONG])
def test_what_was_there_is_replaced_at_the_end(store: S3Crypt, size: int, uri: str) -> None:
    """Until `close` the old object is read."""
    store.put(OLD, uri)
    file = store.open(uri, "wb")
    _write(file, payload(size))
    assert store.read(uri) == OLD
    file.close()
    assert store.read(uri) == payload(size)
    file.close()
    assert store.read(uri) == payload(size)


def test_what_may_be_written(store: S3Crypt, uri: str) -> None:
    """Whatever has bytes in a row; text and numbers have none."""
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
    """What `write` was given is taken by the time it returns."""
    buffer = bytearray(300_000)
    with store.open(uri, "wb") as file:
        for number in range(40):
            buffer[:] = bytes([number]) * len(buffer)
            file.write(buffer)
        buffer.clear()
    assert store.read(uri) == b"".join(bytes([number]) * 300_000 for number in range(40))


@pytest.mark.parametrize("step", [1, 13])
def test_many_small_writes(store: S3Crypt, step: int, uri: str) -> None:
    """Are one object."""
    data = payload(30_000)
    with store.open(uri, "wb") as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
    assert store.read(uri) == data


# --- As io has it ------------------------------------------------------------------------------


def test_what_a_file_is(store: S3Crypt, uri: str) -> None:
    """It is written, in order, and neither read nor sought in."""
    with store.open(uri, "wb") as file:
        assert isinstance(file, io.BufferedIOBase)
        assert (file.readable(), file.seekable(), file.writable()) == (False, False, True)
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
            file.info  # noqa: B018 - to ask is to raise
        file.write(b"after all")
    assert store.read(uri) == b"after all"


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_closed_file_takes_nothing(store: S3Crypt, how: str, uri: str) -> None:
    """ValueError, as of any file."""
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
    """What is stored is stored."""
    with store.open(uri, "wb") as file:
        file.write(b"kept")
    file.abort()
    assert store.read(uri) == b"kept"


def test_text_csv_and_archives_on_top(store: S3Crypt, bucket: str) -> None:
    """Writers of Python's own write to it."""
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
    """Before any request, and before a byte is written in vain."""
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    with pytest.raises(ConfigError, match="mode"):
        _connect().open(uri, how)
    with pytest.raises(ConfigError, match="prefix"):
        store.open(f"s3://{bucket}/a/", how)
    with pytest.raises(ConfigError, match="bucket"):
        store.open(f"s3://{bucket}", how)
    with pytest.raises(ConfigError, match="s3crypt-"):
        store.open(uri, how, metadata={"s3crypt-edks": "x"})
    with pytest.raises(ConfigError, match="ASCII"):
        store.open(uri, how, metadata={"a": "ä"})
    assert requests_log.list() == []


# --- Failures store nothing --------------------------------------------------------------------


class _OwnError(Exception):
    """What a caller's own code raises."""


def _fail(file: Any, data: bytes, error: type[BaseException] = _OwnError) -> None:
    """Write and fail within the block."""
    with file:
        _write(file, data)
        raise error


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", LENGTHS)
def test_an_exception_stores_nothing(
    name: str, size: int, uri: str, bucket: str, key: str, s3: Any
) -> None:
    """It goes on as it is, and neither an object nor an upload is left."""
    file = _connect(make_mode(name, key)).open(uri, "wb")
    with pytest.raises(_OwnError) as caught:
        _fail(file, payload(size))
    assert caught.value.__context__ is None
    assert file.closed
    assert _nothing(s3, bucket)


@pytest.mark.parametrize("size", LENGTHS)
def test_an_exception_keeps_what_was_there(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """As if nobody had begun; interrupts too."""
    store.put(OLD, uri)
    for error in (_OwnError, KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(error):
            _fail(store.open(uri, "wb"), payload(size), error)
    assert store.read(uri) == OLD
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("size", LENGTHS)
def test_abort_stores_nothing(store: S3Crypt, size: int, uri: str, bucket: str, s3: Any) -> None:
    """Also within the block, which then ends well."""
    with store.open(uri, "wb") as file:
        _write(file, payload(size))
        file.abort()
    assert file.closed
    assert _nothing(s3, bucket)
    with pytest.raises((ValueError, StorageError)):
        file.info  # noqa: B018 - to ask is to raise


def _fail_in_text(file: Any, size: int) -> None:
    with io.TextIOWrapper(file, encoding="ascii", write_through=True) as text:
        text.write("x" * size)
        raise _OwnError


def _fail_in_both(file: Any, size: int) -> None:
    with file, io.TextIOWrapper(file, encoding="ascii") as text:
        text.write("x" * size)
        raise _OwnError


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("how", [_fail_in_text, _fail_in_both])
def test_an_exception_through_a_wrapper_stores_nothing(
    how: Any, store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """Wrappers close what they wrap whether or not all went well."""
    file = store.open(uri, "wb")
    with pytest.raises(_OwnError):
        how(file, size)
    assert file.closed
    assert _nothing(s3, bucket)


def test_a_file_written_while_an_error_is_handled(store: S3Crypt, uri: str) -> None:
    """An error that was there before is none of the file's."""
    try:
        int("no number")
    except ValueError:
        with store.open(uri, "wb") as file:
            file.write(b"report")
        assert store.read(uri) == b"report"
    assert store.read(uri) == b"report"


def test_a_file_closed_while_an_error_is_handled(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """But by its own block, whether the error goes on cannot be told: nothing, and said so."""
    try:
        int("no number")
    except ValueError:
        file = store.open(uri, "wb")
        file.write(b"closed")
        with pytest.raises(StorageError, match=uri) as caught:
            file.close()
        assert caught.value.hint
        wrapped = io.TextIOWrapper(store.open(uri, "wb"))
        wrapped.write("wrapped")
        with pytest.raises(StorageError, match=uri):
            wrapped.close()
    assert _nothing(s3, bucket)


def test_an_error_handled_within_the_block_is_no_failure(store: S3Crypt, uri: str) -> None:
    """What the caller has caught does not count."""
    with store.open(uri, "wb") as file:
        for number in range(3):
            try:
                int("no number")
            except ValueError:
                file.write(b"%d" % number)
    assert store.read(uri) == b"012"


@pytest.mark.parametrize("size", LENGTHS)
def test_a_file_dropped_stores_nothing(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """What is collected unclosed was never completed, and a warning says so."""
    held = [store.open(uri, "wb")]
    _write(held[0], payload(size))
    with pytest.warns(ResourceWarning, match=uri):
        held.clear()
    _settle()
    assert _nothing(s3, bucket)


def _settle() -> None:
    """Wait for the threads that discard what was sent."""
    for thread in threading.enumerate():
        if thread.name.startswith("s3crypt-write"):
            thread.join(10)


def test_a_file_in_a_cycle_is_dropped_as_well(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """The collector's order decides nothing."""
    cycle: list[Any] = [store.open(uri, "wb")]
    cycle[0].write(b"x")
    cycle.append(cycle)
    del cycle
    with pytest.warns(ResourceWarning, match=uri):
        gc.collect()
    _settle()
    assert _nothing(s3, bucket)


_LEFT = """
import sys
from s3crypt import *
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
file = store.open(f"s3://{sys.argv[1]}/x", "wb")
file.write(bytes(20_000_000))
if sys.argv[2] == "raise":
    raise SystemExit(5)
sys.exit(5)
"""


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_process_that_ends_stores_nothing(how: str, bucket: str, s3: Any) -> None:
    """With parts sent and the file open: neither an object nor an upload is left."""
    done = _script(_LEFT, bucket, how)
    assert done.returncode == 5, done.stderr.decode()
    assert _nothing(s3, bucket)


def _script(text: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    root = str(Path(s3crypt.__file__).resolve().parents[1])
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("size", LENGTHS)
def test_a_missing_bucket_is_told(store: S3Crypt, size: int, bucket: str) -> None:
    """By `write` or `close`, as ours."""
    uri = f"s3://{bucket}-not/x"
    with pytest.raises(StorageError) as caught, store.open(uri, "wb") as file:
        _write(file, payload(size))
    assert caught.value.code == "NoSuchBucket"
    assert file.closed


@pytest.mark.parametrize("name", ["sse-kms", "dsse-kms", *CLIENT_SIDE])
def test_a_disabled_key_is_told(
    name: str, uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """By `open`, `write` or `close`; nothing is stored."""
    kms.disable_key(KeyId=kms_key)
    store = _connect(make_mode(name, kms_key))
    for size in LENGTHS:
        with pytest.raises(KeyUnavailableError, match="disabled"), store.open(uri, "wb") as file:
            _write(file, payload(size))
    assert _nothing(s3, bucket)


def test_a_key_disabled_midway_is_told(
    uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """S3 refuses the next part; what was sent is discarded."""
    with _connect(SSEKMS(kms_key)).open(uri, "wb") as file:
        _write(file, payload(LONG))
        kms.disable_key(KeyId=kms_key)
        with pytest.raises(KeyUnavailableError, match="disabled"):
            file.writelines([payload(LONG)] * 5)
        with pytest.raises(KeyUnavailableError, match="disabled"):
            file.close()
    assert _nothing(s3, bucket)


def test_a_bucket_that_blocks_sse_c_is_told(blocked_bucket: str, s3: Any) -> None:
    """With the hint that a put has."""
    uri = f"s3://{blocked_bucket}/x"
    with (
        pytest.raises(StorageError) as caught,
        _connect(SSEC(bytes(range(32)))).open(uri, "wb") as file,
    ):
        file.write(b"x")
    assert "BlockedEncryptionTypes" in str(caught.value.hint)
    assert _nothing(s3, blocked_bucket)


@pytest.mark.parametrize("size", [10, LONG])
def test_a_failed_file_stays_failed(
    size: int, uri: str, bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """Whoever goes on after an error gets errors, and no object of what was left."""
    kms.disable_key(KeyId=kms_key)
    file = _connect(SSEKMS(kms_key)).open(uri, "wb")
    failures = 0
    for _ in range(3):
        try:
            file.write(payload(size))
        except S3CryptError:
            failures += 1
    kms.enable_key(KeyId=kms_key)
    if failures:
        with pytest.raises(KeyUnavailableError):
            file.write(b"x")
        with pytest.raises(KeyUnavailableError):
            file.close()
        assert _nothing(s3, bucket)
    else:
        file.close()  # nothing had been sent yet, and now the key can be used
        assert names(s3, bucket) == ["x"]
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")


# --- Only where there is none ------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", LENGTHS)
def test_x_stores_only_where_nothing_is(
    name: str, size: int, uri: str, bucket: str, key: str, s3: Any
) -> None:
    """What is there stays, the file is a conflict, and nothing of it is left."""
    store = _connect(make_mode(name, key))
    with store.open(uri, "xb") as file:
        file.write(OLD)
    again = store.open(uri, "xb")
    # Before parts are sent, the store asks for the object; `write` has the answer then.
    with pytest.raises(ConflictError, match=uri), again:
        _write(again, payload(size))
    assert again.closed
    assert store.read(uri) == OLD
    assert uploads(s3, bucket) == []


def test_of_two_who_race_one_wins(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """Whoever closes first."""
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
    """However many writes it takes."""
    with store.open(uri, "wb") as file:
        for start in range(0, size, 100_000):
            file.write(payload(size)[start : start + 100_000])
        assert requests_log.list() == []
    assert _kinds(requests_log) == ["PUT"]


def test_a_large_object_is_sent_while_it_is_written(
    store: S3Crypt, uri: str, requests_log: RequestsLog
) -> None:
    """Most parts have been sent before it is closed."""
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
    """Ten parts more are no memory more."""
    peaks = []
    for mib in (32, 96):
        done = _script(_PEAK, bucket, str(mib))
        assert done.returncode == 0, done.stderr.decode()
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 32


@pytest.mark.parametrize("name", CLIENT_SIDE)
def test_one_data_key_a_file(name: str, uri: str, key: str, requests_log: RequestsLog) -> None:
    """KMS is asked once."""
    with _connect(make_mode(name, key)).open(uri, "wb") as file:
        _write(file, payload(PART + 1))
    targets = [entry["headers"].get("x-amz-target") for entry in requests_log.list()]
    assert [target for target in targets if target] == ["TrentService.GenerateDataKey"]


# --- Several at once ---------------------------------------------------------------------------


def test_two_files_are_written_in_turns(store: S3Crypt, bucket: str) -> None:
    """Each gets its own bytes."""
    one, two = (store.open(f"s3://{bucket}/{name}", "wb") for name in ("one", "two"))
    with one, two:
        for start in range(0, PART + MIB, MIB):
            one.write(payload(PART + MIB)[start : start + MIB])
            two.write(payload(PART + MIB)[::-1][start : start + MIB])
    assert store.read(f"s3://{bucket}/one") == payload(PART + MIB)
    assert store.read(f"s3://{bucket}/two") == payload(PART + MIB)[::-1]


def test_two_files_of_one_name(store: S3Crypt, uri: str) -> None:
    """The one that is closed last stays, and none has a byte of the other."""
    one, two = store.open(uri, "wb"), store.open(uri, "wb")
    _write(one, payload(PART + 1))
    _write(two, payload(PART + 2))
    two.close()
    assert store.read(uri) == payload(PART + 2)
    one.close()
    assert store.read(uri) == payload(PART + 1)


def test_threads_write_files_of_their_own(store: S3Crypt, bucket: str) -> None:
    """With one store."""

    def write(number: int) -> None:
        with store.open(f"s3://{bucket}/{number}", "wb") as file:
            _write(file, payload(2 * MIB + number), seed=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        assert store.read(f"s3://{bucket}/{number}") == payload(2 * MIB + number)


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_an_object_is_copied_from_file_to_file(mode: Any, bucket: str) -> None:
    """Read by one open file, written by another, re-encrypted on the way."""
    source, target = _connect(mode), _connect(ClientSide(aes("two")))
    source.put(payload(LONG), f"s3://{bucket}/a")
    with source.open(f"s3://{bucket}/a") as file, target.open(f"s3://{bucket}/b", "wb") as copy:
        while chunk := file.read(3 * MIB):
            copy.write(chunk)
    assert target.read(f"s3://{bucket}/b") == payload(LONG)


# --- Dropped, collected, interrupted -----------------------------------------------------------

HANG = 20  # seconds: nothing here takes a tenth of it, but for a fault


def _in_text(file: Any, size: int) -> list[Any]:
    text = io.TextIOWrapper(file, encoding="ascii", write_through=True)
    text.write("x" * size)
    return [text]


def _in_buffer(file: Any, size: int) -> list[Any]:
    buffer = io.BufferedWriter(file)
    buffer.write(bytes(size))
    return [buffer]


def _in_both(file: Any, size: int) -> list[Any]:
    text = io.TextIOWrapper(io.BufferedWriter(file), encoding="ascii")
    text.write("x" * size)
    return [text]


def _in_gzip(file: Any, size: int) -> list[Any]:
    packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=0)
    packed.write(bytes(size))
    return [packed]


def _drop(held: list[Any]) -> None:
    held.clear()
    gc.collect()


# Python 3.13 prints what is raised in a finalizer of a file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("wrap", [_in_text, _in_buffer, _in_both, _in_gzip])
def test_a_wrapper_dropped_stores_nothing(
    wrap: Any, store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """Python's own close what they wrap when they are collected; that completes nothing."""
    held = wrap(store.open(uri, "wb"), size)
    with pytest.warns(ResourceWarning, match=uri):
        _drop(held)
    _settle()
    assert _nothing(s3, bucket)


def _report(store: S3Crypt, uri: str, size: int) -> None:
    try:
        int("no number")
    except ValueError:
        with io.TextIOWrapper(store.open(uri, "wb"), encoding="ascii", write_through=True) as text:
            text.write("x" * size)
            raise


@pytest.mark.parametrize("size", LENGTHS)
def test_an_error_raised_again_through_a_wrapper_stores_nothing(
    store: S3Crypt, size: int, uri: str, bucket: str, s3: Any
) -> None:
    """Though it was there already when the file was opened."""
    with pytest.raises(StorageError, match=uri) as caught:
        _report(store, uri, size)
    assert isinstance(caught.value.__cause__, ValueError)
    assert _nothing(s3, bucket)


def test_a_file_closed_at_an_iterators_end(store: S3Crypt, uri: str, bucket: str, s3: Any) -> None:
    """Nothing is stored, and who called it is told so: a StopIteration would end his own loop."""
    file, items = store.open(uri, "wb"), iter([b"one", b"two"])

    def copy() -> None:
        while True:
            try:
                item = next(items)
            except StopIteration:
                file.close()
                return
            file.write(item)

    with pytest.raises(StorageError, match=uri) as caught:
        copy()
    assert "with" in str(caught.value.hint)
    assert file.closed
    assert _nothing(s3, bucket)


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Have garbage collected where a test says, and warn nobody."""
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("how", ["collected", "by itself"])
@pytest.mark.parametrize("event", ["UploadPart", "AbortMultipartUpload"])
def test_a_file_collected_by_a_thread_that_stores_it(
    event: str, how: str, session: Any, uri: str, bucket: str, s3: Any
) -> None:
    """It is in a cycle, and the collector runs in any thread: the upload is aborted."""
    armed, calls = threading.Event(), []
    client = session.client("s3")

    def collect(**_: object) -> None:
        calls.append(event)
        if armed.wait(HANG) and how == "collected":
            gc.collect()
        elif armed.is_set():
            gc.enable()

    client.meta.events.register(f"before-send.s3.{event}", collect)
    store = S3Crypt(ClientSide(aes()), client=client)
    cycle: list[Any] = [store.open(uri, "wb")]
    cycle[0].write(bytes(LONG))
    cycle.append(cycle)
    if event == "AbortMultipartUpload":
        # Another's end is what this one's is waited for by.
        other = store.open(f"{uri}-other", "wb")
        other.write(bytes(LONG))
        cycle.append(other)
    del cycle
    armed.set()
    if event == "AbortMultipartUpload":
        other.abort()
        del other
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("s3crypt-"):
            thread.join(HANG)
            assert not thread.is_alive()
    assert calls
    assert _nothing(s3, bucket)


_COLLECTED = """
import gc, os, sys, threading, warnings
from s3crypt import *
from s3crypt.objects import writer
warnings.simplefilter("ignore")
gc.disable()
uri = f"s3://{sys.argv[1]}/x"
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
store.client  # made here, since the thread is given a second
state = {}

def enter(frame, event, _):
    return line if frame.f_code.co_filename == writer.__file__ else None

def line(frame, event, _):
    state["count"] += event == "line"
    if event == "line" and state["count"] == state["at"]:
        state["where"] = f"{frame.f_code.co_name}, line {frame.f_lineno}"
        state["dropped"].wait(10)
        gc.collect()
    return line

threading.settrace(enter)
at, hung = 0, []
while True:
    at += 1
    state.update(at=at, count=0, where="", dropped=threading.Event())
    cycle = [store.open(uri, "wb")]
    cycle.append(cycle)
    del cycle
    state["dropped"].set()
    thread = next(t for t in threading.enumerate() if t.name in ("s3crypt-write", "hung"))
    thread.join(1 if state["where"] or at > 1 else 0.2)
    if thread.is_alive() and not state["where"]:
        break  # it waits for bytes: there are no more lines before that
    if thread.is_alive():
        hung.append(state["where"])
        break
print(at, hung, flush=True)
os._exit(1 if hung or at < 5 else 0)
"""


def test_a_file_collected_at_any_line_of_its_own_thread(bucket: str, s3: Any) -> None:
    """The collector may run while a lock of the file's is held, by who holds it."""
    done = _script(_COLLECTED, bucket)
    assert done.returncode == 0, (done.stdout, done.stderr.decode())
    assert _nothing(s3, bucket)


_ENDS = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)
from s3crypt import *
endpoint, bucket, how, size = sys.argv[1:]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))), endpoint_url=endpoint)

def run():
    file = store.open(f"s3://{bucket}/x", "wb")
    file.write(bytes(int(size)))
    if how == "drop":
        return
    print("ready", flush=True)
    try:
        getattr(file, how)()
    except KeyboardInterrupt:
        print("interrupted", flush=True)

run()
"""


@pytest.mark.parametrize(
    ("how", "size"), [("drop", 3 * PART), ("close", 3 * PART), ("abort", 3 * PART), ("close", 9)]
)
def test_a_process_that_ends_leaves_no_upload(
    how: str, size: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """Right after a file was dropped, or after an interrupt while it is closed or aborted."""
    seen = threading.Event()

    def slow(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method in ("PUT", "DELETE"):
            seen.set()
            time.sleep(0.4)
        return forward()

    root = str(Path(s3crypt.__file__).resolve().parents[1])
    with (
        relaying(sandbox.endpoint_url, slow) as relay,
        subprocess.Popen(
            [sys.executable, "-c", _ENDS, relay.url, bucket, how, str(size)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout
        if how != "drop":
            assert process.stdout.readline() == b"ready\n"
            assert seen.wait(HANG)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        try:
            told, errors = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert process.returncode == 0, errors.decode()
    assert uploads(s3, bucket) == []
    if how != "close" or (size > PART and b"interrupted" in told):
        assert names(s3, bucket) == []


_FORKED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
from s3crypt import *
uri, how = f"s3://{sys.argv[1]}/x", sys.argv[2]
store = S3Crypt(ClientSide(AESKeyring("tests", "one", bytes(32))))
file = store.open(uri, "wb")
file.write(bytes(20_000_000))
child = os.fork()
if not child:
    signal.alarm(15)  # ends it by a signal
    deeds = {"write": lambda: file.write(b"x" * 2**24), "close": file.close, "drop": None,
             "abort": file.abort, "exit": None}
    if how in ("write", "close"):
        try:
            deeds[how]()
        except StorageError as error:
            assert "fork" in str(error)
        else:
            os._exit(9)
    elif how == "abort":
        file.abort()
    if how != "exit":
        del deeds, file
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 7, code
file.write(b"the end")
file.close()
assert store.read(uri) == bytes(20_000_000) + b"the end"
"""


@pytest.mark.parametrize("how", ["write", "close", "abort", "drop", "exit"])
def test_a_file_is_not_written_over_a_fork(how: str, bucket: str, s3: Any) -> None:
    """The child is told and does not hang, and whatever it does, the parent writes on."""
    done = _script(_FORKED, bucket, how)
    assert done.returncode == 0, done.stderr.decode()
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_file_is_not_copied(how: Callable[[Any], object], store: S3Crypt, uri: str) -> None:
    """A copy that is dropped would abort the upload of the first one."""
    with store.open(uri, "wb") as file:
        file.write(b"kept")
        with pytest.raises(TypeError, match="not copied"):
            how(file)
    assert store.read(uri) == b"kept"


class _Interrupt:
    """Raises KeyboardInterrupt at the n-th line that this thread runs of the writer."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.where = ""

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        return self._line if frame.f_code.co_filename == writer.__file__ else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # A `with` is run again when it ends, where Python handles no signal, but traces. What is
        # raised in a finalizer, Python prints and goes on.
        is_finalizer = frame.f_code.co_name == "__del__"
        if event == "line" and not line.startswith("with ") and not is_finalizer:
            self.at -= 1
            if not self.at:
                self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return self._line


@pytest.mark.timeout(60)
def test_an_interrupted_write_is_not_completed(store: S3Crypt, uri: str, bucket: str) -> None:
    """Who writes again from where the file says it is stores these bytes, or none."""
    data, tried = payload(300_000), 0
    while True:
        tried += 1
        file = store.open(uri, "xb")
        file.write(data[:100])
        try:
            with _Interrupt(tried) as interrupt:
                file.write(data[100:])
        except KeyboardInterrupt:
            assert interrupt.where
        else:
            if not interrupt.where:
                break
        with suppress(StorageError):
            file.write(data[file.tell() :])
            file.close()
        file.abort()
        if names(s3 := store.client, bucket):
            assert store.read(uri) == data, interrupt.where
            store.delete(uri)
        assert uploads(s3, bucket) == []
    file.abort()
    assert tried > 10


# Python 3.13 prints what is raised in a finalizer of a file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(60)
def test_a_block_interrupted_anywhere_stores_nothing_in_part(
    store: S3Crypt, uri: str, bucket: str, s3: Any
) -> None:
    """Neither a piece of it, nor an upload, nor a thread that waits."""
    data, tried = payload(70_000), -2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while True:
            tried += 3
            with suppress(KeyboardInterrupt), _Interrupt(tried) as interrupt:
                with store.open(uri, "wb") as file:
                    file.write(data)
                    file.write(data)
                del file
            if not interrupt.where:
                break
            file = None  # type: ignore[assignment]  # dropped, where it was opened
            gc.collect()
            for thread in threading.enumerate():
                if thread.name == "s3crypt-write":
                    thread.join(HANG)
                    assert not thread.is_alive(), interrupt.where
            if names(s3, bucket):
                assert store.read(uri) == data * 2, interrupt.where
                store.delete(uri)
    assert tried > 40
    assert uploads(s3, bucket) == []
