# SPDX-License-Identifier: Apache-2.0
"""Many objects deleted by few requests: the composition of batches, and checks of the reply."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import pytest
from relay import Answer, Asked, relaying
from samples import connect, names, stored
from sandbox_samples import ssec
from test_sandbox_deleting import deny_deletes, put

from s3crypt import ConflictError, S3Crypt, S3CryptError, StorageError
from s3crypt.location import Location
from s3crypt.objects.deleting import batches, delete_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import RequestsLog
    from relay import Relay

    from s3crypt.sandbox import Running

    Forward = Callable[..., Answer]
    Spoil = Callable[[Asked, Forward], Answer]

NAMES = ("a", "b", "c")


def is_batch(asked: Asked) -> bool:
    """Return whether a request deletes many objects."""
    return asked.method == "POST" and "delete" in asked.query


def keys(asked: Asked) -> list[str]:
    """Return the object names in the body of a request, or in its path."""
    if is_batch(asked):
        return re.findall("<Key>(.*?)</Key>", asked.body.decode(), re.DOTALL)
    return [asked.path.lstrip("/").partition("/")[2]]


def told(relay: Relay) -> list[str]:
    """Return the requests for objects: POST for a batch, otherwise the method and the name."""
    # Leave out the requests of botocore, which asks for the bucket's Region after a 400.
    asked_for = [asked for asked in relay.asked if keys(asked) != [""]]
    return ["POST" if is_batch(one) else f"{one.method} {keys(one)[0]}" for one in asked_for]


def client_of(relay: Relay, **options: Any) -> Any:
    """Return a client that the library makes."""
    return connect(endpoint_url=relay.url, **options).client


def etags(s3: Any, bucket: str, *wanted: str) -> list[tuple[str, str | None]]:
    """Store objects, and return their names and ETags."""
    put(s3, bucket, *wanted)
    return [(name, s3.head_object(Bucket=bucket, Key=name)["ETag"]) for name in wanted]


def codes(errors: Iterable[S3CryptError | None]) -> list[str | None]:
    """Return the code of each error, and None for a deleted object."""
    return [None if error is None else error.code for error in errors]


def once(spoil: Spoil, of: Callable[[Asked], bool] = is_batch) -> Spoil:
    """Apply `spoil` to the first request of a kind only."""
    seen: list[Asked] = []

    def spoil_first(asked: Asked, forward: Forward) -> Answer:
        if of(asked) and not seen:
            seen.append(asked)
            return spoil(asked, forward)
        return forward()

    return spoil_first


def refusing(status: int, code: str = "") -> Spoil:
    """Return a function that answers with an error; without a code the reply has no body."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
    return lambda *_: Answer(status, {"content-type": "application/xml"}, body)


def without(asked: Asked, left_out: Iterable[str]) -> Asked:
    """Return the batch without these objects."""
    body = asked.body
    for name in left_out:
        pattern = f"<Object>(?:(?!</Object>).)*<Key>{re.escape(name)}</Key>.*?</Object>"
        body, count = re.subn(pattern.encode(), b"", body, count=1)
        assert count == 1, (name, asked.body)
    kept = {name: value for name, value in asked.headers.items() if "checksum" not in name}
    # botocore sent the hash of the complete body, and the sandbox compares it, so replace the hash.
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    changed = {
        "content-length": str(len(body)),
        "content-md5": base64.b64encode(digest).decode(),
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    return replace(asked, body=body, headers={**kept, **changed})


def failing(code: str, *wanted: str) -> Spoil:
    """Return a function that reports an error for these names, and deletes the other objects."""

    def spoil(asked: Asked, forward: Forward) -> Answer:
        refused = [name for name in keys(asked) if name in wanted]
        entries = "".join(
            f"<Error><Key>{escape(name)}</Key><Code>{code}</Code><Message>no</Message></Error>"
            for name in refused
        )
        if len(refused) == len(keys(asked)):
            answer = Answer(200, {"content-type": "application/xml"}, b"<DeleteResult/>")
            answer.body = f"<DeleteResult>{entries}</DeleteResult>".encode()
            return answer
        answer = forward(without(asked, refused))
        answer.body = answer.body.replace(b"</DeleteResult>", f"{entries}</DeleteResult>".encode())
        del answer.headers["content-length"]
        return answer

    return spoil


# --- How many requests -------------------------------------------------------------------------


def test_2500_objects_are_three_requests(bucket: str, s3: Any, requests_log: RequestsLog) -> None:
    """S3 accepts 1,000 names per request; the outcomes are in order, and other objects stay."""
    there = ["00000", "00999", "01000", "02499"]
    put(s3, bucket, *there, "other")
    wanted = [Location(bucket, f"{number:05}") for number in range(2500)]
    requests_log.clear()
    found = connect().many.delete(map(str, wanted), jobs=1)
    told = [(outcome.item, outcome.error) for outcome in found]
    assert told == [(str(location), None) for location in wanted]
    asked = [(entry["method"], entry["query"]) for entry in requests_log.list()]
    assert asked == [("POST", "delete")] * 3
    assert names(s3, bucket) == ["other"]


def test_items_are_read_as_they_are_needed() -> None:
    """The first batch is ready before the next items are read."""
    read: list[int] = []

    def items() -> Iterator[tuple[Location, None]]:
        for number in range(2500):
            read.append(number)
            yield Location("acme", f"{number}"), None

    outcomes = batches(items(), lambda item: item[0].bucket)
    assert read == []
    next(outcomes)
    assert len(read) == 1000


def test_neighbours_in_one_bucket_go_together(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """A request is for one bucket, so returning to an earlier bucket begins a new request."""
    other = "other-" + bucket
    s3.create_bucket(Bucket=other)
    wanted = [Location(where, name) for where in (bucket, other, bucket) for name in NAMES]
    requests_log.clear()
    found = list(connect().many.delete(map(str, wanted), jobs=1))
    assert [outcome.item for outcome in found] == list(map(str, wanted))
    assert [entry["path"].strip("/") for entry in requests_log.list()] == [bucket, other, bucket]


def test_a_batch_of_more_is_a_mistake(bucket: str) -> None:
    """A batch of more than 1,000 names is refused, as S3 would refuse it."""
    with pytest.raises(ValueError, match="at most 1000"):
        delete_batch(connect().client, bucket, [("a", None)] * 1001)


def test_what_a_request_says(sandbox: Running, bucket: str, s3: Any) -> None:
    """A batch has known ETags, a checksum and the expected owner, but no version and no Quiet."""
    (_, etag), _ = items = [*etags(s3, bucket, "a"), ("b", None)]
    with relaying(sandbox.endpoint_url) as relay:
        client = client_of(relay, expected_bucket_owner="123456789012", request_payer="requester")
        assert delete_batch(client, bucket, items) == [None, None]
        (asked,) = relay.asked
    body = asked.body.decode().replace("&quot;", '"')
    assert f"<Object><Key>a</Key><ETag>{etag}</ETag></Object><Object><Key>b</Key></Object>" in body
    assert "Quiet" not in body
    assert "VersionId" not in body
    assert asked.headers["x-amz-checksum-crc32"]
    assert asked.headers["x-amz-expected-bucket-owner"] == "123456789012"
    assert asked.headers["x-amz-request-payer"] == "requester"


def test_versions_are_kept(versioned_bucket: str, s3: Any) -> None:
    """A delete without a version hides the objects, and their versions stay."""
    items = etags(s3, versioned_bucket, *NAMES)
    assert delete_batch(connect().client, versioned_bucket, items) == [None] * 3
    assert names(s3, versioned_bucket) == []
    listed = s3.list_object_versions(Bucket=versioned_bucket)
    assert [entry["Key"] for entry in listed["Versions"]] == list(NAMES)


# --- Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", ["a\x01b", "a\rb", "a\tb", " a", "a ", "a\ufffe", "a\uffff", "\x85a"]
)
def test_names_that_xml_cannot_carry_go_singly(
    odd: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A name that XML cannot contain is deleted by a single request, not in the batch."""
    put(s3, bucket, odd, "a", "b")
    with relaying(sandbox.endpoint_url) as relay:
        items = [("a", None), (odd, None), ("b", None)]
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", f"DELETE {odd}"]
        assert keys(relay.asked[0]) == ["a", "b"]
    assert names(s3, bucket) == []


@pytest.mark.parametrize("name", ["<&>\"'", "a]]>b", "ä/😀", "a  b", "a/./b", "\x7f"])
def test_any_other_name_goes_along(name: str, bucket: str, s3: Any) -> None:
    """Names that XML escapes are deleted in a batch."""
    put(s3, bucket, name, "other")
    assert delete_batch(connect().client, bucket, [(name, None)]) == [None]
    assert names(s3, bucket) == ["other"]


def test_a_name_that_is_there_twice(sandbox: Running, bucket: str, s3: Any) -> None:
    """The second of two equal names is deleted singly: a reply would not distinguish them."""
    (item,) = etags(s3, bucket, "a")
    with relaying(sandbox.endpoint_url) as relay:
        errors = delete_batch(client_of(relay), bucket, [item, ("b", None), item])
        assert told(relay) == ["POST", "DELETE a"]
    assert errors == [None] * 3


def test_an_empty_name_harms_no_other(bucket: str, s3: Any) -> None:
    """An empty name is an error of its own; the other objects are deleted."""
    put(s3, bucket, "a")
    empty, other = delete_batch(connect().client, bucket, [("", None), ("a", None)])
    assert empty is not None
    assert other is None
    assert names(s3, bucket) == []


# --- Objects that have changed -----------------------------------------------------------------


def test_what_was_replaced_is_a_conflict_and_stays(bucket: str, s3: Any) -> None:
    """A replaced object is a conflict and stays; the other objects are deleted."""
    items = etags(s3, bucket, *NAMES)
    s3.put_object(Bucket=bucket, Key="b", Body=b"theirs")
    first, second, third = delete_batch(connect().client, bucket, items)
    assert (first, third) == (None, None)
    assert isinstance(second, ConflictError)
    assert f"s3://{bucket}/b" in str(second)
    assert stored(s3, bucket, "b") == b"theirs"
    assert names(s3, bucket) == ["b"]


@pytest.mark.parametrize("where", ["bucket", "versioned_bucket"])
def test_what_is_gone_already_is_a_success(
    where: str, s3: Any, request: pytest.FixtureRequest
) -> None:
    """A deleted object and a delete marker count as a success."""
    bucket = request.getfixturevalue(where)
    items = etags(s3, bucket, *NAMES)
    s3.delete_object(Bucket=bucket, Key="b")
    assert delete_batch(connect().client, bucket, items) == [None] * 3


@pytest.mark.parametrize("now", ["marker", "same", "theirs"])
def test_a_failed_condition_is_looked_at(
    now: str, sandbox: Running, versioned_bucket: str, s3: Any
) -> None:
    """After a failed condition a HEAD shows whether the object is gone, the same or replaced."""
    bucket = versioned_bucket
    items = etags(s3, bucket, *NAMES)
    if now == "marker":
        s3.delete_object(Bucket=bucket, Key="b")
    elif now == "theirs":
        s3.put_object(Bucket=bucket, Key="b", Body=b"theirs")
    with relaying(sandbox.endpoint_url, once(failing("PreconditionFailed", "b"))) as relay:
        first, second, third = delete_batch(client_of(relay), bucket, items)
        requests = told(relay)
    assert (first, third) == (None, None)
    assert isinstance(second, ConflictError) == (now == "theirs")
    assert requests == ["POST", "HEAD b", *(["DELETE b"] if now == "same" else [])]
    assert names(s3, bucket) == (["b"] if now == "theirs" else [])


# --- Replies that break off, or lack a name ----------------------------------------------------


def test_a_key_that_the_reply_lacks_is_asked_for_again(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the reply lacks a name and a HEAD finds the object, a single delete follows."""
    items = etags(s3, bucket, *NAMES)
    spoil = once(lambda asked, forward: forward(without(asked, ["b"])))
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", "HEAD b", "DELETE b"]
        assert relay.asked[2].headers["if-match"] == items[1][1]
    assert names(s3, bucket) == []


@pytest.mark.parametrize("etag", [True, False])
def test_a_key_that_the_reply_lacks_may_be_gone(
    sandbox: Running, bucket: str, s3: Any, *, etag: bool
) -> None:
    """If the reply lacks a name and the object is gone, no second delete is sent."""
    items = [(name, tag if etag else None) for name, tag in etags(s3, bucket, *NAMES)]

    def spoil(_: Asked, forward: Forward) -> Answer:
        answer = forward()
        answer.body, count = re.subn(b"<Deleted><Key>b</Key></Deleted>", b"", answer.body)
        assert count == 1
        del answer.headers["content-length"]
        return answer

    with relaying(sandbox.endpoint_url, once(spoil)) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", "HEAD b"]


def _cut(forward: Forward, how: str) -> Answer:
    if how == "before-sending":
        raise ConnectionError
    answer = forward()
    if how == "before-the-reply":
        raise ConnectionError
    if how == "internal-error":
        return Answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
    answer.cut = {"after-the-headers": 0, "within-the-body": len(answer.body) // 2}[how]
    answer.headers.setdefault("content-length", str(len(answer.body)))
    return answer


HOW = (
    "before-sending",
    "before-the-reply",
    "after-the-headers",
    "within-the-body",
    "internal-error",
)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("how", HOW)
def test_a_broken_reply_loses_nothing(
    how: str, workers: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """After a broken reply each object is checked, and deleted only if it still exists."""
    items = [*etags(s3, bucket, *NAMES), ("d", None)]
    put(s3, bucket, "d", "other")
    spoil = once(lambda _, forward: _cut(forward, how))
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert delete_batch(client_of(relay), bucket, items, workers=workers) == [None] * 4
        requests = told(relay)
    repeated = [f"DELETE {name}" for name in "abcd"] if how == "before-sending" else []
    looked = [f"HEAD {name}" for name in "abcd"]
    assert sorted(requests) == sorted(["POST", *looked, *repeated])
    assert names(s3, bucket) == ["other"]


@pytest.mark.parametrize("how", ["before-the-reply", "within-the-body"])
def test_what_came_after_a_broken_reply_is_kept(
    how: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """An object that another writer stored after the batch is kept, and is a conflict."""
    items = etags(s3, bucket, *NAMES)

    def spoil(_: Asked, forward: Forward) -> Answer:
        answer = forward()
        s3.put_object(Bucket=bucket, Key="b", Body=b"theirs")
        return _cut(lambda: answer, how)

    with relaying(sandbox.endpoint_url, once(spoil)) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
    assert [type(error) for error in errors] == [type(None), ConflictError, type(None)]
    assert stored(s3, bucket, "b") == b"theirs"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<DeleteResult/>",
        b"<DeleteResult><Deleted/></DeleteResult>",
        b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key></Error></DeleteResult>",
        b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Ke",
        b"<Other/>",
        b"{}",
    ],
)
def test_half_a_reply_proves_nothing(body: bytes, sandbox: Running, bucket: str, s3: Any) -> None:
    """If a reply is incomplete and no object was deleted, each object is deleted singly."""
    items = etags(s3, bucket, *NAMES)
    answer = Answer(200, {"content-type": "application/xml"}, body)
    with relaying(sandbox.endpoint_url, once(lambda *_: answer)) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay).count("POST") == 1
    assert names(s3, bucket) == []


def test_an_object_that_nobody_may_look_at_is_deleted(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """A HEAD without the customer key gets 400, so the object is deleted by its ETag alone."""
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"data", **ssec())["ETag"]
    spoil = once(lambda _, forward: _cut(forward, "before-sending"))
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert delete_batch(client_of(relay), bucket, [("a", etag)]) == [None]
        assert told(relay)[-1] == "DELETE a"
        assert relay.asked[-1].headers["if-match"] == etag
    assert names(s3, bucket) == []


def test_a_service_that_fails_for_good_is_not_asked_for_each(
    sandbox: Running, bucket: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three failing objects in a row the remaining objects are reported as unknown."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0")
    items = etags(s3, bucket, *"abcdefgh")
    with relaying(sandbox.endpoint_url, refusing(500, "InternalError")) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
        assert told(relay) == ["POST", "HEAD a", "HEAD b", "HEAD c"]
    # The reply to a HEAD request has no body, so it has no error code.
    assert codes(errors) == ["500"] * 8
    for (name, _), error in zip(items[3:], errors[3:], strict=True):
        assert f"s3://{bucket}/{name}: skipped" in str(error)
        assert "not known" in str(error)
    assert names(s3, bucket) == list("abcdefgh")


def test_one_object_that_always_fails_keeps_no_other(
    sandbox: Running, bucket: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects that always fail do not stop the deletion of the other objects."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0")
    items = etags(s3, bucket, *"abcdefgh")

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if is_batch(asked) or keys(asked)[0] in "bdfh":
            return Answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
    assert codes(errors) == [None, "500"] * 4
    assert names(s3, bucket) == list("bdfh")


# --- Refusals ----------------------------------------------------------------------------------


def test_a_refusal_is_its_objects_own(bucket: str, s3: Any) -> None:
    """A refused object has the service's code, and a hint about the missing permission."""
    put(s3, bucket, "other")
    items = etags(s3, bucket, "a", "kept/b", "kept/c")
    deny_deletes(s3, bucket, "kept/*")
    first, second, third = delete_batch(connect().client, bucket, [*items[:2], ("kept/c", None)])
    assert first is None
    assert isinstance(second, StorageError)
    assert isinstance(third, StorageError)
    assert (second.code, third.code) == ("AccessDenied", "AccessDenied")
    assert f"s3://{bucket}/kept/b: access denied" in str(second)
    assert "s3:GetObject" in str(second.hint)
    assert "s3:GetObject" not in str(third.hint)
    assert second.__cause__ is not None
    assert names(s3, bucket) == ["kept/b", "kept/c", "other"]


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (400, "ExpiredToken"), (404, "NoSuchBucket")]
)
def test_a_refusal_of_all_is_asked_for_once(
    status: int, code: str, sandbox: Running, bucket: str
) -> None:
    """If the batch is refused, no other request is made, and each object has its own error."""
    items = [(name, None) for name in NAMES]
    with relaying(sandbox.endpoint_url, refusing(status, code)) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
        assert told(relay) == ["POST"]
    assert codes(errors) == [code] * 3
    assert [str(error).partition(": ")[0] for error in errors] == [
        f"s3://{bucket}/{name}" for name in NAMES
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (501, "NotImplemented"),
        (501, ""),
        (405, "MethodNotAllowed"),
        (405, ""),
        (400, "MissingContentMD5"),
        (400, "InvalidRequest"),
        (400, "MalformedXML"),
    ],
)
def test_a_service_without_delete_objects_is_asked_singly(
    status: int, code: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """Without DeleteObjects each object is deleted by its own request, with its ETag."""
    items = [*etags(s3, bucket, *NAMES), ("d", None)]
    put(s3, bucket, "d")
    s3.put_object(Bucket=bucket, Key="b", Body=b"theirs")

    def spoil(asked: Asked, forward: Forward) -> Answer:
        return refusing(status, code)(asked, forward) if is_batch(asked) else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
        assert told(relay) == ["POST", *(f"DELETE {name}" for name in "abcd")]
        sent = [asked.headers.get("if-match") for asked in relay.asked[1:]]
    assert sent == [etag for _, etag in items]
    assert codes(errors) == [None, "PreconditionFailed", None, None]
    assert stored(s3, bucket, "b") == b"theirs"


def test_a_service_that_refuses_etags_keeps_the_condition(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the service refuses ETags, a HEAD precedes each deletion and compares the ETag."""
    items = etags(s3, bucket, *NAMES)
    s3.put_object(Bucket=bucket, Key="b", Body=b"theirs")

    def spoil(asked: Asked, forward: Forward) -> Answer:
        if b"<ETag>" in asked.body or "if-match" in asked.headers:
            return refusing(501, "NotImplemented")(asked, forward)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
    assert [type(error) for error in errors] == [type(None), ConflictError, type(None)]
    assert names(s3, bucket) == ["b"]


def test_a_key_that_a_service_refuses_together_goes_singly(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the service refuses one name in a batch, a single delete follows without a HEAD."""
    items = etags(s3, bucket, *NAMES)
    with relaying(sandbox.endpoint_url, once(failing("NotImplemented", "b"))) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", "DELETE b"]


# --- Temporary failures ------------------------------------------------------------------------


def test_throttled_keys_are_asked_for_again_together(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """Throttled names were not deleted, so a second batch contains only these names."""
    items = etags(s3, bucket, *"abcd")
    with relaying(sandbox.endpoint_url, once(failing("SlowDown", "b", "d"))) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 4
        assert [keys(asked) for asked in relay.asked] == [list("abcd"), ["b", "d"]]
    assert names(s3, bucket) == []


@pytest.mark.parametrize("code", ["InternalError", "ServiceUnavailable", "OperationAborted"])
def test_keys_that_failed_in_passing_are_looked_at(
    code: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """After an internal error an object may be deleted, so a HEAD precedes the next delete."""
    items = etags(s3, bucket, *NAMES)
    with relaying(sandbox.endpoint_url, once(failing(code, "b"))) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", "HEAD b", "DELETE b"]
    assert names(s3, bucket) == []


def test_keys_that_stay_throttled_are_errors(
    sandbox: Running, bucket: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that stay throttled are errors after the last attempt; other names are deleted."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "60")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    items = etags(s3, bucket, *NAMES)
    with relaying(sandbox.endpoint_url, failing("SlowDown", "b")) as relay:
        errors = delete_batch(client_of(relay), bucket, items)
        assert told(relay) == ["POST"] * 5
    assert codes(errors) == [None, "SlowDown", None]
    assert re.match(rf"s3://{bucket}/b: SlowDown.*\(5 attempts in ", str(errors[1]))
    assert names(s3, bucket) == ["b"]


def test_a_client_that_was_given_repeats_throttled_keys(
    sandbox: Running, bucket: str, s3: Any, session: Any
) -> None:
    """Throttled names are also repeated with a client of the caller, although botocore does not."""
    items = etags(s3, bucket, *NAMES)
    with relaying(sandbox.endpoint_url, once(failing("SlowDown", "b"))) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        assert delete_batch(S3Crypt(client=client).client, bucket, items) == [None] * 3
        assert told(relay) == ["POST", "POST"]


def test_a_throttled_batch_is_repeated(sandbox: Running, bucket: str, s3: Any) -> None:
    """A throttled batch had no effect, so it is repeated without a HEAD."""
    items = etags(s3, bucket, *NAMES)
    with relaying(sandbox.endpoint_url, once(refusing(503, "SlowDown"))) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
        assert told(relay) == ["POST", "POST"]


# --- Logs --------------------------------------------------------------------------------------


def test_what_goes_singly_is_logged(
    sandbox: Running, bucket: str, s3: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many objects are deleted singly, and why."""
    items = etags(s3, bucket, *NAMES)
    caplog.set_level(logging.INFO, "s3crypt.objects.deleting")
    assert delete_batch(connect().client, bucket, items) == [None] * 3
    assert caplog.messages == []
    spoil = once(refusing(501, "NotImplemented"))
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert delete_batch(client_of(relay), bucket, items) == [None] * 3
    (message,) = (m for m in caplog.messages if "singly" in m)
    assert message.startswith(f"s3://{bucket}: 3 objects are deleted singly (NotImplemented")
