# SPDX-License-Identifier: Apache-2.0
"""Servers that do not do as they are told: what they store and say is not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from relay import Answer, Asked, relaying
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
    uploads,
)

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    FormatError,
    IntegrityError,
    PolicyError,
    S3Crypt,
    S3CryptError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt import Mode
    from s3crypt.sandbox import Running

OLD = b"what was there before"


def _deaf(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer as a server that does not know server-side encryption."""
    for name in [name for name in asked.headers if name.startswith("x-amz-server-side-enc")]:
        del asked.headers[name]
    answer = forward()
    for name in [name for name in answer.headers if name.startswith("x-amz-server-side-enc")]:
        del answer.headers[name]
    return answer


@pytest.mark.parametrize("size", [1, PART + 1])
@pytest.mark.parametrize("name", SERVER_SIDE)
def test_a_server_that_does_not_encrypt_is_noticed(
    name: str, size: int, sandbox: Running, bucket: str, kms_key: str, s3: Any
) -> None:
    """It answers 200 and stores plaintext; the object is removed again."""
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        client = boto3.client("s3", endpoint_url=relay.url)
        store = S3Crypt(make_mode(name, kms_key), client=client)
        with pytest.raises(PolicyError, match="did not confirm"):
            store.put(payload(size), f"s3://{bucket}/x")
    assert names(s3, bucket) == []
    assert uploads(s3, bucket) == []


def test_bytes_that_changed_on_the_way_are_noticed(
    sandbox: Running, session: Any, bucket: str, tmp_path: Path
) -> None:
    """S3's checksum of a server-side encrypted object is compared at the end of its bytes."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(payload(1000), uri)

    def flip(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET":
            answer.headers["x-amz-checksum-crc32"] = "AAAAAA=="
        return answer

    with relaying(sandbox.endpoint_url, flip) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(IntegrityError, match="checksum"):
            store.get(uri, tmp_path / "out")
    assert files(tmp_path) == []


def test_a_reply_without_an_etag_is_completed(sandbox: Running, session: Any, bucket: str) -> None:
    """Some services leave it out when an upload by parts is completed."""

    def forget(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "POST" and "uploadId" in asked.query:
            answer.body = b"<CompleteMultipartUploadResult/>"
            answer.headers.pop("content-length", None)
        return answer

    with relaying(sandbox.endpoint_url, forget) as relay:
        store = S3Crypt(ClientSide(aes()), client=session.client("s3", endpoint_url=relay.url))
        info = store.put(payload(PART + 1), f"s3://{bucket}/x")
    assert info.etag == connect().client.head_object(Bucket=bucket, Key="x")["ETag"]


def test_the_version_before_comes_back_when_unencrypted_bytes_are_removed(
    sandbox: Running, session: Any, versioned_bucket: str
) -> None:
    """Only the version that was just stored is removed."""
    uri = f"s3://{versioned_bucket}/x"
    connect(SSES3()).put(OLD, uri)
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(PolicyError):
            S3Crypt(SSES3(), client=client).put(b"new", uri)
    assert connect(SSES3()).read(uri) == OLD


def test_unencrypted_bytes_that_cannot_be_removed_are_still_a_policy_error(
    sandbox: Running, session: Any, bucket: str
) -> None:
    """What went wrong first is not hidden by what went wrong then."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "DELETE":
            return Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        return _deaf(asked, forward)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(PolicyError, match=r"did not confirm.*could not be removed"):
            S3Crypt(SSES3(), client=client).put(b"new", f"s3://{bucket}/x")


def test_the_case_of_metadata_names_does_not_matter(
    sandbox: Running, session: Any, bucket: str
) -> None:
    """Servers written in Go capitalise header names, and botocore passes them on."""

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        answer.headers = {
            name.title() if name.startswith("x-amz-meta-") else name: value
            for name, value in answer.headers.items()
        }
        return answer

    mode, uri = ClientSide(aes(), key_location="metadata"), f"s3://{bucket}/x"
    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        store = S3Crypt(mode, client=client)
        store.put(b"plain", uri, metadata={"colour": "blue"})
        assert store.read(uri) == b"plain"
        assert store.inspect(uri).metadata == {"colour": "blue"}
        with pytest.raises(PolicyError):
            S3Crypt(SSES3(), client=client).read(uri)
        new = ClientSide(aes("two"), key_location="metadata")
        assert store.rotate(uri, to=new)[0].action == "rewrapped"
    assert connect(new).read(uri) == b"plain"


@pytest.mark.parametrize("mode", [SSES3(), SSEC(CUSTOMER_KEY)])
def test_what_is_not_reported_as_encrypted_is_not_read(
    mode: Mode, sandbox: Running, session: Any, bucket: str, tmp_path: Path
) -> None:
    """A store with a mode does not read what the server does not call encrypted."""
    connect(SSES3()).put(b"plain", f"s3://{bucket}/x")
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(PolicyError, match="unencrypted"):
            S3Crypt(mode, client=client).get(f"s3://{bucket}/x", tmp_path / "out")
    assert files(tmp_path) == []


# --- First replies that are not what was asked for ---------------------------------------------


def _shifted(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer with another range than asked for, and say so."""
    asked.headers["range"] = "bytes=100-65635"
    return forward()


def _of_total(total: str) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    def lie(_: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if "content-range" in answer.headers:
            place = answer.headers["content-range"].partition("/")[0]
            answer.headers["content-range"] = f"{place}/{total}"
        return answer

    return lie


def _without_etag(_: Asked, forward: Callable[[], Answer]) -> Answer:
    answer = forward()
    answer.headers.pop("etag", None)
    return answer


LONGER = 3 * 2**20
READS: tuple[Callable[[S3Crypt, str], bytes], ...] = (
    lambda store, uri: store.open(uri).read(),
    lambda store, uri: store.open(uri).read_ranges([(2**20, 2**20 + 50)])[0],
    lambda store, uri: store.read(uri),
    lambda store, uri: store.read(uri, byte_range="1048576-1048625"),
)


def _check_never_wrong(store: S3Crypt, uri: str, data: bytes) -> list[type[Exception]]:
    """Return what each way to read raised; what it gives instead must be right."""
    raised: list[type[Exception]] = []
    for read in READS:
        try:
            assert read(store, uri) in (data, data[2**20 : 2**20 + 50])
        except S3CryptError as error:
            raised.append(type(error))
    return raised


@pytest.mark.parametrize("mode", [ClientSide(aes()), SSES3(), None], ids=["client", "s3", "none"])
@pytest.mark.parametrize(
    "spoil", [_shifted, _of_total("*"), _without_etag], ids=["shifted", "star", "etag"]
)
def test_a_first_reply_of_other_bytes_is_refused(
    spoil: Any, mode: Mode | None, sandbox: Running, session: Any, bucket: str
) -> None:
    """A range that begins elsewhere, of no length, or of a version that cannot be named."""
    uri = f"s3://{bucket}/x"
    connect(mode or SSES3()).put(payload(LONGER), uri)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        raised = _check_never_wrong(S3Crypt(mode, client=client), uri, payload(LONGER))
    assert raised == [StorageError] * len(READS)


@pytest.mark.parametrize("total", [str(LONGER // 2), str(10**14), "70000", "0", "-1", "1e9"])
def test_a_first_reply_of_another_length_is_refused(
    total: str, sandbox: Running, session: Any, bucket: str
) -> None:
    """The final frame proves the length, whatever the service says it is."""
    mode, uri = ClientSide(aes()), f"s3://{bucket}/x"
    connect(mode).put(payload(LONGER), uri)
    with relaying(sandbox.endpoint_url, _of_total(total)) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        raised = _check_never_wrong(S3Crypt(mode, client=client), uri, payload(LONGER))
    # What a whole GET brings it may well give: the first request is then the only one.
    assert len(raised) >= 3
    assert set(raised) <= {FormatError, IntegrityError, StorageError}


@pytest.mark.parametrize("mode", [ClientSide(aes()), SSES3(), None], ids=["client", "s3", "none"])
def test_a_server_without_ranges_never_gives_other_bytes(
    mode: Mode | None, sandbox: Running, session: Any, bucket: str
) -> None:
    """It sends the whole object each time; from it that is read, or refused."""

    def whole(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.headers.pop("range", None)
        return forward()

    uri = f"s3://{bucket}/x"
    connect(mode or SSES3()).put(payload(LONGER), uri)
    with relaying(sandbox.endpoint_url, whole) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        raised = _check_never_wrong(S3Crypt(mode, client=client), uri, payload(LONGER))
    assert set(raised) <= {StorageError}
