# SPDX-License-Identifier: Apache-2.0
"""Buckets whose default retention locks each new object: S3 demands a checksum of each body."""

from __future__ import annotations

import uuid
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from conftest import unblock_ssec
from relay import Answer, Asked, relaying
from samples import PART, aes, payload

from s3crypt import SSEKMS, SSES3, ClientSide, S3Crypt, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay import Relay

    from s3crypt import Mode
    from s3crypt.sandbox import Running

SMALL, LARGE = 1000, PART + 1000
MODE = ClientSide(aes())
MESSAGE = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put requests with Object Lock"
OLDER_MESSAGE = "Content-MD5 HTTP header is required for Put requests with Object Lock parameters"


@pytest.fixture
def retaining_bucket(s3: Any) -> str:
    """Make a bucket that locks each new object for three days."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    unblock_ssec(s3, name)
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    s3.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
    )
    return name


def _is_body(asked: Asked) -> bool:
    return (
        asked.method == "PUT"
        and "x-amz-copy-source" not in asked.headers
        and asked.query.keys() <= {"partNumber", "uploadId"}
    )


def _has_checksum(asked: Asked) -> bool:
    return "x-amz-trailer" in asked.headers or any(
        name.startswith("x-amz-checksum-") for name in asked.headers
    )


def _refusal(code: str, message: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(400, {"content-type": "application/xml"}, body)


def _as_s3(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Refuse the bodies that S3 refuses: objects and parts without any checksum."""
    if _is_body(asked) and "content-md5" not in asked.headers and not _has_checksum(asked):
        return _refusal("InvalidRequest", MESSAGE)
    return forward()


@pytest.fixture
def s3_relay(sandbox: Running, retaining_bucket: str) -> Iterator[Relay]:
    """Run a service that demands a checksum of each body in the bucket, as S3 does."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_here = asked.path.startswith(f"/{retaining_bucket}/")
        return _as_s3(asked, forward) if is_here else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        yield relay


def _store(kind: str, url: str, monkeypatch: pytest.MonkeyPatch, mode: Mode = MODE) -> S3Crypt:
    """Return a store with or without checksums, with its own client or the caller's."""
    if kind == "given without":
        config = Config(request_checksum_calculation="when_required")
        client = boto3.client("s3", endpoint_url=url, config=config)
        return S3Crypt(mode, client=client)
    if kind == "own without":
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return S3Crypt(mode, session=boto3.Session(), endpoint_url=url)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("own", SMALL), ("own without", SMALL), ("own without", LARGE), ("given without", SMALL)],
)
def test_objects_are_stored_in_a_bucket_with_default_retention(
    kind: str,
    size: int,
    retaining_bucket: str,
    s3_relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`put` and `open` store objects. If checksums are off, they send Content-MD5 on demand."""
    store = _store(kind, s3_relay.url, monkeypatch)
    store.put(payload(size), f"s3://{retaining_bucket}/put")
    with store.open(f"s3://{retaining_bucket}/written", "wb") as file:
        file.write(payload(size))
    for name in ("put", "written"):
        assert store.read(f"s3://{retaining_bucket}/{name}") == payload(size)
    digests = [asked for asked in s3_relay.asked if "content-md5" in asked.headers]
    assert bool(digests) == (kind != "own")
    for asked in digests:
        assert asked.headers["content-md5"] == b64encode(md5(asked.body).digest()).decode()


@pytest.mark.parametrize("kind", ["own", "own without"])
def test_objects_are_rotated_in_a_bucket_with_default_retention(
    kind: str,
    retaining_bucket: str,
    kms_key: str,
    s3_relay: Relay,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects can be re-encrypted, rewrapped and copied, and each new version is locked."""
    url, uri = s3_relay.url, f"s3://{retaining_bucket}/x"
    _store(kind, url, monkeypatch, SSES3()).put(payload(SMALL), uri)
    kept = ClientSide(aes(), key_location="metadata")
    other = ClientSide(aes("two"), key_location="metadata")
    steps: list[tuple[Mode, Mode]] = [
        (SSES3(), kept),
        (kept, other),
        (other, SSES3()),
        (SSES3(), SSEKMS(kms_key)),
    ]
    for source, to in steps:
        _store(kind, url, monkeypatch, source).rotate(uri, to=to)
        head = s3.head_object(Bucket=retaining_bucket, Key="x")
        assert head["ObjectLockMode"] == "GOVERNANCE"
    assert _store(kind, url, monkeypatch, SSEKMS(kms_key)).read(uri) == payload(SMALL)


def test_only_the_bucket_that_demands_it_is_sent_an_md5(
    retaining_bucket: str, bucket: str, s3_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket refuses one request; requests for other buckets never have Content-MD5."""
    store = _store("own without", s3_relay.url, monkeypatch)
    for name in (bucket, retaining_bucket, bucket, retaining_bucket):
        store.put(payload(SMALL), f"s3://{name}/x")
    asked = [(asked.path.split("/")[1], "content-md5" in asked.headers) for asked in s3_relay.asked]
    assert asked == [
        (bucket, False),
        (retaining_bucket, False),
        (retaining_bucket, True),
        (bucket, False),
        (retaining_bucket, True),
    ]


@pytest.mark.parametrize(
    ("code", "message", "size"),
    [("InvalidRequest", OLDER_MESSAGE, SMALL), ("MissingContentMD5", "Missing", LARGE)],
    ids=["InvalidRequest", "MissingContentMD5"],
)
def test_a_service_may_know_content_md5_alone(
    code: str, message: str, size: int, sandbox: Running, bucket: str
) -> None:
    """If a service demands Content-MD5 despite a checksum, a second request has Content-MD5."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if _is_body(asked) and "content-md5" not in asked.headers:
            return _refusal(code, message)
        return forward()

    uri = f"s3://{bucket}/x"
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(MODE, session=boto3.Session(), endpoint_url=relay.url)
        store.put(payload(size), uri)
        assert store.read(uri) == payload(size)
    bodies: dict[str, set[bytes]] = {}
    for asked in filter(_is_body, relay.asked):
        bodies.setdefault(asked.query.get("partNumber", ""), set()).add(asked.body)
    assert all(len(sent) == 1 for sent in bodies.values())


def test_another_invalid_request_is_sent_once(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content-MD5 is sent only after a refusal that names it."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return _refusal("InvalidRequest", "no") if _is_body(asked) else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store("own without", relay.url, monkeypatch)
        with pytest.raises(StorageError, match="InvalidRequest"):
            store.put(payload(SMALL), f"s3://{bucket}/Content-MD5")
    assert len(relay.asked) == 1
