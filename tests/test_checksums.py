# SPDX-License-Identifier: Apache-2.0
"""CRC-64/NVME of uploads: in a header, in a trailer or left out, and the fallback on refusals."""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from awscrt.checksums import crc64nvme
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as some
from relay import Answer, Asked, relaying
from samples import PART, aes, names, payload, stored, uploads
from tls import CHECKSUM, crc, make_certificate, refusal, sent, tls_relaying, trailers

from s3crypt import SSES3, ClientSide, S3Crypt, StorageError
from s3crypt.aws import config_of
from s3crypt.transfer.checksums import Checksums, Part, _of_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3crypt.sandbox import Running

SMALL, LARGE = 1000, PART + 1000
SIZES = (SMALL, LARGE)
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
REFUSALS = [(411, "MissingContentLength"), (501, "NotImplemented"), (400, "InvalidArgument")]
SIGNED = {"payload_signing_enabled": True}
UNHASHED = {"payload_signing_enabled": False}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the relay's certificate, once per process."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "relay.pem")


@pytest.fixture(autouse=True)
def _one_try(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all clients trust the relay, and stop them from repeating requests."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


class Service:
    """The sandbox behind a relay, over HTTPS or HTTP, and stores that use it."""

    def __init__(
        self, relay: Any, session: boto3.Session, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.relay = relay
        self.session = session
        self.uri = f"s3://{bucket}/x"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)

    def own(self, **options: Any) -> S3Crypt:
        """Return a store that makes its own client."""
        return S3Crypt(ClientSide(aes()), session=self.session, **options)

    def theirs(self, **config: Any) -> S3Crypt:
        """Return a store with a client that the test made, like a user would."""
        client = self.session.client("s3", config=Config(**config))
        return S3Crypt(ClientSide(aes()), client=client, workers=1)

    def of(self, kind: str, **options: Any) -> S3Crypt:
        """Return a store of the kind that parametrizes a test."""
        return self.own(**options) if kind == "own" else self.theirs()

    def bodies(self) -> list[Asked]:
        """Return the requests that sent an object or a part, oldest first."""
        return [asked for asked in self.relay.asked if asked.method == "PUT"]

    def begun(self) -> list[Asked]:
        """Return the requests that began a multipart upload."""
        return [asked for asked in self.relay.asked if "uploads" in asked.query]

    def completed(self) -> Asked:
        """Return the request that completed the only multipart upload."""
        asked: Asked
        (asked,) = filter(_is_completion, self.relay.asked)
        return asked


@pytest.fixture
def serve(
    sandbox: Running,
    session: boto3.Session,
    bucket: str,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Callable[..., Service]:
    """Return a function that starts a service, which is stopped after the test."""

    def start(spoil: Any = None, scheme: str = "https") -> Service:
        context = (
            tls_relaying(sandbox.endpoint_url, certificate, spoil)
            if scheme == "https"
            else relaying(sandbox.endpoint_url, spoil)
        )
        relay = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        return Service(relay, session, bucket, monkeypatch)

    return start


def _is_completion(asked: Asked) -> bool:
    return asked.method == "POST" and "uploadId" in asked.query


def _no_checksum(asked: Asked) -> bool:
    # Leave out the header that requests a checksum in the reply: it is no checksum.
    named = asked.headers.keys() - {"x-amz-checksum-mode"}
    kinds = ("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer")
    return not any(name.startswith(kinds) for name in named)


def _refusing(
    refused: Callable[[Asked], bool], status: int = 400, code: str = "InvalidArgument"
) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return refusal(status, code) if refused(asked) else forward()

    return spoil


def _flipping(asked: Asked, forward: Callable[..., Answer]) -> Answer:
    """Flip a bit of each uploaded body."""
    if asked.method != "PUT":
        return forward()
    body = bytearray(asked.body)
    body[500] ^= 1
    return forward(replace(asked, body=bytes(body)))


def _ignoring_algorithms(
    spoil: Callable[[Asked, Callable[[], Answer]], Answer],
) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a service that does not know the header with an upload's checksum algorithm."""

    def without(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        kept = {
            name: value
            for name, value in asked.headers.items()
            if "uploads" not in asked.query or not name.startswith("x-amz-checksum-")
        }
        return spoil(asked, lambda: forward(replace(asked, headers=kept)))

    return without


# --- By header: a client of our own ------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_our_client_sends_a_checksum_and_no_hash_over_tls(
    size: int, serve: Callable[..., Service]
) -> None:
    """Over TLS the body has a correct CRC in the header, and no SHA-256 is computed."""
    service = serve()
    service.own().put(payload(size), service.uri)
    for asked in service.bodies():
        assert asked.headers["x-amz-content-sha256"] == UNSIGNED
        assert asked.headers[CHECKSUM] == crc(asked.body)
        assert "x-amz-trailer" not in asked.headers
    assert service.own().read(service.uri) == payload(size)


def test_an_upload_is_begun_with_its_algorithm(serve: Callable[..., Service]) -> None:
    """The upload begins with the algorithm CRC-64/NVME and the type FULL_OBJECT."""
    service = serve()
    service.own().put(payload(LARGE), service.uri)
    (begun,) = service.begun()
    assert begun.headers["x-amz-checksum-algorithm"] == "CRC64NVME"
    assert begun.headers["x-amz-checksum-type"] == "FULL_OBJECT"


@pytest.mark.parametrize("kind", ["own", "theirs"])
def test_an_upload_ends_with_the_whole_objects_checksum(
    kind: str, bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """The upload ends with the checksum of the stored bytes and the checksum of each part."""
    service = serve()
    service.of(kind).put(payload(LARGE), service.uri)
    completed = service.completed()
    assert completed.headers[CHECKSUM] == crc(stored(s3, bucket, "x"))
    assert completed.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    for asked in service.bodies():
        assert f"<ChecksumCRC64NVME>{crc(sent(asked))}<".encode() in completed.body


def test_the_whole_checksum_follows_the_parts_order(
    bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """The combined checksum is correct even if part 1 arrives last."""
    others = threading.Semaphore(0)

    def delay(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.query.get("partNumber") == "1":
            assert all(others.acquire(timeout=30) for _ in range(2))
            return forward()
        answer = forward()
        if asked.is_part:
            others.release()
        return answer

    service = serve(delay)
    service.own(workers=2).put(payload(2 * PART + 1), service.uri)
    assert service.completed().headers[CHECKSUM] == crc(stored(s3, bucket, "x"))


@given(cuts=some.lists(some.integers(0, 300), max_size=6), data=some.binary(max_size=300))
def test_checksums_of_parts_combine(cuts: list[int], data: bytes) -> None:
    """The checksums of any parts, also empty parts, combine into the checksum of the whole."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    whole = _of_whole(
        [
            Part(number, "", len(part), len(part), crc64nvme(part))
            for number, part in enumerate(parts, 1)
        ]
    )
    assert whole == {
        "ChecksumCRC64NVME": b64encode(crc64nvme(data).to_bytes(8)).decode(),
        "ChecksumType": "FULL_OBJECT",
    }


def test_a_part_without_a_checksum_leaves_the_whole_without() -> None:
    """If the checksum of one part is unknown, the checksum of the whole object is left out."""
    parts = [Part(number, "", 10, 10, crc) for number, crc in enumerate((1, None, 2), 1)]
    assert _of_whole(parts) == {}


@pytest.mark.parametrize("size", SIZES)
def test_our_client_signs_bodies_without_tls(
    size: int, bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """Without TLS the body is signed: an attacker could change the body and its checksum."""
    service = serve(scheme="http")
    service.own().put(payload(size), service.uri)
    for asked in service.bodies():
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
        assert asked.headers[CHECKSUM] == crc(asked.body)
    if size == LARGE:
        assert service.completed().headers[CHECKSUM] == crc(stored(s3, bucket, "x"))


def test_a_configured_payload_signature_is_kept(
    serve: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`payload_signing_enabled` in the AWS configuration also applies to our own client."""
    (tmp_path / "config").write_text("[profile signing]\ns3 =\n  payload_signing_enabled = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    service = serve()
    store = S3Crypt(SSES3(), session=boto3.Session("key", "secret", profile_name="signing"))
    store.put(payload(SMALL), service.uri)
    assert config_of(store.client).s3["payload_signing_enabled"] is True
    (asked,) = service.bodies()
    assert asked.headers["x-amz-content-sha256"] != UNSIGNED


# --- A client that the user made ---------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("signing", [None, SIGNED], ids=["default", "signed"])
def test_a_given_client_sends_trailers_over_tls(
    size: int, signing: dict[str, Any] | None, serve: Callable[..., Service]
) -> None:
    """Over TLS a given client sends the CRC in a trailer, so it need not hash the body."""
    service = serve()
    store = service.theirs(s3=signing)
    store.put(payload(size), service.uri)
    for asked in service.bodies():
        assert asked.headers["x-amz-content-sha256"] == STREAMED
        assert asked.headers["x-amz-trailer"] == CHECKSUM
        assert trailers(asked) == {CHECKSUM: crc(sent(asked))}
        assert int(asked.headers["x-amz-decoded-content-length"]) == len(sent(asked))
    assert store.read(service.uri) == payload(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_given_client_that_hashes_no_bodies_sends_a_header(
    size: int, serve: Callable[..., Service]
) -> None:
    """A client that does not hash bodies sends the CRC in a header: a trailer saves nothing."""
    service = serve()
    service.theirs(s3=UNHASHED).put(payload(size), service.uri)
    for asked in service.bodies():
        assert asked.headers["x-amz-content-sha256"] == UNSIGNED
        assert asked.headers[CHECKSUM] == crc(asked.body)
        assert "x-amz-trailer" not in asked.headers


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("size", SIZES)
def test_a_given_client_may_go_without(
    size: int, scheme: str, serve: Callable[..., Service]
) -> None:
    """With `when_required` no request has a checksum, and the body is hashed instead."""
    service = serve(scheme=scheme)
    service.theirs(request_checksum_calculation="when_required").put(payload(size), service.uri)
    assert all(_no_checksum(asked) for asked in service.relay.asked)
    for asked in service.bodies():
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_given_client_is_left_as_it_is(scheme: str, serve: Callable[..., Service]) -> None:
    """The configuration and hooks of a given client are unchanged, also after a refusal."""
    service = serve(_refusing(lambda asked: "x-amz-trailer" in asked.headers), scheme=scheme)
    store = service.theirs()
    before = _looks(store.client)
    store.put(payload(SMALL), service.uri)
    store.put(payload(LARGE), service.uri)
    store.read(service.uri)
    assert _looks(store.client) == before


def _looks(client: Any) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    hooks: list[tuple[str, int]] = []

    def walk(node: Any, name: str) -> None:
        for values in node["values"] or ():
            hooks.extend((name, id(hook)) for hook in values)
        for chunk, child in node["children"].items():
            walk(child, f"{name}.{chunk}")

    walk(client.meta.events._emitter._handlers._root, "")
    settings = dict(vars(client.meta.config))
    return {name: repr(value) for name, value in settings.items()}, hooks


# --- Services that refuse ----------------------------------------------------------------------


def _is_trailer(asked: Asked) -> bool:
    return asked.headers.get("x-amz-trailer") == CHECKSUM


def _is_header(asked: Asked) -> bool:
    return asked.method == "PUT" and CHECKSUM in asked.headers


def _is_either(asked: Asked) -> bool:
    return _is_trailer(asked) or _is_header(asked)


REFUSED = {"trailers": _is_trailer, "headers": _is_header, "either": _is_either}


def _check_sent_again(service: Service, body: bytes) -> None:
    """Check that all attempts of a body sent the same bytes, and that these bytes are stored."""
    attempts: dict[str, list[bytes]] = {}
    for asked in service.bodies():
        attempts.setdefault(asked.query.get("partNumber", "1"), []).append(sent(asked))
    assert all(len(set(bodies)) == 1 for bodies in attempts.values())
    assert len(attempts["1"]) > 1
    assert b"".join(attempts[number][0] for number in sorted(attempts)) == body


@pytest.mark.parametrize(
    "way",
    [("own", "headers"), ("own", "either"), ("theirs", "trailers"), ("theirs", "either")],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("reply", "size"), [*((reply, SMALL) for reply in REFUSALS), (REFUSALS[0], LARGE)]
)
def test_a_refused_way_gives_way_to_a_plainer_one(
    reply: tuple[int, str],
    size: int,
    way: tuple[str, str],
    bucket: str,
    serve: Callable[..., Service],
    s3: Any,
) -> None:
    """After a refusal the same ciphertext is sent with a plainer form of checksum, or without.

    The store remembers the refusal.
    """
    kind, is_refused = way[0], REFUSED[way[1]]
    service = serve(_ignoring_algorithms(_refusing(is_refused, *reply)))
    store = service.of(kind, workers=1)
    store.put(payload(size), service.uri)
    assert store.read(service.uri) == payload(size)
    _check_sent_again(service, stored(s3, bucket, "x"))
    service.relay.asked.clear()
    store.put(payload(size), service.uri)
    assert not any(map(is_refused, service.relay.asked))
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize("kind", ["own", "theirs"])
@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_an_upload_begins_without_where_it_must(
    status: int, code: str, kind: str, serve: Callable[..., Service]
) -> None:
    """If a service refuses checksums of uploads, parts have no checksum either.

    The refusal is remembered, so it happens once.
    """
    service = serve(
        _refusing(lambda asked: "x-amz-checksum-algorithm" in asked.headers, status, code)
    )
    store = service.of(kind)
    for attempts in (2, 1):
        service.relay.asked.clear()
        store.put(payload(LARGE), service.uri)
        assert len(service.begun()) == attempts
        assert not any(
            CHECKSUM in {**asked.headers, **trailers(asked)} for asked in service.bodies()
        )
        assert CHECKSUM not in service.completed().headers
        assert store.read(service.uri) == payload(LARGE)


@pytest.mark.parametrize("kind", ["own", "theirs"])
@pytest.mark.parametrize("size", SIZES)
def test_denied_access_is_no_refusal(
    size: int, kind: str, bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """Denied access is raised after one attempt, and no upload is left."""
    service = serve(_refusing(lambda asked: asked.method == "PUT", 403, "AccessDenied"))
    store = service.of(kind, workers=1)
    with pytest.raises(StorageError, match="access denied"):
        store.put(payload(size), service.uri)
    assert len(service.bodies()) == 1
    assert names(s3, bucket) == uploads(s3, bucket) == []


def test_an_upload_that_is_denied_is_begun_once(serve: Callable[..., Service]) -> None:
    """If beginning an upload is denied, it is not tried again without checksums."""
    service = serve(_refusing(lambda asked: asked.method == "POST", 403, "AccessDenied"))
    with pytest.raises(StorageError, match="access denied"):
        service.own().put(payload(LARGE), service.uri)
    assert len(service.begun()) == 1


@pytest.mark.parametrize("kind", ["own", "theirs"])
@pytest.mark.parametrize("size", SIZES)
def test_a_way_once_taken_is_not_left(size: int, kind: str, serve: Callable[..., Service]) -> None:
    """After a service accepted a checksum, a later InvalidArgument is raised and not retried."""
    refusing = threading.Event()
    service = serve(_refusing(lambda asked: refusing.is_set() and asked.method == "PUT"))
    store = service.of(kind, workers=1)
    store.put(payload(size), service.uri)
    service.relay.asked.clear()
    refusing.set()
    with pytest.raises(StorageError) as caught:
        store.put(payload(size), service.uri)
    assert caught.value.code == "InvalidArgument"
    assert len(service.bodies()) == 1


# --- Bytes that changed on the way -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own", "theirs"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_that_changed_on_the_way_is_not_stored(
    size: int, kind: str, bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """A body that S3 refuses with BadDigest is not sent again without a checksum."""
    service = serve(_flipping)
    with pytest.raises(StorageError, match=f"{service.uri}.*BadDigest") as caught:
        service.of(kind, workers=1).put(payload(size), service.uri)
    assert caught.value.code == "BadDigest"
    assert caught.value.hint == "The network may have changed the bytes. Store the object again."
    assert len(service.bodies()) == 1
    assert not any(_no_checksum(asked) for asked in service.bodies())
    assert names(s3, bucket) == uploads(s3, bucket) == []


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentChecksumMismatch"])
def test_a_whole_that_is_not_its_parts_is_not_stored(
    code: str, bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """If the whole object's checksum is wrong, the upload is aborted.

    The hint is for services that do not combine the checksums of parts.
    """
    service = serve(_refusing(_is_completion, 400, code))
    with pytest.raises(StorageError, match=code) as caught:
        service.own().put(payload(LARGE), service.uri)
    assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in str(caught.value.hint)
    assert names(s3, bucket) == uploads(s3, bucket) == []


def test_a_service_that_combines_no_checksums_is_used_as_the_hint_says(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting in the hint works for a service that refuses a combined checksum."""

    def refused(asked: Asked) -> bool:
        return _is_completion(asked) and CHECKSUM in asked.headers

    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    service = serve(_refusing(refused, 400, "BadDigest"))
    store = service.own()
    store.put(payload(LARGE), service.uri)
    assert store.read(service.uri) == payload(LARGE)


def test_a_body_that_fits_no_signature_is_not_stored(
    bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """A body that was changed on the way fails its SHA-256, and checksums stay on afterwards."""
    service = serve(_flipping, scheme="http")
    with pytest.raises(StorageError, match="XAmzContentSHA256Mismatch"):
        service.own().put(payload(SMALL), service.uri)
    assert all(CHECKSUM in asked.headers for asked in service.bodies())
    assert names(s3, bucket) == []


# --- Refusals that cross each other -------------------------------------------------------------


def test_a_refusal_may_come_after_another_parts_success(
    bucket: str, serve: Callable[..., Service], s3: Any
) -> None:
    """A part may be refused after another part succeeded with another form of checksum."""
    both = threading.Barrier(2)
    by_header = threading.Semaphore(0)

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if _is_header(asked):
            by_header.release()
        if not _is_trailer(asked):
            return forward()
        if both.wait(30):
            # Wait for the next part with a header: then the worker knows that the first part
            # succeeded.
            assert all(by_header.acquire(timeout=30) for _ in range(2))
        return refusal(411, "MissingContentLength")

    service = serve(refuse)
    store = S3Crypt(ClientSide(aes()), client=service.session.client("s3"), workers=2)
    store.put(payload(2 * PART + 1), service.uri)
    _check_sent_again(service, stored(s3, bucket, "x"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_service_without_any_checksums_is_served(
    scheme: str, size: int, serve: Callable[..., Service]
) -> None:
    """A service without checksums gets no checksum, not even botocore's own CRC-32."""
    service = serve(_refusing(lambda asked: not _no_checksum(asked), 501, "NotImplemented"), scheme)
    store = service.own(workers=1)
    store.put(payload(size), service.uri)
    assert store.read(service.uri) == payload(size)


def test_a_callers_mistake_costs_no_checksums(serve: Callable[..., Service]) -> None:
    """If an upload is refused with and without a checksum, checksums stay on."""
    mistaken = threading.Event()
    mistaken.set()
    service = serve(_refusing(lambda asked: mistaken.is_set() and asked.method == "POST"))
    store = service.own(workers=1)
    with pytest.raises(StorageError):
        store.put(payload(LARGE), service.uri)
    mistaken.clear()
    service.relay.asked.clear()
    store.put(payload(LARGE), service.uri)
    assert all(_is_header(asked) for asked in service.bodies())


def test_an_upload_may_be_refused_what_an_object_was_not(serve: Callable[..., Service]) -> None:
    """A service may accept a checksum of an object and refuse checksums of uploads."""
    service = serve(_refusing(lambda asked: "x-amz-checksum-algorithm" in asked.headers))
    store = service.own(workers=1)
    store.put(payload(SMALL), service.uri)
    store.put(payload(LARGE), service.uri)
    assert store.read(service.uri) == payload(LARGE)


@pytest.mark.parametrize(("status", "reason"), [(411, "Length Required"), (501, "Unsupported")])
def test_a_proxys_refusal_is_one_too(
    status: int, reason: str, serve: Callable[..., Service]
) -> None:
    """A proxy's refusal is HTML without an error code, so it is recognised by its status alone."""
    page = f"<html><body><h1>{status} {reason}</h1></body></html>".encode()

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if _is_trailer(asked):
            return Answer(status, {"content-type": "text/html"}, page)
        return forward()

    service = serve(refuse)
    store = service.theirs()
    store.put(payload(SMALL), service.uri)
    assert store.read(service.uri) == payload(SMALL)


# --- Settings of our own clients ----------------------------------------------------------------


def test_a_sessions_own_settings_are_kept(serve: Callable[..., Service]) -> None:
    """The session's S3 settings are kept beside the setting that turns off hashing of bodies."""
    service = serve()
    inner = botocore.session.Session()
    inner.set_default_client_config(Config(s3={"addressing_style": "path"}))
    store = S3Crypt(SSES3(), session=boto3.Session(botocore_session=inner))
    store.put(payload(SMALL), service.uri)
    assert config_of(store.client).s3["addressing_style"] == "path"
    assert config_of(store.client).s3["payload_signing_enabled"] is False


def test_without_checksums_our_client_hashes_bodies(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without checksums bodies are hashed: otherwise S3 could not detect a changed body."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    service = serve()
    service.own().put(payload(SMALL), service.uri)
    (asked,) = service.bodies()
    assert _no_checksum(asked)
    assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()


def test_an_upload_that_was_completed_is_forgotten(
    serve: Callable[..., Service], bucket: str
) -> None:
    """A store forgets a completed upload that began without checksums, so its memory is bounded."""
    service = serve(_refusing(lambda asked: "x-amz-checksum-algorithm" in asked.headers))
    client, checksums = service.theirs().client, Checksums()
    where, number = {"Bucket": bucket, "Key": "x"}, {"PartNumber": 1}
    begun = checksums.begin(client, where, "x")
    upload = {**where, "UploadId": begun["UploadId"]}
    sent = checksums.send_part(client, b"part", {**upload, **number}, "x")
    assert sent.crc is None
    assert checksums._without == {begun["UploadId"]}
    checksums.complete(client, [Part(1, sent.reply["ETag"], 4, 4, sent.crc)], upload, "x")
    assert checksums._without == set()
