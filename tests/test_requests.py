# SPDX-License-Identifier: Apache-2.0
"""Unreliable connections: which requests are retried, for how long, and which replies count."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Literal

import boto3
import pytest
from botocore.config import Config
from relay import Answer, Asked, relaying
from samples import PART, aes, connect, make_mode, names, payload, stored

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    KeyUnavailableError,
    KMSKeyring,
    S3Crypt,
    S3CryptError,
    StorageError,
)
from s3crypt.aws import Clients, config_of
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay import Relay

    from s3crypt.sandbox import Running

# The places at which a connection breaks. They decide how much of the reply arrives.
BREAKS = ("before-sending", "before-the-reply", "after-the-headers", "within-the-body")


_KINDS: dict[str, Callable[[Asked], bool]] = {
    "put": lambda a: a.method == "PUT" and not a.query and "x-amz-copy-source" not in a.headers,
    "copy": lambda a: a.method == "PUT" and "x-amz-copy-source" in a.headers,
    "create": lambda a: a.method == "POST" and "uploads" in a.query,
    "part": lambda a: a.is_part,
    "complete": lambda a: a.method == "POST" and "uploadId" in a.query,
    "list": lambda a: a.method == "GET" and "list-type" in a.query,
    "tags": lambda a: a.method == "GET" and "tagging" in a.query,
    "head": lambda a: a.method == "HEAD",
    "delete": lambda a: a.method == "DELETE",
}


def broken(forward: Callable[[], Answer], how: str) -> Answer:
    """Return a reply that breaks off at the place `how`, after or without the request's effect."""
    if how == "before-sending":
        raise ConnectionError
    answer = forward()
    if how == "before-the-reply":
        raise ConnectionError
    if how == "within-the-body":
        answer.cut = max(0, len(answer.body) // 2)
    else:
        answer.cut = 0
        # The reply announces its whole length, so a client could notice the cut. botocore does not
        # check the length.
        answer.headers.setdefault("content-length", str(len(answer.body)))
    return answer


class _Breaking:
    """A relay function that breaks the first replies to one kind of request."""

    def __init__(self, kind: str, how: str, times: int = 1) -> None:
        self.kind, self.how, self.times, self.count = kind, how, times, 0

    def __call__(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if _KINDS[self.kind](asked) and self.count < self.times:
            self.count += 1
            return broken(forward, self.how)
        return forward()


def _store(relay: Relay, mode: Any = None) -> S3Crypt:
    return connect(mode, endpoint_url=relay.url)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("kind", ["put", "create", "part", "complete"])
@pytest.mark.parametrize("mode", ["sse-kms", "client-header"])
def test_a_put_outlives_a_broken_reply(
    kind: str, how: str, mode: str, sandbox: Running, bucket: str, kms_key: str
) -> None:
    """If the reply to a put breaks off, the put ends with the whole object stored."""
    size = 1000 if kind == "put" else PART + 70_000
    breaking = _Breaking(kind, how)
    with relaying(sandbox.endpoint_url, breaking) as relay:
        store = _store(relay, make_mode(mode, kms_key))
        info = store.put(payload(size), f"s3://{bucket}/x")
        assert store.read(f"s3://{bucket}/x") == payload(size)
    assert breaking.count == 1
    assert info.etag == connect(make_mode(mode, kms_key)).head(f"s3://{bucket}/x").etag


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("mode", ["sse-kms", "client-metadata"])
def test_a_rotation_inside_s3_is_done_when_it_says_so(
    how: str, mode: str, sandbox: Running, bucket: str, kms_key: str, kms: Any
) -> None:
    """If the reply to a copy is cut to an empty 200, the rotation does not take it for success."""
    uri = f"s3://{bucket}/x"
    other = kms.create_key()["KeyMetadata"]["Arn"]
    old, new = make_mode(mode, kms_key), make_mode(mode, other)
    connect(old).put(b"only copy", uri)
    with relaying(sandbox.endpoint_url, _Breaking("copy", how)) as relay:
        (outcome,) = _store(relay, old).rotate(uri, to=new)
    assert outcome.action in ("copied", "rewrapped")
    assert connect(new).read(uri) == b"only copy"


def test_a_copy_that_never_answers_is_not_known(
    sandbox: Running, bucket: str, kms_key: str
) -> None:
    """If every reply to a copy breaks off, the error says that its effect is unknown."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"only copy", uri)
    with relaying(sandbox.endpoint_url, _Breaking("copy", "before-sending", 10**6)) as relay:
        store = _store(relay, SSES3())
        with pytest.raises(StorageError, match="not known whether it was done"):
            store.rotate(uri, to=SSEKMS(kms_key))
    assert connect(SSES3()).read(uri) == b"only copy"


@pytest.mark.parametrize("how", BREAKS)
def test_a_listing_ends_where_it_says_so(how: str, sandbox: Running, bucket: str, s3: Any) -> None:
    """A page of a listing that breaks off is requested again, not taken for an empty last page."""
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"x")
    with relaying(sandbox.endpoint_url, _Breaking("list", how)) as relay:
        listed = [item.uri for item in _store(relay).list(f"s3://{bucket}/")]
    assert listed == [f"s3://{bucket}/{number}" for number in range(3)]


def test_a_listing_that_always_breaks_is_an_error(sandbox: Running, bucket: str, s3: Any) -> None:
    """If every page of a listing breaks off, listing and rotation fail."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    with relaying(sandbox.endpoint_url, _Breaking("list", "after-the-headers", 10**6)) as relay:
        with pytest.raises(StorageError, match="attempts in"):
            list(_store(relay).list(f"s3://{bucket}/"))
        with pytest.raises(StorageError, match="attempts in"):
            _store(relay).rotate(f"s3://{bucket}/", to=SSES3())


def test_a_page_that_repeats_itself_is_an_error(sandbox: Running, bucket: str) -> None:
    """A listing with the same continuation token twice is an error, not an endless loop."""
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    )
    answer = Answer(200, {"content-type": "application/xml"}, page.encode())
    with (
        relaying(sandbox.endpoint_url, lambda *_: answer) as relay,
        pytest.raises(StorageError, match="the listing is incomplete"),
    ):
        list(_store(relay).list(f"s3://{bucket}/"))


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("kind", ["head", "tags", "delete"])
def test_small_requests_outlive_a_broken_reply(
    kind: str, how: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """HEAD, tags and DELETE are retried after a broken reply, and have the right result."""
    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"data", uri, tags={"a": "b"})
    with relaying(sandbox.endpoint_url, _Breaking(kind, how)) as relay:
        store = _store(relay, SSES3())
        if kind == "head":
            assert store.head(uri).size == 4
        elif kind == "tags":
            store.rotate(uri, to=ClientSide(aes()))
            tags = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
            assert tags == [{"Key": "a", "Value": "b"}]
        else:
            store.delete(uri)
            assert names(s3, bucket) == []


_LIES = {
    "not-xml": b"{}",
    "half-xml": b"<ListBucketResult><IsTruncated>tr",
    "another-document": b"<Other/>",
    "a-number-that-is-none": b"<R><IsTruncated>false</IsTruncated><KeyCount>x</KeyCount></R>",
    "a-date-that-is-none": (
        b"<R><IsTruncated>false</IsTruncated><Contents><Key>x</Key><LastModified>then"
        b"</LastModified></Contents></R>"
    ),
    "deeply-nested": b"<R>" * 3000 + b"</R>" * 3000,
}


@pytest.mark.parametrize("lie", _LIES)
def test_what_no_service_sends_is_our_error(lie: str, sandbox: Running, bucket: str) -> None:
    """A malformed reply of S3 raises an S3CryptError, never a ValueError or a parser's error."""
    answer = Answer(200, {"content-type": "application/xml"}, _LIES[lie])
    with relaying(sandbox.endpoint_url, lambda *_: answer) as relay:
        for use in (
            lambda store: list(store.list(f"s3://{bucket}/")),
            lambda store: store.read(f"s3://{bucket}/x"),
            lambda store: store.put(b"data", f"s3://{bucket}/x"),
            lambda store: store.rotate(f"s3://{bucket}/x", to=SSES3()),
        ):
            with pytest.raises(S3CryptError):
                use(_store(relay, SSEC(bytes(32))))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{", b'{"KeyMetadata": 1}', b"null"])
def test_half_a_reply_of_kms_is_our_error(body: bytes, sandbox: Running) -> None:
    """A cut reply of KMS raises an S3CryptError, for a keyring and for a key manager."""
    answer = Answer(200, {"content-type": "application/x-amz-json-1.1"}, body)
    with relaying(sandbox.endpoint_url, lambda *_: answer) as relay:
        client = boto3.client("kms", endpoint_url=relay.url)
        keyring, manager = KMSKeyring("alias/a", client=client), KeyManager(client=client)
        for use in (
            lambda: keyring.generate(32, {}),
            lambda: keyring.wrap(bytes(32), {}),
            lambda: keyring.arn,
            lambda: manager.show("alias/a"),
            lambda: list(manager.list()),
            manager.create,
            lambda: manager.rotate("alias/a"),
        ):
            with pytest.raises(S3CryptError):
                use()


def test_a_key_is_not_created_twice(sandbox: Running) -> None:
    """CreateKey is not retried after a lost reply: a retry might create a second key."""
    asked_for: list[str] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        asked_for.append(asked.headers["x-amz-target"].partition(".")[2])
        if asked_for[-1] == "CreateKey":
            forward()
            raise ConnectionError
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        manager = KeyManager(client=_ours("kms", relay))
        with pytest.raises(KeyUnavailableError, match="not known whether it was done"):
            manager.create()
    assert asked_for.count("CreateKey") == 1


def _ours(service: Literal["s3", "kms"], relay: Relay) -> Any:
    """Return a client of the relay, made as the library makes its clients."""
    clients: Clients[Any] = Clients(service, endpoint_url=relay.url)
    return clients.get()


def _down_for(seconds: float) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a relay function that breaks all connections for `seconds` from the first request."""
    until: list[float] = []

    def spoil(_: Asked, forward: Callable[[], Answer]) -> Answer:
        until.append(time.monotonic() + seconds)
        if time.monotonic() < until[0]:
            raise ConnectionError
        return forward()

    return spoil


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_an_outage_of_a_second_ends_nothing(
    mode: Any, sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of one second, put, get, list and delete succeed."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "20")
    uri, size = f"s3://{bucket}/x", PART + 70_000
    with relaying(sandbox.endpoint_url) as relay:
        store = _store(relay, mode)
        store.put(b"first", uri)
        for use in (
            lambda: store.put(payload(size), uri),
            lambda: store.read(uri) == payload(size),
            lambda: [item.uri for item in store.list(f"s3://{bucket}/")] == [uri],
        ):
            relay.spoil = _down_for(1.0)
            assert use()
        relay.spoil = _down_for(1.0)
        store.delete(uri)


def test_five_times_503_on_one_part_ends_nothing(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one part gets five replies of 503, the upload still succeeds with the same bytes."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "20")
    refused: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.query.get("partNumber") == "2" and len(refused) < 5:
            refused.append(asked)
            return Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store(relay, ClientSide(aes()))
        store.put(payload(2 * PART), f"s3://{bucket}/x")
        assert store.read(f"s3://{bucket}/x") == payload(2 * PART)
    assert len({asked.body for asked in refused}) == 1


def test_a_name_that_nobody_answers_to_is_told_in_seconds(bucket: str) -> None:
    """If an address never answers, a request fails after three attempts and within two seconds."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = S3Crypt(SSES3(), endpoint_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"Could not reach .*\(3 attempts in"):
            store.read(f"s3://{bucket}/x")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_MAX_ATTEMPTS", "2"), ("S3CRYPT_RETRY_SECONDS", "0")]
)
def test_attempts_are_as_many_as_was_set(
    name: str, value: str, sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_MAX_ATTEMPTS limits all attempts. A retry time of 0 s allows only the first attempt."""
    monkeypatch.setenv(name, value)
    overloaded = Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
    with relaying(sandbox.endpoint_url, lambda *_: overloaded) as relay:
        with pytest.raises(StorageError) as caught:
            _store(relay, SSES3()).delete(f"s3://{bucket}/x")
        assert len(relay.asked) == (2 if value == "2" else 1)
    assert ("(2 attempts in" in str(caught.value)) == (value == "2")


def test_reading_on_after_the_first_reply_is_no_repetition(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching the rest of a large object is no retry: it works with a retry time of 0 s."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0")
    store, uri, size = connect(SSES3()), f"s3://{bucket}/x", PART + 70_000
    store.put(payload(size), uri)
    assert store.read(uri) == payload(size)


def test_the_retry_mode_is_botocores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The retry mode `adaptive` is passed on to botocore, which then paces the requests."""
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    retries = config_of(S3Crypt().client).retries
    assert (retries["mode"], retries["total_max_attempts"]) == ("adaptive", 1)


def test_a_client_of_the_callers_retries_by_itself(sandbox: Running, bucket: str) -> None:
    """A client that the caller passes retries as it is configured; the library adds no retry."""
    overloaded = Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
    retries: Any = {"mode": "standard", "total_max_attempts": 2}
    with relaying(sandbox.endpoint_url, lambda *_: overloaded) as relay:
        client = boto3.client("s3", endpoint_url=relay.url, config=Config(retries=retries))
        with pytest.raises(StorageError):
            S3Crypt(SSES3(), client=client).delete(f"s3://{bucket}/x")
        assert [asked.method for asked in relay.asked].count("DELETE") == 2


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("S3CRYPT_CONNECT_TIMEOUT", "connect_timeout"), ("S3CRYPT_READ_TIMEOUT", "read_timeout")],
)
def test_timeouts_can_be_set(name: str, attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each timeout can be set in seconds by its environment variable; other values are refused."""
    monkeypatch.setenv(name, "7.5")
    assert getattr(S3Crypt().client.meta.config, attribute) == 7.5
    monkeypatch.setenv(name, "soon")
    with pytest.raises(ConfigError, match=name):
        _ = S3Crypt().client


def test_an_interrupt_ends_a_pause(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the pause before a retry at once, in any thread."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "60")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.is_part:
            return Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store(relay, ClientSide(aes()))
        # The process that runs the tests may ignore SIGINT, so the usual handler is set.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        main = threading.get_ident()
        timer = threading.Timer(3.0, lambda: signal.pthread_kill(main, signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            store.put(payload(2 * PART), f"s3://{bucket}/x")
        assert time.monotonic() - began < 6
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_botocore_and_kms_are_asked_again(
    sandbox: Running, bucket: str, kms_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request for a data key is retried while KMS throttles it, here four times."""
    throttled: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if len(throttled) < 4:
            throttled.append(asked)
            body = b'{"__type":"ThrottlingException","message":"Rate exceeded"}'
            return Answer(400, {"content-type": "application/x-amz-json-1.1"}, body)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", relay.url)
        store = S3Crypt(ClientSide(KMSKeyring(kms_key)))
        store.put(b"data", f"s3://{bucket}/x")
    assert len(throttled) == 4


def test_wrong_bytes_of_a_broken_reply_are_never_stored(
    sandbox: Running, bucket: str, s3: Any
) -> None:
    """If every reply to a put breaks off, the object is stored but the put says "not known"."""
    with (
        relaying(sandbox.endpoint_url, _Breaking("put", "before-the-reply", 10**6)) as relay,
        pytest.raises(StorageError, match="not known whether it was done"),
    ):
        _store(relay, SSES3()).put(b"data", f"s3://{bucket}/x")
    assert stored(s3, bucket, "x") == b"data"


@pytest.mark.parametrize("kind", ["put", "part", "head"])
def test_half_an_etag_proves_nothing(kind: str, sandbox: Running, bucket: str) -> None:
    """A reply whose ETag was cut is incomplete, so the request is made again."""
    cut: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if _KINDS[kind](asked) and not cut:
            cut.append(asked)
            answer.headers["etag"] = answer.headers["etag"][:5]
        return answer

    size = 1000 if kind == "put" else PART + 70_000
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store(relay, SSES3())
        store.put(payload(size), f"s3://{bucket}/x")
        assert store.head(f"s3://{bucket}/x").size == size
    assert cut
    assert connect(SSES3()).read(f"s3://{bucket}/x") == payload(size)


@pytest.mark.parametrize("kind", ["put", "part", "complete", "copy", "list"])
def test_a_refusal_without_its_code_is_asked_for_again(
    kind: str, sandbox: Running, bucket: str, kms_key: str
) -> None:
    """A status 400 without a body has no error code, so the request is made again."""
    cut: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if _KINDS[kind](asked) and not cut:
            cut.append(asked)
            return Answer(400)
        return forward()

    uri = f"s3://{bucket}/x"
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store(relay, SSES3())
        store.put(payload(1000 if kind == "put" else PART + 70_000), uri)
        assert [item.uri for item in store.list(f"s3://{bucket}/")] == [uri]
        store.rotate(uri, to=SSEKMS(kms_key))
    assert cut
    assert connect().inspect(uri).mode == "sse-kms"


def test_half_a_region_is_a_broken_reply(sandbox: Running, bucket: str) -> None:
    """A Region name from a header that was cut is not used. The request is made again."""
    cut: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "HEAD" and not cut:
            cut.append(asked)
            return Answer(400, {"x-amz-bucket-region": "us-east-"})
        return forward()

    connect(SSES3()).put(b"data", f"s3://{bucket}/x")
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert _store(relay, SSES3()).head(f"s3://{bucket}/x").size == 4
    assert cut


def test_an_alias_whose_reply_was_lost_is_the_keys(sandbox: Running) -> None:
    """If the reply to CreateAlias is lost, the retry finds the alias, and the call succeeds."""
    lost: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.headers["x-amz-target"].endswith("CreateAlias") and not lost:
            lost.append(asked)
            raise ConnectionError
        return answer

    alias = f"alias/{uuid.uuid4()}"
    with relaying(sandbox.endpoint_url, spoil) as relay:
        key = KeyManager(client=_ours("kms", relay)).create(alias=alias)
    assert lost
    assert key.aliases == (alias,)


@pytest.mark.parametrize("verb", ["mkdir", "rmdir"])
def test_a_bucket_whose_reply_was_lost_is_made_or_gone(
    verb: str, sandbox: Running, s3: Any
) -> None:
    """If the reply to creating or deleting a bucket is lost, the retry succeeds."""
    lost: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == ("PUT" if verb == "mkdir" else "DELETE") and not lost:
            lost.append(asked)
            raise ConnectionError
        return answer

    bucket = f"bucket-{uuid.uuid4()}"
    if verb == "rmdir":
        s3.create_bucket(Bucket=bucket)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        getattr(S3CryptFileSystem(endpoint_url=relay.url), verb)(bucket)
    assert lost
    there = {found["Name"] for found in s3.list_buckets()["Buckets"]}
    assert (bucket in there) == (verb == "mkdir")


# For each case: which requests are changed, the field that is removed, and the call that reads the
# list.
_ENTRIES: dict[str, tuple[Callable[[Asked], bool], str, Callable[[S3Crypt, str], Any]]] = {
    f"list-{field}": (_KINDS["list"], field, lambda store, uri: [*store.list(uri)])
    for field in ("Key", "Size", "ETag", "LastModified")
} | {
    "tags-Key": (_KINDS["tags"], "Key", lambda store, uri: store.rotate(uri, to=SSES3())),
    "tags-Value": (_KINDS["tags"], "Value", lambda store, uri: store.rotate(uri, to=SSES3())),
}


def _lacking(field: str, forward: Callable[[], Answer], *, within: str) -> Answer:
    """Return an XML reply whose first entry `within` lacks this field."""
    answer = forward()
    pattern = f"(<{within}>.*?)<{field}>.*?</{field}>"
    answer.body, count = re.subn(pattern.encode(), rb"\1", answer.body, count=1, flags=re.DOTALL)
    assert count == 1, answer.body
    del answer.headers["content-length"]
    return answer


@pytest.mark.parametrize("case", _ENTRIES)
def test_an_entry_that_lacks_a_field_is_a_broken_reply(
    case: str, sandbox: Running, bucket: str
) -> None:
    """A list of S3 with an entry that lacks a field is requested again.

    If every reply lacks the field, the call raises an S3CryptError.
    """
    is_asked, field, use = _ENTRIES[case]
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes())).put(b"data", uri, tags={"a": "b", "c": ""})
    spoiled: list[Asked] = []
    most = 10**6

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if is_asked(asked) and len(spoiled) < most:
            within = "Contents" if is_asked is _KINDS["list"] else "TagSet"
            answer = _lacking(field, forward, within=within)
            spoiled.append(asked)
            return answer
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = _store(relay, ClientSide(aes()))
        with pytest.raises(StorageError, match="attempts in"):
            use(store, uri)
        most = len(spoiled) + 1
        use(store, uri)
    assert len(spoiled) == most


@pytest.mark.parametrize("field", ["Key", "Size", "ETag", "LastModified", "Prefix", "Name"])
def test_a_filesystem_lists_no_entry_that_lacks_a_field(
    field: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """The file system requests a page again if a directory, bucket or object lacks a field."""
    within = {"Prefix": "CommonPrefixes", "Name": "Bucket"}.get(field, "Contents")
    for name in ("d/x", "y"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    spoiled: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if (
            not spoiled
            and asked.method == "GET"
            and ("list-type" in asked.query or field == "Name")
        ):
            answer = _lacking(field, forward, within=within)
            spoiled.append(asked)
            return answer
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        fs = S3CryptFileSystem(SSES3(), endpoint_url=relay.url, skip_instance_cache=True)
        listed = fs.ls("" if field == "Name" else bucket, detail=False)
    assert set(listed) >= ({bucket} if field == "Name" else {f"{bucket}/d", f"{bucket}/y"})
    assert len(spoiled) == 1


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ("ListAliases", "AliasName"),
        ("ListKeys", "KeyArn"),
        ("ListKeys", "KeyId"),
        ("ListResourceTags", "TagKey"),
        ("ListResourceTags", "TagValue"),
    ],
)
def test_an_entry_of_kms_that_lacks_a_field_is_a_broken_reply(
    operation: str, field: str, sandbox: Running, kms: Any
) -> None:
    """A list of aliases, keys or tags with an entry that lacks a field is requested again."""
    key = kms.create_key(Tags=[{"TagKey": "a", "TagValue": ""}])["KeyMetadata"]["Arn"]
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    spoiled: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if not spoiled and asked.headers["x-amz-target"].endswith(f".{operation}"):
            spoiled.append(asked)
            reply = json.loads(answer.body)
            del reply[operation.removeprefix("List").removeprefix("Resource")][0][field]
            answer.body = json.dumps(reply).encode()
            del answer.headers["content-length"]
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        manager = KeyManager(client=_ours("kms", relay))
        if operation == "ListResourceTags":
            assert manager.show(key).tags == {"a": ""}
        else:
            (found,) = (each for each in manager.list() if each.arn == key)
            assert found.aliases == (alias,)
    assert len(spoiled) == 1
