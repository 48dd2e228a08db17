# SPDX-License-Identifier: Apache-2.0
"""Whole objects that S3 decrypts are compared with S3's checksum."""

from __future__ import annotations

import hashlib
import io
import zlib
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from awscrt.checksums import crc64nvme
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from samples import (
    CUSTOMER_KEY,
    PART,
    SERVER_SIDE,
    aes,
    connect,
    files,
    make_mode,
    names,
    payload,
)

from s3crypt import SSEC, SSES3, ClientSide, IntegrityError, S3Crypt, S3CryptError
from s3crypt.location import Location
from s3crypt.objects.opened import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import RequestsLog

SIZE = 2 * PART + 12_345
# Places in the first reply, at the edges and in the middle of sections, and at the end.
POSITIONS = (0, 5000, PART - 1, PART, PART + PART // 2, 2 * PART, SIZE - 1)
SMALL = 1000
# More bytes than the first read of an open file fetches.
LONGER = 2**20 + 7


def _flipping(position: int) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay function that flips a bit of this byte of the object in GET replies."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET" and asked.path.endswith("/x") and answer.status in (200, 206):
            begin = 0
            if "content-range" in answer.headers:
                begin = int(answer.headers["content-range"].removeprefix("bytes ").split("-")[0])
            if begin <= position < begin + len(answer.body):
                body = bytearray(answer.body)
                body[position - begin] ^= 1
                answer.body = bytes(body)
        return answer

    return spoil


@pytest.mark.parametrize("mode", [*SERVER_SIDE, None])
def test_a_changed_bit_is_refused_wherever_it_is(
    mode: str | None, bucket: str, kms_key: str, sandbox: Any, tmp_path: Path
) -> None:
    """If a bit changes anywhere on the way, a get fails in every mode, and leaves no file."""
    chosen = make_mode(mode, kms_key) if mode else None
    uri = f"s3://{bucket}/x"
    for size, positions in ((SIZE, POSITIONS), (SMALL, (0, SMALL - 1))):
        connect(chosen or SSES3()).put(payload(size), uri)
        for position in positions:
            with relaying(sandbox.endpoint_url, _flipping(position)) as relay:
                store = connect(chosen, endpoint_url=relay.url)
                with pytest.raises(IntegrityError, match=f"{uri}: the received bytes do not match"):
                    store.get(uri, tmp_path / "out")
                with pytest.raises(IntegrityError):
                    store.get(uri, io.BytesIO())
        assert files(tmp_path) == []
        target = tmp_path / "out"
        connect(chosen).get(uri, target)
        assert target.read_bytes() == payload(size)
        target.unlink()


def test_a_pipe_learns_it_at_the_end(
    bucket: str, sandbox: Any, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    """If a bit changes on the way, `cat` and `get -` write all bytes and exit with 3."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(SIZE), uri)
    with relaying(sandbox.endpoint_url, _flipping(PART + 7)) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
        for command in (["cat", uri], ["get", uri, "-"]):
            assert run(command) == 3
            out, err = capfdbinary.readouterr()
            assert len(out) == SIZE
            assert b"the received bytes do not match" in err


@pytest.mark.parametrize("size", [SMALL, SIZE])
def test_a_changed_source_is_not_stored_anew(size: int, bucket: str, sandbox: Any) -> None:
    """If a bit of the source changes on the way, a rotation or copy fails and stores nothing."""
    uri, old = f"s3://{bucket}/x", SSES3()
    connect(old).put(payload(size), uri)
    with relaying(sandbox.endpoint_url, _flipping(size - 5)) as relay:
        store = connect(old, endpoint_url=relay.url)
        with pytest.raises(IntegrityError):
            store.rotate(uri, to=ClientSide(aes()))
        source, target = Location.parse(uri), Location(bucket, "y")
        with pytest.raises(IntegrityError):
            store._objects.copy(source, ReadOptions(old), target, old, {})
    assert names(connect().client, bucket) == ["x"]
    assert not connect().client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert connect(old).read(uri) == payload(size)


def _heads(log: RequestsLog) -> list[dict[str, str]]:
    return [entry["headers"] for entry in log.list() if entry["method"] == "HEAD"]


def test_one_head_asks_for_the_checksum(bucket: str, sandbox: Any) -> None:
    """The checksum is fetched by one HEAD, with the object's ETag and customer key."""
    mode, uri = SSEC(CUSTOMER_KEY), f"s3://{bucket}/x"
    etag = connect(mode).put(payload(SIZE), uri).etag
    with relaying(sandbox.endpoint_url) as relay:
        connect(mode, endpoint_url=relay.url).read(uri)
    (head,) = (asked.headers for asked in relay.asked if asked.method == "HEAD")
    assert head["x-amz-checksum-mode"] == "ENABLED"
    assert head["if-match"] == f'"{etag}"'
    assert head["x-amz-server-side-encryption-customer-key-md5"] == mode.key_md5


def test_a_message_needs_no_checksum(bucket: str, requests_log: RequestsLog) -> None:
    """Reading a message sends no HEAD, because authentication tags already prove the bytes."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(payload(SIZE), uri)
    requests_log.clear()
    store.read(uri)
    assert _heads(requests_log) == []


def test_checksums_may_be_turned_off(
    bucket: str, requests_log: RequestsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With AWS_RESPONSE_CHECKSUM_VALIDATION=when_required, no HEAD is sent."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(SIZE), uri)
    requests_log.clear()
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    import boto3  # noqa: PLC0415 - a new session reads the changed environment

    from s3crypt import S3Crypt  # noqa: PLC0415

    assert S3Crypt(SSES3(), session=boto3.Session()).read(uri) == payload(SIZE)
    assert _heads(requests_log) == []


def _answering_heads(
    change: Callable[[Answer], Answer],
) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        return change(answer) if asked.method == "HEAD" else answer

    return spoil


def _without_checksums(answer: Answer) -> Answer:
    kept = {k: v for k, v in answer.headers.items() if not k.startswith("x-amz-checksum")}
    return Answer(answer.status, kept, answer.body)


def _with(name: str, value: str) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(
        answer.status, {**answer.headers, f"x-amz-checksum-{name}": value}, answer.body
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda _: Answer(403),
        lambda _: Answer(404),
        lambda _: Answer(412),
        lambda _: Answer(501),
        _without_checksums,
        _with("type", "COMPOSITE"),
        _with("crc64nvme", "no base64"),
        _with("crc64nvme", "AAAA"),
        _with("crc64nvme", "ä"),
    ],
)
@pytest.mark.parametrize("size", [SMALL, SIZE])
def test_without_s3s_word_an_object_is_read_as_before(
    change: Callable[[Answer], Answer], size: int, bucket: str, sandbox: Any, tmp_path: Path
) -> None:
    """If the HEAD is refused, or its checksum is missing or unusable, the object is still read."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(size), uri)
    with relaying(sandbox.endpoint_url, _answering_heads(change)) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        store.get(uri, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == payload(size)
        assert store.read(uri) == payload(size)


def test_a_broken_head_is_asked_again(bucket: str, sandbox: Any) -> None:
    """A HEAD reply that lost its headers is requested again, so the checksum is compared."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(SIZE), uri)
    flip, heads = _flipping(PART + 7), [0]

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = flip(asked, forward)
        if asked.method == "HEAD":
            heads[0] += 1
            if heads[0] == 1:
                return Answer(200, {"content-type": "text/plain"})
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.raises(IntegrityError):
        connect(SSES3(), endpoint_url=relay.url).read(uri)
    assert heads == [2]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_other_checksums_refuse_nothing(algorithm: str, bucket: str, s3: Any) -> None:
    """An object whose only checksum is of another algorithm is read without a comparison."""
    s3.put_object(Bucket=bucket, Key="x", Body=payload(SIZE), ChecksumAlgorithm=algorithm)
    assert connect(SSES3()).read(f"s3://{bucket}/x") == payload(SIZE)


@pytest.mark.parametrize("kind", ["FULL_OBJECT", None])
@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("crc64nvme", lambda body: crc64nvme(body).to_bytes(8)),
        ("crc32", lambda body: zlib.crc32(body).to_bytes(4)),
        ("sha256", lambda body: hashlib.sha256(body).digest()),
    ],
)
def test_a_whole_checksum_on_a_range_is_not_the_ranges(
    name: str, checksum: Callable[[bytes], bytes], kind: str | None, bucket: str, sandbox: Any
) -> None:
    """If a reply to a range has the whole object's checksum, it is not compared with the range."""
    uri, data = f"s3://{bucket}/x", payload(LONGER)
    connect(SSES3()).put(data, uri)
    repeated = {f"x-amz-checksum-{name}": b64encode(checksum(data)).decode()}
    repeated |= {"x-amz-checksum-type": kind} if kind else {}
    statuses = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = _without_checksums(forward())
        if asked.method == "GET":
            statuses.append(answer.status)
            answer.headers |= repeated
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        assert store.read(uri, byte_range="0-99") == data[:100]
        assert store.read(uri, byte_range="-7") == data[-7:]
        with store.open(uri) as file:
            assert file.read() == data
            assert file.read_ranges([(5, 9), (LONGER - 9, LONGER - 2)]) == [data[5:9], data[-9:-2]]
        assert store.read(uri) == data
    assert 206 in statuses


@pytest.mark.parametrize("name", ["crc64nvme", "crc32"])
def test_a_checksum_of_no_type_is_compared_with_a_whole_body(
    name: str, bucket: str, sandbox: Any
) -> None:
    """A checksum without a type is compared if the reply has the whole object."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(SMALL), uri)
    wrong = b64encode(bytes(8 if name == "crc64nvme" else 4)).decode()

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = _without_checksums(forward())
        answer.headers[f"x-amz-checksum-{name}"] = wrong
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.raises(IntegrityError):
        connect(SSES3(), endpoint_url=relay.url).read(uri)


@pytest.mark.parametrize("size", [SMALL, SIZE])
def test_a_checksum_that_is_no_base64_is_our_error(
    size: int, bucket: str, sandbox: Any, tmp_path: Path
) -> None:
    """A malformed checksum in a GET reply never raises ValueError."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(size), uri)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET":
            answer = _without_checksums(answer)
            answer.headers["x-amz-checksum-crc64nvme"] = "ä"
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        for read in (
            lambda: store.read(uri),
            lambda: store.get(uri, tmp_path / "out"),
            lambda: store.open(uri).read(),
            lambda: store.read(uri, byte_range="10-19"),
        ):
            try:
                read()
            except S3CryptError:
                continue
            assert size == SIZE, "a checksum of all the bytes that came was not compared"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("way", ["get", "read"])
def test_a_question_for_the_checksum_that_fails_ends_the_read(
    way: str, bucket: str, session: Any, tmp_path: Path
) -> None:
    """The HEAD runs in its own thread. An error of the caller's handler for it ends the read."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(SIZE), uri)
    client = session.client("s3")

    def fail(**_: Any) -> None:
        raise RuntimeError("of the handler")

    client.meta.events.register("before-call.s3.HeadObject", fail)
    store = S3Crypt(SSES3(), client=client)
    use = partial(store.get, uri, tmp_path / "out") if way == "get" else partial(store.read, uri)
    with pytest.raises(RuntimeError, match="of the handler"):
        use()
    assert files(tmp_path) == []
