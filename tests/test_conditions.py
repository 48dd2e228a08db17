# SPDX-License-Identifier: Apache-2.0
"""Conditional writes and deletes: detection of a writer's own object, and removal of objects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, PART, aes, connect, make_mode, names, payload, stored, uploads

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConflictError,
    PolicyError,
    S3Crypt,
    StorageError,
)
from s3crypt.aws import is_aws
from s3crypt.location import Location
from s3crypt.transfer.conditions import delete_unchanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt.sandbox import Running

    Forward = Callable[[], Answer]


def _is_put(asked: Asked) -> bool:
    return asked.method == "PUT" and not asked.query and "x-amz-copy-source" not in asked.headers


class _Losing:
    """Loses the reply to the first request of a kind, after S3 has executed it."""

    def __init__(self, of: Callable[[Asked], bool]) -> None:
        self.of = of
        self.lost: list[Asked] = []

    def __call__(self, asked: Asked, forward: Forward) -> Answer:
        answer = forward()
        if self.of(asked) and not self.lost:
            self.lost.append(asked)
            raise ConnectionError
        return answer


def _writes(asked: Asked) -> bool:
    return _is_put(asked) or (asked.method == "POST" and "uploadId" in asked.query)


@pytest.mark.parametrize("size", [1000, PART + 70_000])
@pytest.mark.parametrize("mode", ["sse-s3", "sse-c", "client-header", "client-metadata"])
def test_a_lost_reply_to_ones_own_write_is_a_success(
    mode: str, size: int, sandbox: Running, bucket: str, kms_key: str
) -> None:
    """After a lost reply the second attempt finds the object and recognises it as its own write."""
    losing = _Losing(_writes)
    with relaying(sandbox.endpoint_url, losing) as relay:
        store = connect(make_mode(mode, kms_key), endpoint_url=relay.url)
        info = store.put(payload(size), f"s3://{bucket}/x", if_absent=True)
        with store.open(f"s3://{bucket}/y", "xb") as file:
            file.write(payload(size))
    assert losing.lost
    reader = connect(make_mode(mode, kms_key))
    assert info.etag == reader.head(f"s3://{bucket}/x").etag
    assert info.metadata == {}
    assert reader.read(f"s3://{bucket}/x") == reader.read(f"s3://{bucket}/y") == payload(size)


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_of_two_writers_of_the_same_bytes_one_succeeds(
    mode: Any, sandbox: Running, bucket: str
) -> None:
    """Of two writers of equal bytes, the second gets a conflict, even if its reply is lost."""
    winner, lost = connect(mode), set()

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if _is_put(asked) and asked.path not in lost:
            # The winner's write arrives first, and the reply to the loser is lost.
            lost.add(asked.path)
            winner.put(b"", f"s3:/{asked.path}", if_absent=True)
            forward()
            raise ConnectionError
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        loser = connect(mode, endpoint_url=relay.url)
        for number in range(100):
            with pytest.raises(ConflictError):
                loser.put(b"", f"s3://{bucket}/{number}/_SUCCESS", if_absent=True)
    assert len(lost) == 100


def test_without_room_for_a_token_a_lost_reply_is_a_conflict(sandbox: Running, bucket: str) -> None:
    """If metadata leave no room for a token, the error says that the write may have succeeded."""
    full = {"note": "x" * 2030}
    with relaying(sandbox.endpoint_url, _Losing(_is_put)) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(ConflictError) as caught:
            store.put(b"data", f"s3://{bucket}/x", if_absent=True, metadata=full)
    assert "may be your own" in str(caught.value.hint)


def test_a_rotation_carries_no_token_of_an_earlier_write(
    bucket: str, s3: Any, kms_key: str
) -> None:
    """Each conditional write has its own token; an unconditional write has no token."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"data", uri, if_absent=True, metadata={"a": "b"})
    first = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    connect(SSES3()).rotate(uri, to=SSEKMS(kms_key))
    second = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    connect(SSEKMS(kms_key)).rotate(uri, to=ClientSide(aes()))
    third = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    assert first["s3crypt-write"] != second["s3crypt-write"]
    assert "s3crypt-write" not in third
    assert first["a"] == second["a"] == third["a"] == "b"
    connect(SSES3()).put(b"data", uri)
    assert s3.head_object(Bucket=bucket, Key="x")["Metadata"] == {}


def test_a_lost_copy_to_another_customer_key_is_found_with_it(
    sandbox: Running, bucket: str
) -> None:
    """If the reply to a copy under a new SSE-C key is lost, the copy is found with the new key.

    The second attempt cannot read the source, which is already under the new key.
    """
    uri = f"s3://{bucket}/x"
    old, new = SSEC(CUSTOMER_KEY), SSEC(bytes(32))
    connect(old).put(b"only copy", uri)
    losing = _Losing(lambda asked: "x-amz-copy-source" in asked.headers)
    with relaying(sandbox.endpoint_url, losing) as relay:
        (outcome,) = connect(old, endpoint_url=relay.url).rotate(uri, to=new)
    assert losing.lost
    assert outcome.action == "copied"
    assert connect(new).read(uri) == b"only copy"


# --- Removal of unencrypted objects ----------------------------------------------------------


def _without_echo(answer: Answer) -> Answer:
    for name in [name for name in answer.headers if name.startswith("x-amz-server-side-enc")]:
        del answer.headers[name]
    return answer


def test_a_reply_whose_echo_was_cut_off_removes_nothing(sandbox: Running, bucket: str) -> None:
    """If the reply lacks the encryption headers but HEAD shows them, the object stays."""
    spoilt: list[Asked] = []

    def spoil(asked: Asked, forward: Forward) -> Answer:
        answer = forward()
        if _is_put(asked) and not spoilt:
            spoilt.append(asked)
            return _without_echo(answer)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        store.put(b"data", f"s3://{bucket}/x")
        store.put(b"data", f"s3://{bucket}/y", if_absent=True)
        assert store.read(f"s3://{bucket}/x") == b"data"
        assert not [asked for asked in relay.asked if asked.method == "DELETE"]


def _deaf(asked: Asked, forward: Forward) -> Answer:
    """Answer like a service that accepts encryption headers and ignores them."""
    answer = forward()
    return _without_echo(answer) if asked.method in ("PUT", "HEAD") else answer


def test_what_a_service_does_not_encrypt_is_removed(sandbox: Running, bucket: str, s3: Any) -> None:
    """If neither the reply nor a HEAD shows the encryption, the plaintext object is removed."""
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(PolicyError, match="did not confirm"):
            store.put(b"data", f"s3://{bucket}/x")
    assert names(s3, bucket) == []


def test_an_echo_in_a_head_alone_is_not_believed(sandbox: Running, bucket: str, s3: Any) -> None:
    """HEAD alone proves nothing: some services repeat the requested mode, but store plaintext."""

    def spoil(asked: Asked, forward: Forward) -> Answer:
        answer = forward()
        return _without_echo(answer) if asked.method == "PUT" else answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(PolicyError, match="did not confirm"):
            store.put(b"data", f"s3://{bucket}/x")
    assert names(s3, bucket) == []


def test_no_version_stays_of_what_a_service_does_not_encrypt(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """In a versioned bucket every unencrypted version is removed, and the older version stays."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kept = s3.put_object(Bucket=bucket, Key="x", Body=b"before")["VersionId"]
    with relaying(sandbox.endpoint_url, _deaf) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(PolicyError, match="did not confirm"):
            store.put(b"data", f"s3://{bucket}/x")
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [version["VersionId"] for version in versions] == [kept]


def test_an_equal_object_is_not_taken_for_a_completed_upload(
    sandbox: Running, bucket: str, s3: Any, kms_key: str
) -> None:
    """An object with the upload's ETag does not prove that the lost completion was executed."""
    uri, size = f"s3://{bucket}/x", PART + 70_000
    connect(SSES3()).put(payload(size), uri)
    unheard: list[Asked] = []

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if asked.method == "POST" and "uploadId" in asked.query and not unheard:
            unheard.append(asked)
            raise ConnectionError
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSEKMS(kms_key), endpoint_url=relay.url).put(payload(size), uri)
    assert unheard
    assert connect().inspect(uri).mode == "sse-kms"
    assert uploads(s3, bucket) == []


def test_another_writers_object_is_not_removed(sandbox: Running, bucket: str, s3: Any) -> None:
    """An object that another writer stored before the removal is not removed."""

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if asked.method == "HEAD":
            s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
        return _deaf(asked, forward)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(StorageError, match="another writer replaced it"):
            store.put(b"data", f"s3://{bucket}/x")
    assert stored(s3, bucket, "x") == b"theirs"


# --- Services that ignore conditions ---------------------------------------------------------

_CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match")


def _without_conditions(asked: Asked, forward: Forward) -> Answer:
    """Forward a request like a service that ignores every condition of a write."""
    if asked.method != "GET":
        for name in _CONDITIONS:
            asked.headers.pop(name, None)
    return forward()


@pytest.mark.parametrize("size", [1000, PART + 70_000])
@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_if_absent_holds_where_conditions_are_ignored(
    mode: Any, size: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the service ignores conditions, a HEAD before the write finds the conflict.

    No part is sent then.
    """
    s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
    with relaying(sandbox.endpoint_url, _without_conditions) as relay:
        store = connect(mode, endpoint_url=relay.url)
        with pytest.raises(ConflictError):
            store.put(payload(size), f"s3://{bucket}/x", if_absent=True)
        assert not [asked for asked in relay.asked if asked.is_part]
        store.put(payload(size), f"s3://{bucket}/y", if_absent=True)
        assert store.read(f"s3://{bucket}/y") == payload(size)
    assert stored(s3, bucket, "x") == b"theirs"
    assert uploads(s3, bucket) == []


def test_who_may_not_read_still_writes_if_absent(sandbox: Running, bucket: str) -> None:
    """If the HEAD is denied, the write is sent and its condition decides."""

    def spoil(asked: Asked, forward: Forward) -> Answer:
        return Answer(403) if asked.method == "HEAD" else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        store.put(b"first", f"s3://{bucket}/x", if_absent=True)
        with pytest.raises(ConflictError):
            store.put(b"second", f"s3://{bucket}/x", if_absent=True)
    assert connect(SSES3()).read(f"s3://{bucket}/x") == b"first"


def _unquoted(asked: Asked, forward: Forward) -> Answer:
    """Compare If-Match as Ceph 16.2 does: with the unquoted ETag."""
    if _is_put(asked) and asked.headers.get("if-match", "").startswith('"'):
        return Answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
    return forward()


def test_a_small_object_is_rotated_where_quoted_etags_never_match(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If a quoted ETag never matches, the condition is repeated with the unquoted ETag.

    A replaced object is still a conflict.
    """
    uri, old, new = f"s3://{bucket}/x", ClientSide(aes()), ClientSide(aes("two"))
    connect(old).put(b"only copy", uri)
    with relaying(sandbox.endpoint_url, _unquoted) as relay:
        (outcome,) = connect(old, endpoint_url=relay.url).rotate(uri, to=new)
    assert outcome.action == "re-encrypted"
    assert connect(new).read(uri) == b"only copy"
    written: list[threading.Event] = []

    def replaced(asked: Asked, forward: Forward) -> Answer:
        if _is_put(asked) and not written:
            written.append(threading.Event())
            s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
        return _unquoted(asked, forward)

    with relaying(sandbox.endpoint_url, replaced) as relay:
        store = connect(new, endpoint_url=relay.url)
        with pytest.raises(ConflictError):
            store.rotate(uri, to=old)
    assert stored(s3, bucket, "x") == b"theirs"


def test_a_delete_on_condition_keeps_what_came_after(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the service ignores the condition, a HEAD before the delete compares the ETag."""
    mine = s3.put_object(Bucket=bucket, Key="x", Body=b"mine")["ETag"]
    s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
    with relaying(sandbox.endpoint_url, _without_conditions) as relay:
        client = connect(endpoint_url=relay.url).client
        with pytest.raises(ConflictError, match="kept"):
            delete_unchanged(client, Location(bucket, "x"), mine, {})
    assert stored(s3, bucket, "x") == b"theirs"


def test_a_delete_without_a_condition_is_preceded_by_a_look(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the service refuses the condition, a HEAD before the next delete compares the ETag."""
    mine = s3.put_object(Bucket=bucket, Key="x", Body=b"mine")["ETag"]

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if asked.method == "DELETE" and "if-match" in asked.headers:
            s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
            return Answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = connect(endpoint_url=relay.url).client
        with pytest.raises(ConflictError, match="kept"):
            delete_unchanged(client, Location(bucket, "x"), mine, {})
    assert stored(s3, bucket, "x") == b"theirs"


def test_a_lost_reply_to_a_delete_on_condition_is_a_success(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """After a lost reply the object is gone, so the delete succeeds."""
    mine = s3.put_object(Bucket=bucket, Key="x", Body=b"mine")["ETag"]
    with relaying(sandbox.endpoint_url, _Losing(lambda a: a.method == "DELETE")) as relay:
        delete_unchanged(connect(endpoint_url=relay.url).client, Location(bucket, "x"), mine, {})
    assert names(s3, bucket) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://bucket.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com", True),
        ("https://s3.dualstack.eu-west-1.api.aws", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://amazonaws.com.example.org", False),
        ("https://notamazonaws.com", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_which_endpoints_are_aws(url: str, *, expected: bool) -> None:
    """AWS endpoints are recognised by botocore's domains, including VPC endpoints."""
    assert is_aws(S3Crypt(endpoint_url=url).client) is expected


def test_a_storage_error_of_the_head_is_not_taken_for_absence(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service cannot say whether the object exists, nothing is written."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0")

    def spoil(asked: Asked, forward: Forward) -> Answer:
        return Answer(500) if asked.method == "HEAD" else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        with pytest.raises(StorageError):
            connect(SSES3(), endpoint_url=relay.url).put(b"x", f"s3://{bucket}/x", if_absent=True)
        assert not [asked for asked in relay.asked if asked.method == "PUT"]


@pytest.mark.parametrize("lacking", ["x-amz-meta-note", "content-type"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_head_that_broke_off_is_no_other_writer(
    which: int, lacking: str, sandbox: Running, bucket: str, kms_key: str, s3: Any
) -> None:
    """A rotation repeats an incomplete HEAD, and keeps the fields that the first reply lacked."""
    uri, heads = f"s3://{bucket}/x", []
    connect(SSES3()).put(b"only copy", uri, metadata={"note": "kept"}, content_type="text/csv")

    def spoil(asked: Asked, forward: Forward) -> Answer:
        answer = forward()
        if asked.method == "HEAD":
            heads.append(asked)
            if len(heads) == which + 1:
                answer.headers.pop(lacking)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSES3(), endpoint_url=relay.url).rotate(uri, to=SSEKMS(kms_key))
    head = s3.head_object(Bucket=bucket, Key="x")
    assert (head["Metadata"]["note"], head["ContentType"]) == ("kept", "text/csv")
    assert head["SSEKMSKeyId"] == kms_key


# --- Another writer between two attempts, at a service that ignores conditions ---------------


class _Interrupted:
    """Fails the first request of a kind, and lets another writer store before the next attempt."""

    def __init__(self, of: Callable[[Asked], bool], other: Callable[[], object]) -> None:
        self.of, self.other = of, other
        self.failed: list[Asked] = []

    def __call__(self, asked: Asked, forward: Forward) -> Answer:
        if self.of(asked) and not self.failed:
            self.failed.append(asked)
            self.other()
            return Answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>")
        return _without_conditions(asked, forward)


@pytest.mark.parametrize("size", [1000, PART + 70_000])
@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_a_repeated_write_overwrites_no_other_writer(
    mode: Any, size: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """With if_absent, an object that another writer stored between two attempts is a conflict."""
    other = _Interrupted(_writes, lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"theirs"))
    with relaying(sandbox.endpoint_url, other) as relay:
        store = connect(mode, endpoint_url=relay.url)
        with pytest.raises(ConflictError):
            store.put(payload(size), f"s3://{bucket}/x", if_absent=True)
    assert other.failed
    assert stored(s3, bucket, "x") == b"theirs"
    assert uploads(s3, bucket) == []


def test_a_writer_who_comes_while_parts_are_sent_is_not_overwritten(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """At a service that ignores conditions, a HEAD precedes the completion of an upload."""

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if asked.query.get("partNumber") == "2":
            s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
        return _without_conditions(asked, forward)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(ConflictError):
            store.put(payload(2 * PART), f"s3://{bucket}/x", if_absent=True)
    assert stored(s3, bucket, "x") == b"theirs"
    assert uploads(s3, bucket) == []


def test_a_repeated_delete_removes_no_other_writers_object(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """A HEAD also precedes the second attempt of a delete."""
    mine = s3.put_object(Bucket=bucket, Key="x", Body=b"mine")["ETag"]
    other = _Interrupted(
        lambda asked: asked.method == "DELETE",
        lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"theirs"),
    )
    with relaying(sandbox.endpoint_url, other) as relay:
        client = connect(endpoint_url=relay.url).client
        with pytest.raises(ConflictError, match="kept"):
            delete_unchanged(client, Location(bucket, "x"), mine, {})
    assert stored(s3, bucket, "x") == b"theirs"


def test_a_delete_whose_reply_was_lost_is_not_repeated(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """A delete whose effect is visible is not repeated: it could remove a newer object."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"mine")
    with relaying(sandbox.endpoint_url, _Losing(lambda a: a.method == "DELETE")) as relay:
        connect(endpoint_url=relay.url).delete(f"s3://{bucket}/x")
        assert [asked.method for asked in relay.asked].count("DELETE") == 1
    assert names(s3, bucket) == []


def test_repeats_in_doubt_overwrite_no_other_writer(sandbox: Running, bucket: str, s3: Any) -> None:
    """If the service never confirms encryption, a HEAD checks the object before each attempt."""
    puts: list[Asked] = []

    def spoil(asked: Asked, forward: Forward) -> Answer:
        answer = _without_conditions(asked, forward)
        if _is_put(asked):
            puts.append(asked)
            if len(puts) == 2:
                s3.put_object(Bucket=bucket, Key="x", Body=b"theirs")
        return _without_echo(answer) if asked.method == "PUT" else answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(StorageError, match="another writer replaced it"):
            store.put(b"data", f"s3://{bucket}/x")
    assert stored(s3, bucket, "x") == b"theirs"


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_half_a_look_is_no_other_writer(
    mode: Any, sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reply to a check lacks the token, the check is repeated."""
    # A reply whose body never arrives ends with the read timeout.
    monkeypatch.setenv("S3CRYPT_READ_TIMEOUT", "1")
    losing = _Losing(_is_put)
    halves: list[Asked] = []

    def spoil(asked: Asked, forward: Forward) -> Answer:
        answer = losing(asked, forward)
        if asked.method in ("HEAD", "GET") and losing.lost and len(halves) < 2:
            halves.append(asked)
            answer.headers.pop("x-amz-meta-s3crypt-write", None)
            answer.body = b""
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(mode, endpoint_url=relay.url).put(b"mine", f"s3://{bucket}/x", if_absent=True)
    assert connect(mode).read(f"s3://{bucket}/x") == b"mine"
