# SPDX-License-Identifier: Apache-2.0
"""Each range of an object equals the same range of the plaintext, for all writers and layouts."""

from __future__ import annotations

import io
import random
import sys
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from samples import MODES, aes, connect, files, make_mode, payload

from s3crypt import (
    SSES3,
    AESKeyring,
    ClientSide,
    ConfigError,
    IntegrityError,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
    StorageError,
)
from s3crypt.message import encrypt

# The folder `message` contains the helpers for the official SDK and for other writers.
sys.path.append(str(Path(__file__).parent / "message"))

import official
from readers import FixedKeyring
from writers import ForeignWriter, split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conftest import RequestsLog

    from s3crypt import Keyring, Mode

FRAME = 4096  # the official SDK's own default
SHARED = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)
# The object is longer than the bytes that the first request and the last request fetch together.
MANY = 160 * FRAME + 17
NO_RANGE = "InvalidRange"


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    """Return a KMS key for all tests: creating a key takes longer than most of these tests."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@cache
def _client() -> Any:
    """Return one client for all stores: creating a client takes longer than most of these tests."""
    return connect().client


def _connect(mode: Mode | None = None) -> S3Crypt:
    return S3Crypt(mode, client=_client())


# --- Objects of every writer and layout --------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A stored object, with the options that reading it needs."""

    size: int
    make: Callable[[bytes], bytes] = field(repr=False)
    keyring: Keyring = field(default=SHARED, repr=False)
    allowed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> ClientSide:
        """Return the mode that reads the object."""
        return ClientSide(self.keyring, bind_name=False)

    def store(self, s3: Any, bucket: str) -> str:
        """Store the body as an object without any s3crypt metadata."""
        s3.put_object(Bucket=bucket, Key="x", Body=_body(self))
        return f"s3://{bucket}/x"


_BODIES: dict[int, bytes] = {}


def _body(sample: Sample) -> bytes:
    return _BODIES.setdefault(id(sample), sample.make(payload(sample.size)))


def _ours(size: int, **options: Any) -> Sample:
    return Sample(size, lambda data: encrypt(data, SHARED, **options))


def _theirs(size: int, suite_id: int = 0x0478, **options: Any) -> Sample:
    allowed = {
        "allow_uncommitted": suite_id not in (0x0478, 0x0578),
        "allow_unverified_signature": suite_id in (0x0578, 0x0378) and options.get("frame_length"),
    }
    return Sample(
        size,
        lambda data: official.encrypt(data, official.native_aes(), suite_id=suite_id, **options),
        allowed={name: True for name, is_needed in allowed.items() if is_needed},
    )


def _foreign(size: int, frame_length: int, *, empty_final: bool, suite_id: int = 0x0478) -> Sample:
    writer = ForeignWriter(suite_id, frame_length, iv_prefix=b"\x01" * 8)
    return Sample(
        size,
        lambda data: writer.write(split(data, frame_length, empty_final=empty_final)),
        FixedKeyring(writer.data_key),
        {"allow_uncommitted": True} if suite_id != 0x0478 else {},
    )


EDGES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 15 * FRAME, 16 * FRAME + 1, MANY)
SAMPLES: dict[str, Sample] = {
    **{f"ours-{size}": _ours(size, frame_length=FRAME) for size in EDGES},
    **{f"ours-default-{size}": _ours(size) for size in (0, 9, 2**18, 2**20, 2**20 + 1, 1_500_000)},
    "ours-signed": Sample(
        MANY,
        lambda data: encrypt(data, SHARED, signed=True, frame_length=FRAME),
        allowed={"allow_unverified_signature": True},
    ),
    **{f"sdk-{size}": _theirs(size, frame_length=FRAME) for size in EDGES},
    "sdk-128": _theirs(20_000, frame_length=128),
    "sdk-64KiB": _theirs(800_000, frame_length=2**16),
    "sdk-one-long-frame": _theirs(300_000, frame_length=2**20),
    "sdk-signed": _theirs(MANY, 0x0578, frame_length=FRAME),
    "sdk-signed-exact": _theirs(160 * FRAME, 0x0578, frame_length=FRAME),
    "sdk-signed-0": _theirs(0, 0x0578, frame_length=FRAME),
    "sdk-v1": _theirs(MANY, 0x0178, frame_length=FRAME),
    "sdk-v1-signed": _theirs(MANY, 0x0378, frame_length=FRAME),
    "sdk-block": _theirs(200_000, frame_length=0),
    "sdk-block-0": _theirs(0, frame_length=0),
    "sdk-block-v1": _theirs(200_000, 0x0178, frame_length=0),
    "foreign-1": _foreign(60, 1, empty_final=False),
    "foreign-7-empty": _foreign(7 * 40, 7, empty_final=True),
    "foreign-4KiB-full": _foreign(160 * FRAME, FRAME, empty_final=False),
    "foreign-4KiB-empty": _foreign(160 * FRAME, FRAME, empty_final=True),
    "foreign-v1-block": Sample(
        50_000,
        lambda data: ForeignWriter(0x0078, 0).write([data]),
        FixedKeyring(ForeignWriter(0x0078).data_key),
        {"allow_uncommitted": True},
    ),
}
EVERY_SAMPLE = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


# --- A thousand pairs of offset and length -----------------------------------------------------


def _pairs(size: int, count: int, seed: object) -> list[tuple[int, int]]:
    """Return random offsets and lengths: short, long, across frames, at the end and beyond it."""
    chance = random.Random(str(seed))
    near = (0, 1, FRAME - 1, FRAME, FRAME + 1, size - 1, size, size + 1)
    found = []
    for _ in range(count):
        offset = chance.choice((chance.randint(0, size), max(0, chance.choice(near))))
        length = chance.choice((0, 1, 9, chance.randint(0, 3 * FRAME), chance.randint(0, size + 9)))
        found.append((offset, length))
    return found


def _check_reads(file: Any, plaintext: bytes, pairs: list[tuple[int, int]]) -> None:
    for number, (offset, length) in enumerate(pairs):
        expected = plaintext[offset : offset + length]
        assert file.seek(offset) == offset
        if number % 2:
            found = file.read(length)
        else:
            buffer = bytearray(length)
            found = buffer[: file.readinto(buffer)]
        assert found == expected, (offset, length)
        assert file.tell() == offset + len(expected)


def _check_ranges(file: Any, plaintext: bytes, pairs: list[tuple[int, int]]) -> None:
    for start in range(0, len(pairs), 25):
        ranges = [(offset, offset + length) for offset, length in pairs[start : start + 25]]
        found = file.read_ranges(ranges)
        assert found == [plaintext[first:last] for first, last in ranges]


def _check_byte_ranges(
    store: S3Crypt, uri: str, plaintext: bytes, pairs: list[tuple[int, int]], **allowed: Any
) -> None:
    for offset, length in pairs:
        expected = plaintext[offset : offset + length]
        if expected:
            byte_range = f"{offset}-{offset + length - 1}"
            assert store.read(uri, byte_range=byte_range, **allowed) == expected, byte_range


def _check_all(store: S3Crypt, uri: str, plaintext: bytes, **allowed: Any) -> None:
    """Check 1,000 random ranges of an object, or 200 if it is not longer than a frame."""
    count = 500 if len(plaintext) > FRAME else 100
    with store.open(uri, **allowed) as file:
        assert file.size == len(plaintext)
        _check_reads(file, plaintext, _pairs(len(plaintext), count, "reads"))
    with store.open(uri, **allowed) as file:
        _check_ranges(file, plaintext, _pairs(len(plaintext), count, "ranges"))


@EVERY_SAMPLE
def test_a_thousand_reads_of_every_layout(sample: Sample, bucket: str, s3: Any) -> None:
    """Random ranges match the plaintext, read by seek and read, by readinto and by read_ranges."""
    uri = sample.store(s3, bucket)
    _check_all(_connect(sample.mode), uri, payload(sample.size), **sample.allowed)


@EVERY_SAMPLE
def test_byte_ranges_of_every_layout(sample: Sample, bucket: str, s3: Any) -> None:
    """Random `byte_range` values match the plaintext.

    Each one opens the object, so few are tried.
    """
    store, uri = _connect(sample.mode), sample.store(s3, bucket)
    pairs = _pairs(sample.size, 5, "bytes")
    _check_byte_ranges(store, uri, payload(sample.size), pairs, **sample.allowed)


def test_ranges_of_a_signed_object_are_refused_unless_allowed(bucket: str, s3: Any) -> None:
    """A range of a signed object is refused.

    Only reading the whole object verifies the signature.
    """
    sample = SAMPLES["sdk-signed"]
    store, uri = _connect(sample.mode), sample.store(s3, bucket)
    with pytest.raises(PolicyError, match="signature covers") as caught:
        store.read(uri, byte_range="0-0")
    assert "allow_unverified_signature" in str(caught.value.hint)
    assert store.read(uri) == payload(sample.size)


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [0, 70_000, 1_500_000])
def test_a_thousand_reads_of_every_mode(name: str, size: int, bucket: str, key: str) -> None:
    """Random ranges match the plaintext in every mode, whether S3 or this process decrypts."""
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    _check_all(store, uri, payload(size))
    _check_byte_ranges(store, uri, payload(size), _pairs(size, 5, f"{name} bytes"))


@pytest.mark.parametrize(
    "mode", [SSES3(), ClientSide(aes(), frame_length=FRAME)], ids=["sse-s3", "client"]
)
@pytest.mark.parametrize("cache_length", [0, 1, 3 * FRAME])
def test_reads_with_little_cache(mode: Mode, cache_length: int, bucket: str) -> None:
    """Reads match the plaintext with a small cache too: evicted bytes are fetched again."""
    store, uri = _connect(mode), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    with store.open(uri, cache_length=cache_length) as file:
        _check_reads(file, payload(MANY), _pairs(MANY, 20, cache_length))
        _check_ranges(file, payload(MANY), _pairs(MANY, 25, cache_length))


ENDS = (0, 5, 99, 100, 101, -1, -99, -100, -101, -500)
SLICES: list[tuple[int | None, int | None]] = [
    *product(ENDS, ENDS),
    *((start, None) for start in (*ENDS, None)),
]


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_read_ranges_takes_what_a_slice_takes(mode: Mode, bucket: str) -> None:
    """`read_ranges` treats starts and ends as a Python slice does: negative, None or too large."""
    store, uri, plaintext = _connect(mode), f"s3://{bucket}/x", payload(100)
    store.put(plaintext, uri)
    with store.open(uri) as file:
        assert file.read_ranges(SLICES) == [plaintext[start:end] for start, end in SLICES]
        assert file.read_ranges([]) == []
        assert file.tell() == 0


def test_read_ranges_leaves_the_position(bucket: str) -> None:
    """`read_ranges` does not move the file's position."""
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    with store.open(uri) as file:
        file.seek(500)
        file.read_ranges([(MANY - 5, None), (0, 9)])
        assert file.tell() == 500
        assert file.read(9) == payload(MANY)[500:509]


# --- Ranges as S3's ----------------------------------------------------------------------------

# Byte ranges to request of an object of 1,000 bytes. S3's own replies are the expected results.
RANGES = (
    "0-0", "0-99", "1-1", "100-199", "999-999", "999-1000", "0-999", "0-1000", "0-999999999999",
    "1000-1000", "1000-2000", "5000-6000", "0-", "1-", "999-", "1000-", "5000-",
    "-1", "-10", "-999", "-1000", "-1001", "-999999999999", "-0",
)  # fmt: skip


def _s3s_answer(s3: Any, bucket: str, name: str, byte_range: str) -> bytes | str:
    """Return S3's reply to a range request for a plain object: the bytes, or the error code."""
    try:
        reply = s3.get_object(Bucket=bucket, Key=name, Range=f"bytes={byte_range}")
        return bytes(reply["Body"].read())
    except ClientError as error:
        return str(error.response["Error"]["Code"])


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [1000, 0])
def test_ranges_are_as_s3s(name: str, size: int, bucket: str, key: str, s3: Any) -> None:
    """Each range gives the bytes or the error that S3 gives for the same unencrypted object."""
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    s3.put_object(Bucket=bucket, Key="plain", Body=payload(size))
    for byte_range in RANGES if size else RANGES[:1] + RANGES[-8:]:
        expected = _s3s_answer(s3, bucket, "plain", byte_range)
        if expected == b"":
            # For the suffix of an empty object, the sandbox returns an empty body, but AWS an
            # error.
            expected = NO_RANGE
        if isinstance(expected, bytes):
            assert store.read(uri, byte_range=byte_range) == expected, byte_range
            continue
        assert expected == NO_RANGE, byte_range
        with pytest.raises(StorageError, match=uri) as caught:
            store.read(uri, byte_range=byte_range)
        assert caught.value.code == NO_RANGE, byte_range


@pytest.mark.parametrize("byte_range", ["1000-", "-0", "1000-2000"])
@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])
def test_a_range_outside_is_refused_the_same_way_twice(
    mode: Mode, byte_range: str, bucket: str, tmp_path: Path
) -> None:
    """A range outside the object is refused.

    The old target file stays, and no temporary file is left.
    """
    store, uri = _connect(mode), f"s3://{bucket}/x"
    store.put(payload(1000), uri)
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(StorageError) as caught:
        store.get(uri, target, byte_range=byte_range)
    assert caught.value.code == NO_RANGE
    assert target.read_bytes() == b"old"
    assert files(tmp_path) == ["out"]


NONSENSE = (
    "", "-", "5", "a-b", "5-4", "1-0", "0-1,3-4", "bytes=0-1", " 0-1", "0-1 ", "0 - 1", "--1",
    "-1-", "1--2", "+1-2", "0x1-2", "1.0-2", "1_0-20", "٣-٤", "0-1\n", "0-\n", "²-3",
    f"{'9' * 5000}-",
)  # fmt: skip


@pytest.mark.parametrize("byte_range", NONSENSE, ids=lambda text: ascii(text[:9]))
def test_nonsense_is_refused_before_any_request(
    byte_range: str, bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """An invalid range is refused before any request.

    S3 might ignore it and send the whole object.
    """
    store, uri = _connect(ClientSide(aes())), f"s3://{bucket}/x"
    with pytest.raises(ConfigError, match="range"):
        store.read(uri, byte_range=byte_range)
    with pytest.raises(ConfigError, match="range"):
        store.get(uri, tmp_path / "out", byte_range=byte_range)
    assert requests_log.list() == []
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", MODES)
def test_a_range_goes_to_a_path_and_to_a_file(
    name: str, bucket: str, key: str, tmp_path: Path
) -> None:
    """`get` with a range writes only the range; the info that it returns is of the whole object."""
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    target = io.BytesIO()
    done: list[int] = []
    expected = payload(MANY)[1000:200_000]
    info = store.get(uri, tmp_path / "out", byte_range="1000-199999", progress=done.append)
    assert (tmp_path / "out").read_bytes() == expected
    assert sum(done) == len(expected)
    assert info.size == MANY
    store.get(uri, target, byte_range="1000-199999")
    assert target.getvalue() == expected


def test_a_range_of_a_version(versioned_bucket: str) -> None:
    """A range is read from the named version, not from the newest version."""
    store, uri = _connect(ClientSide(aes())), f"s3://{versioned_bucket}/x"
    old = store.put(b"0123456789", uri)
    store.put(b"abcdefghij", uri)
    assert store.read(uri, byte_range="2-4", version_id=old.version_id) == b"234"
    assert store.read(uri, byte_range="-3") == b"hij"


def test_a_range_of_a_large_object_is_not_all_of_it(bucket: str, requests_log: RequestsLog) -> None:
    """Ten bytes of a large object cost at most about 200 kB of replies, wherever they are."""
    for mode in (SSES3(), ClientSide(aes(), frame_length=FRAME)):
        store, uri = _connect(mode), f"s3://{bucket}/x"
        store.put(payload(5_000_000), uri)
        for byte_range in ("3000000-3000009", "-10", "4999990-"):
            requests_log.clear()
            assert len(store.read(uri, byte_range=byte_range)) == 10
            fetched = sum(entry["response_bytes"] for entry in requests_log.list())
            assert fetched <= 3 * 2**16 + 2 * FRAME


def test_a_range_of_a_changed_object(bucket: str, s3: Any) -> None:
    """If an object lacks its last frame, every range of it is refused."""
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    reply = s3.get_object(Bucket=bucket, Key="x")
    body, metadata = reply["Body"].read(), reply["Metadata"]
    cut = len(body) - (FRAME + 32)
    s3.put_object(Bucket=bucket, Key="x", Body=body[:cut], Metadata=metadata)
    for byte_range in ("0-9", "-9", "5000-"):
        with pytest.raises(IntegrityError, match=uri):
            store.read(uri, byte_range=byte_range)


# --- Sizes by one HEAD -------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [0, 2**18, 2**18 + 1])
def test_head_tells_the_plaintexts_size(
    name: str, size: int, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """`head` returns the exact size with one request and without the key."""
    store, uri = _connect(make_mode(name, key)), f"s3://{bucket}/x"
    store.put(payload(size), uri, metadata={"a": "b"}, content_type="text/csv")
    requests_log.clear()
    info = store.head(uri)
    assert [entry["method"] for entry in requests_log.list()] == ["HEAD"]
    known = store.inspect(uri)
    assert info.size == size
    assert info.mode == ("client" if name.startswith("client") else name)
    assert info.metadata == {"a": "b"}
    assert info.content_type == "text/csv"
    for field_ in ("uri", "etag", "stored_size", "last_modified", "kms_key", "frame_length"):
        assert getattr(info, field_) == getattr(known, field_), field_


@pytest.mark.parametrize("size", [0, 1, FRAME, 100 * FRAME])
def test_head_tells_a_signed_objects_size(size: int, bucket: str) -> None:
    """For a signed object, `head` returns the exact size, without the signature at the end."""
    store, uri = _connect(ClientSide(aes(), signed=True, frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(size), uri)
    assert store.head(uri).size == size


def test_head_of_a_stream_and_of_a_written_object(bucket: str) -> None:
    """`head` returns the exact size also if the size was unknown when the header was written."""
    store = _connect(ClientSide(aes(), signed=True, frame_length=FRAME))
    store.put(io.BufferedReader(io.BytesIO(payload(9_000_000))), f"s3://{bucket}/stream")
    with store.open(f"s3://{bucket}/written", "wb") as file:
        file.write(payload(9_000_000))
    for name in ("stream", "written"):
        assert store.head(f"s3://{bucket}/{name}").size == 9_000_000


def test_head_of_a_version_and_of_none(versioned_bucket: str) -> None:
    """`head` describes the given version, and raises ObjectNotFoundError if there is no object."""
    store, uri = _connect(ClientSide(aes())), f"s3://{versioned_bucket}/x"
    old = store.put(b"four", uri)
    store.put(b"longer", uri)
    assert store.head(uri, version_id=old.version_id).size == 4
    assert store.head(uri).size == 6
    with pytest.raises(ObjectNotFoundError):
        store.head(f"{uri}-not")


def test_head_never_guesses(bucket: str, s3: Any) -> None:
    """For a message without our metadata, `head` returns no size rather than the encrypted size."""
    sample = SAMPLES[f"sdk-{MANY}"]
    uri = sample.store(s3, bucket)
    info = _connect(sample.mode).head(uri)
    assert info.size in (None, MANY)


@pytest.mark.parametrize(
    "hint", ["s3crypt-header-length", "s3crypt-frame-length", "s3crypt-footer-length"]
)
def test_a_changed_hint_is_refused(hint: str, bucket: str, s3: Any) -> None:
    """A length in the metadata that contradicts the header is refused by every read."""
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    reply = s3.get_object(Bucket=bucket, Key="x")
    body, metadata = reply["Body"].read(), reply["Metadata"]
    assert hint in metadata
    reads: tuple[Callable[[], object], ...] = (
        lambda: store.open(uri),
        lambda: store.open(uri, allow_unverified_length=True),
        lambda: store.read(uri),
        lambda: store.read(uri, byte_range="0-9"),
        lambda: store.get(uri, io.BytesIO()),
    )
    for value in {"0", "1", "4096", "8192", "999999999999", "-1", "x"} - {metadata[hint]}:
        s3.put_object(Bucket=bucket, Key="x", Body=body, Metadata={**metadata, hint: value})
        for read in reads:
            with pytest.raises(IntegrityError, match=uri):
                read()


@pytest.mark.parametrize("signed", [False, True])
def test_a_footer_hint_of_another_suite_is_refused(bucket: str, s3: Any, *, signed: bool) -> None:
    """A footer length in the metadata that contradicts the suite is refused by reads and `open`."""
    store, uri = _connect(ClientSide(aes(), signed=signed)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    reply = s3.get_object(Bucket=bucket, Key="x")
    metadata = {**reply["Metadata"], "s3crypt-footer-length": "0" if signed else "105"}
    assert metadata != reply["Metadata"]
    s3.put_object(Bucket=bucket, Key="x", Body=reply["Body"].read(), Metadata=metadata)
    with pytest.raises(IntegrityError, match=uri):
        store.read(uri)
    with pytest.raises(IntegrityError, match=uri):
        store.open(uri, allow_unverified_signature=True)


def test_an_object_without_hints_is_read(bucket: str, s3: Any) -> None:
    """A message whose metadata is lost is read correctly; only `head` cannot know its size."""
    store, uri = _connect(ClientSide(aes(), frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    body = s3.get_object(Bucket=bucket, Key="x")["Body"].read()
    s3.put_object(Bucket=bucket, Key="x", Body=body)
    with store.open(uri) as file:
        assert file.size == MANY
        assert file.read_ranges([(-9, None)]) == [payload(MANY)[-9:]]
    assert store.read(uri, byte_range="-9") == payload(MANY)[-9:]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"s3crypt-footer-length": "0"},
        {"s3crypt-footer-length": "1"},
        {"s3crypt-footer-length": "105"},
        {"s3crypt-footer-length": "99999999999"},
        {"s3crypt-header-length": "1"},
        {"s3crypt-frame-length": "1"},
        {"s3crypt-frame-length": "99999999999"},
        {"s3crypt-frame-length": "0x1000"},
    ],
    ids=str,
)
def test_inspect_refuses_metadata_that_is_not_the_headers(
    change: dict[str, str], bucket: str, s3: Any, *, signed: bool
) -> None:
    """`inspect` refuses metadata that contradicts the header, so it never reports forged values."""
    store, uri = _connect(ClientSide(aes(), signed=signed, frame_length=FRAME)), f"s3://{bucket}/x"
    store.put(payload(MANY), uri)
    reply = s3.get_object(Bucket=bucket, Key="x")
    metadata = {**reply["Metadata"], **change}
    if metadata == reply["Metadata"]:
        assert store.inspect(uri).size == MANY
        return
    s3.put_object(Bucket=bucket, Key="x", Body=reply["Body"].read(), Metadata=metadata)
    with pytest.raises(IntegrityError, match=uri):
        store.inspect(uri)
