# SPDX-License-Identifier: Apache-2.0
"""Servers that ignore parts of a request: their data and their replies are not trusted."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    """Reply as a server that ignores requests for encryption."""
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
    """If the server replies 200 but does not encrypt, the put fails and removes the object."""
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
    """If the bytes differ from S3's checksum, a get fails and leaves no file."""
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
    """If the reply that completes an upload has no ETag, the ETag is fetched."""

    def forget(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "POST" and "uploadId" in asked.query:
            answer.body = b"<CompleteMultipartUploadResult/>"
            answer.headers.pop("content-length", None)
        return answer

    with relaying(sandbox.endpoint_url, forget) as relay:
        store = S3Crypt(ClientSide(aes()), client=session.client("s3", endpoint_url=relay.url))
        info = store.put(payload(PART + 1), f"s3://{bucket}/x")
    assert info.etag == connect().client.head_object(Bucket=bucket, Key="x")["ETag"].strip('"')


def test_the_version_before_comes_back_when_unencrypted_bytes_are_removed(
    sandbox: Running, session: Any, versioned_bucket: str
) -> None:
    """In a versioned bucket, only the new, unencrypted version is removed."""
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
    """If an unencrypted object cannot be removed, the PolicyError also says that it remains."""

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
    """Metadata is read even if the server capitalises the names, as servers in Go do."""

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
    """A store with a mode does not read an object that the server does not report as encrypted."""
    connect(SSES3()).put(b"plain", f"s3://{bucket}/x")
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(PolicyError, match="unencrypted"):
            S3Crypt(mode, client=client).get(f"s3://{bucket}/x", tmp_path / "out")
    assert files(tmp_path) == []


# --- Wrong first replies -----------------------------------------------------------------------


def _shifted(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Reply with another range than the requested one, and say so in Content-Range."""
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
    """Read the object in each way. Check that returned bytes are right; return all errors."""
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
    """A first reply with another range, or without a length or an ETag, is refused."""
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
    """A first reply that reports a wrong length is refused: the final frame proves the length."""
    mode, uri = ClientSide(aes()), f"s3://{bucket}/x"
    connect(mode).put(payload(LONGER), uri)
    with relaying(sandbox.endpoint_url, _of_total(total)) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        raised = _check_never_wrong(S3Crypt(mode, client=client), uri, payload(LONGER))
    # A GET of the whole object needs no second request, so it may succeed.
    assert len(raised) >= 3
    assert set(raised) <= {FormatError, IntegrityError, StorageError}


@pytest.mark.parametrize("mode", [ClientSide(aes()), SSES3(), None], ids=["client", "s3", "none"])
def test_a_server_without_ranges_never_gives_other_bytes(
    mode: Mode | None, sandbox: Running, session: Any, bucket: str
) -> None:
    """If a server ignores ranges and sends the whole object, reads are right or refused."""

    def whole(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.headers.pop("range", None)
        return forward()

    uri = f"s3://{bucket}/x"
    connect(mode or SSES3()).put(payload(LONGER), uri)
    with relaying(sandbox.endpoint_url, whole) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        raised = _check_never_wrong(S3Crypt(mode, client=client), uri, payload(LONGER))
    assert set(raised) <= {StorageError}


def test_the_whole_object_in_reply_to_a_range_is_read_to_its_end(
    sandbox: Running, session: Any, bucket: str
) -> None:
    """If the first reply has the whole object, `read` reads it to its end."""
    data, uri = payload(2 * PART + 5), f"s3://{bucket}/x"
    connect(SSES3()).put(data, uri)

    def whole(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        asked.headers.pop("range", None)
        return forward()

    with relaying(sandbox.endpoint_url, whole) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        assert S3Crypt(SSES3(), client=client).read(uri) == data


# --- Services without object tags --------------------------------------------------------------


def _object_for_tags(asked: Asked, forward: Callable[..., Answer]) -> Answer:
    """Reply to a request for tags as rclone does: with the object, and the tags in a header."""
    if asked.method == "GET" and "tagging" in asked.query:
        whole = Asked("GET", asked.target.partition("?")[0], asked.headers, b"")
        answer = forward(whole)
        answer.headers["x-amz-tagging"] = "project=a+b&empty="
        return answer
    return forward()


@pytest.mark.parametrize("content", [b"", b"plain", b"<a/>", payload(1000)])
def test_a_service_that_sends_the_object_for_its_tags_has_none_of_its_own(
    content: bytes, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If a service replies to a request for tags with the object, a header has the tags."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(content, uri)
    with relaying(sandbox.endpoint_url, _object_for_tags) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        (outcome,) = store.rotate(uri, to=ClientSide(aes()))
    assert outcome.action == "re-encrypted"
    assert connect(ClientSide(aes())).read(uri) == content
    assert s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"] == [
        {"Key": "project", "Value": "a b"},
        {"Key": "empty", "Value": ""},
    ]
    assert len([asked for asked in relay.asked if "tagging" in asked.query]) == 1


@pytest.mark.parametrize(("count", "is_rotated"), [("0", True), ("1", False), (None, False)])
def test_an_empty_reply_about_tags_is_believed_where_none_are_counted(
    count: str | None,
    is_rotated: bool,
    sandbox: Running,
    bucket: str,
) -> None:
    """An empty reply about tags is believed only if HEAD counts 0 tags, as with Ceph."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes())).put(b"only copy", uri)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "GET" and "tagging" in asked.query:
            return Answer(200, {"content-type": "application/xml"})
        answer = forward()
        if asked.method == "HEAD" and count is not None:
            answer.headers["x-amz-tagging-count"] = count
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        if is_rotated:
            store.rotate(uri, to=ClientSide(aes("two")))
        else:
            with pytest.raises(StorageError, match="its tags"):
                store.rotate(uri, to=ClientSide(aes("two")))
    reader = connect(ClientSide(aes("two" if is_rotated else "one")))
    assert reader.read(uri) == b"only copy"


def _drops_tags(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Drop the tags of multipart uploads, as Ceph 16.2 does."""
    if asked.method == "POST" and "uploads" in asked.query:
        asked.headers.pop("x-amz-tagging", None)
    return forward()


def test_tags_that_an_upload_by_parts_lost_are_set(sandbox: Running, bucket: str, s3: Any) -> None:
    """If the service dropped an upload's tags, they are set by a further request."""
    tags = {"project": "ledger"}
    with relaying(sandbox.endpoint_url, _drops_tags) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        store.put(payload(PART + 1), f"s3://{bucket}/x", tags=tags)
        store.rotate(f"s3://{bucket}/x", to=ClientSide(aes("two")))
    found = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert found == [{"Key": "project", "Value": "ledger"}]


@pytest.mark.parametrize("theirs", [None, b"theirs"], ids=["deleted", "replaced"])
def test_an_object_of_another_writer_gets_no_tags_of_ours(
    theirs: bytes | None, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If another writer replaces the new object at once, the put does not tag that object."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "GET" and "tagging" in asked.query:
            s3.delete_object(Bucket=bucket, Key="x")
            if theirs is not None:
                s3.put_object(Bucket=bucket, Key="x", Body=theirs)
        return _drops_tags(asked, forward)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        store.put(payload(PART + 1), f"s3://{bucket}/x", tags={"project": "ledger"})
    if theirs is None:
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    else:
        assert s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"] == []


def test_tags_that_may_not_be_set_are_no_success(sandbox: Running, bucket: str) -> None:
    """If the caller has no permission to set the dropped tags, the put fails with this reason."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "PUT" and "tagging" in asked.query:
            return Answer(403, {"content-type": "application/xml"}, _DENIED)
        return _drops_tags(asked, forward)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        with pytest.raises(StorageError, match="its tags"):
            store.put(payload(PART + 1), f"s3://{bucket}/x", tags={"project": "ledger"})


_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


def test_a_service_that_knows_no_tags_is_sent_none(sandbox: Running, bucket: str) -> None:
    """A service like rclone's gets no request to set tags, which would overwrite the object."""
    with relaying(sandbox.endpoint_url, _object_for_tags) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        store.put(payload(PART + 1), f"s3://{bucket}/x", tags={"project": "ledger"})
        assert not [a for a in relay.asked if a.method == "PUT" and "tagging" in a.query]
        assert store.read(f"s3://{bucket}/x") == payload(PART + 1)


class _Chunking(BaseHTTPRequestHandler):
    """A server that ignores ranges, and sends a body without its length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("etag", '"0123456789abcdef0123456789abcdef"')
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nplain\r\n0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Print nothing about requests."""


@pytest.mark.parametrize("mode", [ClientSide(aes()), None], ids=["client", "none"])
def test_a_body_of_no_length_is_refused(mode: Mode | None, session: Any) -> None:
    """A reply without Content-Range and Content-Length raises StorageError, not KeyError."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chunking) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            client = session.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}")
            for read in READS:
                with pytest.raises(StorageError, match="did not send the requested bytes"):
                    read(S3Crypt(mode, client=client), "s3://bucket/x")
            client.close()
        finally:
            server.shutdown()
            thread.join()
