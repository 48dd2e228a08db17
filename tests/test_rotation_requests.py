# SPDX-License-Identifier: Apache-2.0
"""The requests of a rotation: their order, parallel requests, and replies that it trusts."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from relay import Answer, Asked, Relay, relaying, serving
from samples import (
    CUSTOMER_KEY,
    PART,
    aes,
    connect,
    kms_calls,
    kms_keyring,
    make_mode,
    payload,
    stored,
)

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    ConflictError,
    IntegrityError,
    S3Crypt,
    StorageError,
)
from s3crypt.local.width import NEAR
from s3crypt.local.workers import pause, stopping
from s3crypt.rotation import mechanisms
from s3crypt.rotation.beside import beside
from s3crypt.rotation.looks import SHOWN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RequestsLog

    from s3crypt.sandbox import Running

PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
ARCHIVED = b"<Error><Code>InvalidObjectState</Code><Message>no</Message></Error>"
BESIDE = ["GetObjectTagging", "HeadObject", "ListObjectAnnotations"]
RE_ENCRYPTED = [["GetObject"], BESIDE, ["PutObject"]]


def operation(asked: Asked) -> str:
    """Return the name of the S3 operation of a request."""
    for name, found in (
        ("tagging", "GetObjectTagging"),
        ("annotation", "ListObjectAnnotations"),
        ("list-type", "ListObjectsV2"),
    ):
        if asked.method == "GET" and name in asked.query:
            return found
    if "x-amz-copy-source" in asked.headers:
        return "CopyObject"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}[asked.method]


@dataclass
class Trip:
    """A request, with its start and end times."""

    operation: str
    began: float
    ended: float = 0.0
    depth: int = 1


class Trips:
    """Groups requests into round trips. The depth of a request is the number of its round trip.

    The depth is one more than the largest depth of the requests that had ended at its start.

    Args:
        beside: Operations that should run at the same time. Each of their replies is held back
            until all of them were requested. `waited` becomes True if this takes 10 seconds.
    """

    def __init__(self, beside: list[str]) -> None:
        self._beside = beside
        self._met = threading.Event()
        self._all = threading.Barrier(len(beside) or 1, self._met.set)
        self._trips: list[Trip] = []
        self.waited = False

    def spoil(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Forward a request, and record its depth and its times."""
        trip = Trip(operation(asked), time.monotonic())
        ended = [one for one in self._trips if one.ended]
        trip.depth = 1 + max((one.depth for one in ended), default=0)
        self._trips.append(trip)
        # The first request about the object and the request for an instruction file come before the
        # parallel requests, so their replies are not held back.
        is_beside = trip.operation in self._beside and not asked.path.endswith(".instruction")
        if is_beside and ended and not self._met.is_set():
            try:
                self._all.wait(10)
            except threading.BrokenBarrierError:
                self.waited = True
        answer = forward()
        trip.ended = time.monotonic()
        return answer

    @property
    def found(self) -> list[list[str]]:
        """Return the operations, grouped by round trip."""
        depths = sorted({trip.depth for trip in self._trips})
        return [
            sorted(trip.operation for trip in self._trips if trip.depth == depth)
            for depth in depths
        ]


@contextmanager
def tracing(sandbox: Running, beside: list[str] | None = None) -> Iterator[tuple[Trips, str]]:
    """Yield a recorder of requests and the URL of the relay that records them."""
    trips = Trips(beside or [])
    with relaying(sandbox.endpoint_url, trips.spoil) as relay:
        yield trips, relay.url


def rotate(store: S3Crypt, uri: str, to: Any) -> object:
    """Rotate the object, and return the outcomes."""
    return store.rotate(uri, to=to)


def plan(store: S3Crypt, uri: str, to: Any) -> object:
    """Return the outcomes of a dry run."""
    return store.rotate(uri, to=to, dry_run=True)


def needs_rotation(store: S3Crypt, uri: str, to: Any) -> object:
    """Return whether the object needs rotation."""
    return store.needs_rotation(uri, to=to)


def threads() -> list[str]:
    """Return the names of the threads that make parallel requests."""
    return [one.name for one in threading.enumerate() if one.name == "s3crypt-beside"]


# --- Round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("aes-header", "aes-header"),
        ("aes-metadata", "aes-header"),
        ("aes-header", "aes-metadata"),
        ("client-header", "client-header"),
    ],
)
def test_a_small_object_is_re_encrypted_in_three_round_trips(
    before: str, after: str, sandbox: Running, bucket: str, key: str, requests_log: RequestsLog
) -> None:
    """Re-encrypting a small object takes three round trips to S3.

    First a GET reads the object. Then the tags, the annotations and a last check of the object are
    requested in parallel. Then a PUT writes the object.
    """
    uri, old, new = f"s3://{bucket}/x", _mode(before, key), _mode(after, key, signed=True)
    connect(old).put(payload(1000), uri, tags={"a": "b"})
    requests_log.clear()
    with tracing(sandbox, BESIDE) as (trips, url):
        (outcome,) = connect(old, endpoint_url=url).rotate(uri, to=new)
    assert outcome.action == "re-encrypted"
    assert trips.found == RE_ENCRYPTED
    assert not trips.waited
    by_kms = ["Decrypt", "GenerateDataKey"] if before == "client-header" else []
    assert kms_calls(requests_log) == by_kms
    assert threads() == []
    assert connect(new).read(uri) == payload(1000)


def _mode(name: str, key: str, *, signed: bool = False) -> ClientSide:
    """Return a client-side mode. Its key is a KMS key if `name` begins with "client", else AES."""
    _, _, location = name.partition("-")
    keyring = kms_keyring(key) if name.startswith("client") else aes()
    return ClientSide(keyring, key_location=location, signed=signed)  # type: ignore[arg-type]


# For each row of the table in docs/architecture.md: the modes before and after, and the call. If
# the name of the mode after begins with "same", the key stays the same.
ROWS: dict[tuple[str, str], tuple[str, str, Callable[[S3Crypt, str, Any], object]]] = {
    ("`needs_rotation`", "SSE modes"): ("sse-s3", "sse-kms", needs_rotation),
    ("`needs_rotation`", "client-side"): ("client-header", "client-header", needs_rotation),
    ("`rotate`, nothing to do", "SSE modes"): ("sse-kms", "same sse-kms", rotate),
    ("`rotate`, nothing to do", "client-side"): ("client-header", "same client-header", rotate),
    ("`rotate`, nothing to do, key in the metadata", "client-side"): (
        "client-metadata", "same client-metadata", rotate,
    ),
    ("`rotate`, copied", "SSE modes"): ("sse-c", "sse-kms", rotate),
    ("`rotate`, rewrapped", "client-side"): ("client-metadata", "client-metadata", rotate),
    ("`rotate`, re-encrypted as client-side", "SSE modes"): ("sse-s3", "client-header", rotate),
    ("`rotate`, re-encrypted as client-side", "client-side"): (
        "client-header", "client-header", rotate,
    ),
    ("`rotate(dry_run=True)`, to be re-encrypted", "SSE modes"): ("sse-s3", "client-header", plan),
    ("`rotate(dry_run=True)`, to be re-encrypted", "client-side"): (
        "client-header", "client-header", plan,
    ),
}  # fmt: skip


def _cells() -> dict[tuple[str, str], str]:
    """Return the table's cells about rotation, by row title and by the column's first words."""
    lines = PAGE.partition("| operation |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        (row[0], column): cell
        for row in rows
        if "rotat" in row[0] and "`copy`" not in row[0]
        for column, cell in zip(("SSE modes", "client-side"), row[1:], strict=True)
        if cell
    }


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_table_of_requests_is_true(
    row: tuple[str, str],
    sandbox: Running,
    bucket: str,
    key: str,
    new_key: str,
    requests_log: RequestsLog,
) -> None:
    """Each cell of the table has the operation's requests, their order, and the KMS calls."""
    before, after, call = ROWS[row]
    uri, old = f"s3://{bucket}/x", make_mode(before, key)
    is_same = after.startswith("same ")
    new = make_mode(after.removeprefix("same "), key if is_same else new_key)
    connect(old).put(payload(100_000), uri)
    requests_log.clear()
    trips = [trip.split(" + ") for trip in re.sub("[²⁴]", "", _cells()[row]).split(", ")]
    expected = [sorted(trip) for trip in trips if not trip[0].startswith("kms:")]
    by_kms = [trip[0].removeprefix("kms:") for trip in trips if trip[0].startswith("kms:")]
    together = max(expected, key=len)
    with tracing(sandbox, together if len(together) > 1 else []) as (found, url):
        call(connect(old, endpoint_url=url), uri, new)
    assert found.found == expected
    assert not found.waited
    assert kms_calls(requests_log) == by_kms


def test_no_row_of_the_table_is_left_out() -> None:
    """ROWS has each cell of the table about rotation, so the test above checks them all."""
    assert _cells().keys() == ROWS.keys()


@pytest.mark.parametrize("if_absent", [True, False])
def test_a_copy_is_re_encrypted_in_three_round_trips(
    if_absent: bool, sandbox: Running, bucket: str
) -> None:
    """A copy makes the same requests as a rotation, and one HEAD more with `if_absent`."""
    mode, copy = ClientSide(aes()), f"s3://{bucket}/y"
    connect(mode).put(payload(1000), f"s3://{bucket}/x")
    with tracing(sandbox, [] if if_absent else BESIDE) as (trips, url):
        store = connect(mode, endpoint_url=url)
        store.copy(f"s3://{bucket}/x", copy, if_absent=if_absent)
    operations = sorted(name for trip in trips.found for name in trip)
    assert operations == sorted(["GetObject", *BESIDE, "PutObject", *["HeadObject"] * if_absent])
    assert if_absent or trips.found == RE_ENCRYPTED
    assert connect(mode).read(copy) == payload(1000)


def test_what_is_only_planned_fetches_no_more_than_a_header(
    sandbox: Running, bucket: str, requests_log: RequestsLog
) -> None:
    """`needs_rotation` and a dry run fetch only the header of a large object."""
    uri, old, new = f"s3://{bucket}/x", ClientSide(aes()), ClientSide(aes("two"))
    connect(old).put(payload(3 * PART), uri)
    calls: list[tuple[Callable[[S3Crypt], Any], list[list[str]]]] = [
        (lambda store: store.needs_rotation(uri, to=new), [["GetObject"]]),
        (
            lambda store: store.rotate(uri, to=new, dry_run=True),
            [["GetObject"], ["ListObjectAnnotations"]],
        ),
    ]
    for call, expected in calls:
        requests_log.clear()
        with tracing(sandbox) as (trips, url):
            assert call(connect(old, endpoint_url=url))
        assert trips.found == expected
        get = requests_log.list()[0]
        assert get["headers"]["range"] == f"bytes=0-{SHOWN_LENGTH - 1}"


@pytest.mark.parametrize(("name", "first"), [("x", PART), ("", SHOWN_LENGTH)])
def test_no_byte_of_a_large_object_is_fetched_twice(
    name: str, first: int, bucket: str, requests_log: RequestsLog
) -> None:
    """A rotation of a large object uses the bytes of its first GET, and fetches only the rest."""
    uri, size = f"s3://{bucket}/x", 2 * PART + 12_345
    old, new = ClientSide(aes()), ClientSide(aes("two"))
    length = connect(old).put(payload(size), uri).stored_size
    requests_log.clear()
    connect(old).rotate(f"s3://{bucket}/{name}", to=new)
    gets = [e for e in requests_log.list() if e["method"] == "GET" and not e["query"]]
    assert [get["headers"]["range"] for get in gets] == [
        f"bytes=0-{first - 1}",
        f"bytes={first}-{length - 1}",
    ]
    assert connect(new).read(uri) == payload(size)


class _Counting(Relay):
    """A relay that counts the connections to it."""

    connections = 0

    def process_request(self, *arguments: Any) -> None:
        self.connections += 1
        super().process_request(*arguments)


def test_a_look_keeps_its_connection(sandbox: Running, bucket: str) -> None:
    """A GET that examines an object is read to its end.

    Its connection then serves more requests.
    """
    mode = ClientSide(aes())
    for name in "abcd":
        connect(mode).put(payload(50_000), f"s3://{bucket}/{name}")
    relay = _Counting(sandbox.endpoint_url, lambda _, forward: forward())
    with serving(relay):
        store = connect(mode, endpoint_url=relay.url)
        assert {o.action for o in store.rotate(f"s3://{bucket}/", to=mode)} == {"unchanged"}
        assert store.rotate(f"s3://{bucket}/", to=ClientSide(aes("two")), dry_run=True)
    assert len(relay.asked) == 1 + 4 + 1 + 4 + 4
    # Each worker needs two connections, because a GET that examines an object may still be open.
    # The listing needs another connection.
    assert relay.connections <= 2 * NEAR + 1


# --- Replies to GET ----------------------------------------------------------------------------


def test_a_get_lacks_nothing_that_a_head_has() -> None:
    """If a newer S3 returns a member by HEAD but not by GET, this test fails.

    Rotation looks at objects by GET, so such a member must be considered.
    """
    service: Any = botocore.session.get_session().get_service_model("s3")
    shown = {
        name: service.operation_model(name).output_shape.members.keys()
        for name in ("HeadObject", "GetObject")
    }
    # Only HEAD of an archived object returns ArchiveStatus; S3 refuses a GET of such an object.
    assert shown["HeadObject"] - shown["GetObject"] == {"ArchiveStatus"}
    taken = {
        name: service.operation_model(name).input_shape.members.keys()
        for name in ("HeadObject", "GetObject")
    }
    assert taken["HeadObject"] == taken["GetObject"]


def _refusing_get(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Refuse a GET as S3 does for an archived object."""
    is_body = asked.method == "GET" and asked.path.endswith("/x") and not asked.query
    return Answer(403, {}, ARCHIVED) if is_body else forward()


def test_an_archived_object_is_looked_at_by_head(sandbox: Running, bucket: str) -> None:
    """An archived object with its key in the metadata can be planned by HEAD.

    Any other archived object cannot be read: the error says that it is archived.
    """
    uri, old = f"s3://{bucket}/x", ClientSide(aes())
    kept = ClientSide(aes(), key_location="metadata")
    new = ClientSide(aes("two"), key_location="metadata")
    with relaying(sandbox.endpoint_url, _refusing_get) as relay:
        store = connect(old, endpoint_url=relay.url)
        connect(kept).put(b"plain", uri)
        assert store.rotate(uri, to=new, dry_run=True)[0].action == "rewrapped"
        connect(old).put(b"plain", uri)
        relay.asked.clear()
        with pytest.raises(StorageError, match="archived") as caught:
            store.rotate(uri, to=new)
    assert caught.value.code == "InvalidObjectState"
    assert [operation(asked) for asked in relay.asked] == ["GetObject", "HeadObject", "GetObject"]


def test_a_customer_key_goes_with_the_get(
    bucket: str, requests_log: RequestsLog, sandbox: Running
) -> None:
    """GET sends the source's customer key.

    If the object needs another customer key, a second GET sends the target's key.
    """
    uri, sse_c, client = f"s3://{bucket}/x", SSEC(CUSTOMER_KEY), ClientSide(aes())
    connect(sse_c).put(b"plain", uri)
    requests_log.clear()
    assert connect(sse_c).rotate(uri, to=client)[0].action == "re-encrypted"
    md5 = "x-amz-server-side-encryption-customer-key-md5"
    assert requests_log.list()[0]["headers"][md5] == sse_c.key_md5
    assert connect(client).read(uri) == b"plain"
    connect(client).rotate(uri, to=sse_c)
    with tracing(sandbox) as (trips, url):
        assert connect(client, endpoint_url=url).rotate(uri, to=sse_c)[0].action == "unchanged"
    assert trips.found == [["GetObject"], ["GetObject"]]


def test_a_version_is_asked_for_by_its_id(
    versioned_bucket: str, requests_log: RequestsLog, s3: Any
) -> None:
    """A copy of an old version reads the body, tags and annotations of this version."""
    mode, uri = ClientSide(aes()), f"s3://{versioned_bucket}/x"
    old = connect(mode).put(b"old", uri, tags={"t": "old"}).version_id
    connect(mode).put(b"new", uri, tags={"t": "new"})
    requests_log.clear()
    connect(mode).copy(uri, f"s3://{versioned_bucket}/y", version_id=old)
    asked = [e for e in requests_log.list() if e["path"].endswith("/x")]
    assert len(asked) == 4
    assert all(f"versionId={old}" in entry["query"] for entry in asked)
    tags = s3.get_object_tagging(Bucket=versioned_bucket, Key="y")["TagSet"]
    assert tags == [{"Key": "t", "Value": "old"}]


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_header_that_only_head_shows_is_kept(
    is_empty: bool, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If a service omits a header from its GET replies, the rotation takes it from HEAD."""
    uri, new = f"s3://{bucket}/x", ClientSide(aes())
    body = b"" if is_empty else b"plain"
    s3.put_object(Bucket=bucket, Key="x", Body=body, CacheControl="max-age=9")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET":
            answer.headers.pop("cache-control", None)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        assert store.rotate(uri, to=new)[0].action == "re-encrypted"
    assert s3.head_object(Bucket=bucket, Key="x")["CacheControl"] == "max-age=9"
    assert connect(new).read(uri) == body


@pytest.mark.parametrize("name", ["etag", "last-modified"])
def test_a_get_without_what_every_head_has_is_not_gone_by(
    name: str, sandbox: Running, bucket: str
) -> None:
    """A GET reply without an ETag or a date is not used, and the object is still rotated."""
    uri, old, new = f"s3://{bucket}/x", ClientSide(aes()), ClientSide(aes("two"))
    connect(old).put(b"plain", uri)
    spoilt: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if operation(asked) == "GetObject" and not spoilt:
            spoilt.append(asked)
            del answer.headers[name]
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(old, endpoint_url=relay.url).rotate(uri, to=new)
    assert spoilt
    assert connect(new).read(uri) == b"plain"


# --- Parallel requests -------------------------------------------------------------------------


@pytest.mark.parametrize("denied", ["tagging", "annotation"])
@pytest.mark.parametrize("size", [10, PART + 1])
def test_what_may_not_be_read_is_not_lost(
    denied: str, size: int, sandbox: Running, bucket: str, s3: Any
) -> None:
    """If the caller cannot read tags or annotations, the rotation fails and writes nothing."""
    uri, old = f"s3://{bucket}/x", ClientSide(aes())
    connect(old).put(payload(size), uri)
    before = stored(s3, bucket, "x")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(403, {}, DENIED) if denied in asked.query else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        with pytest.raises(StorageError, match=f"its {denied[:3]}.*access denied") as caught:
            connect(old, endpoint_url=relay.url).rotate(uri, to=ClientSide(aes("two")))
        assert not [asked for asked in relay.asked if asked.method in ("PUT", "POST")]
    assert caught.value.code == "AccessDenied"
    assert threads() == []
    assert stored(s3, bucket, "x") == before


def test_a_failure_does_not_wait_for_repetitions_beside_it(sandbox: Running, bucket: str) -> None:
    """If reading the source fails, parallel requests are not retried, and their threads end."""
    uri, old = f"s3://{bucket}/x", ClientSide(aes())
    connect(old).put(b"plain", uri)
    asked_for = threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "tagging" in asked.query:
            asked_for.set()
            return Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        if asked.method == "HEAD":
            # Before the reader's error is raised, a HEAD checks whether the object was replaced. It
            # must come after the request for tags.
            asked_for.wait(10)
        return forward()

    wrong = ClientSide(aes(), context={"tenant": "b"})
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(wrong, endpoint_url=relay.url)
        began = time.monotonic()
        with pytest.raises(IntegrityError):
            store.rotate(uri, to=SSES3())
        assert time.monotonic() - began < 1.5  # S3CRYPT_RETRY_SECONDS is 2
    assert asked_for.is_set()
    assert threads() == []


def test_a_look_that_is_no_longer_the_last_one_is_made_again(
    sandbox: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the tags arrive late, the object is checked again just before it is overwritten."""
    monkeypatch.setattr(mechanisms, "_LATE_SECONDS", 0.05)
    uri, old, new = f"s3://{bucket}/x", ClientSide(aes()), ClientSide(aes("two"))
    connect(old).put(b"plain", uri)
    looked = threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "HEAD":
            looked.set()
        elif "tagging" in asked.query:
            looked.wait(10)
            time.sleep(0.3)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(old, endpoint_url=relay.url).rotate(uri, to=new)
    operations = [operation(asked) for asked in relay.asked]
    assert operations[-2:] == ["HeadObject", "PutObject"]
    assert operations.count("HeadObject") == 2


@pytest.mark.parametrize("call", ["GetObjectTagging", "HeadObject", "PutObject"])
def test_tags_of_another_writers_object_go_on_none(call: str, bucket: str, s3: Any) -> None:
    """An object that another writer puts during the rotation keeps its bytes and its tags."""
    uri, mode = f"s3://{bucket}/x", ClientSide(aes())
    connect(mode).put(b"ours", uri, tags={"of": "ours"})
    store = connect(mode)
    written = threading.Lock()

    def replace(**_: Any) -> None:
        if written.acquire(blocking=False):
            connect(mode).put(b"theirs", uri, tags={"of": "theirs"})

    store.client.meta.events.register(f"before-call.s3.{call}", replace)
    with pytest.raises(ConflictError):
        store.rotate(uri, to=ClientSide(aes("two")))
    assert connect(mode).read(uri) == b"theirs"
    tags = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert tags == [{"Key": "of", "Value": "theirs"}]


def test_work_beside_ends_with_its_block() -> None:
    """Leaving the block by an interrupt stops the parallel work and waits for its end.

    The work's own error is raised by `result`.
    """
    ended = threading.Event()

    def work() -> None:
        while pause(60):
            pass
        ended.set()
        raise StorageError("not asked for")

    with pytest.raises(KeyboardInterrupt), beside(work):
        raise KeyboardInterrupt
    assert ended.is_set()
    with beside(lambda: 1 // 0) as result, pytest.raises(ZeroDivisionError):
        result()
    assert threads() == []


def test_work_beside_stops_with_its_thread() -> None:
    """If the waiting thread is to stop, the parallel work stops too."""
    stop = threading.Event()
    with stopping(stop), beside(lambda: pause(60)) as result:
        threading.Timer(0.1, stop.set).start()
        assert result() is False


def test_without_a_thread_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, `beside` does the work in the calling thread."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with beside(threading.get_ident) as result:
        assert result() == threading.get_ident()
