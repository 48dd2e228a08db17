# SPDX-License-Identifier: Apache-2.0
"""A rotation keeps an object's locks, event holds and annotations, or it is refused."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from conftest import unblock_ssec
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, aes, connect, kms_keyring, payload

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConflictError,
    PolicyError,
    RotationError,
    S3Crypt,
    StorageError,
)
from s3crypt.objects import locks
from s3crypt.objects.info import DESCRIBING_HEADERS
from s3crypt.rotation import mechanisms, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3
    from conftest import RequestsLog

    from s3crypt.sandbox import Running

HOLD = {"ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationDays": 30}
RETENTION = {
    "ObjectLockMode": "GOVERNANCE",
    "ObjectLockRetainUntilDate": datetime(2041, 2, 3, tzinfo=UTC),
}
LOCK_HEADERS = "x-amz-object-lock-"
DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
NOTES = {"b": "two", "a": "eins, ä", "c": "3" * 100_000}


@pytest.fixture
def locked_bucket(s3: Any) -> str:
    """Return a new bucket with Object Lock, which includes versioning."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    unblock_ssec(s3, name)
    return name


def targets(kms_key: str) -> dict[str, Any]:
    """Return the modes to rotate to, by name."""
    return {
        "sse-kms": SSEKMS(kms_key),
        "sse-c": SSEC(CUSTOMER_KEY),
        "client": ClientSide(kms_keyring(kms_key)),
    }


def annotate(s3: Any, bucket: str, notes: dict[str, str], version: str | None = None) -> None:
    """Write annotations of an object, by name. `version` is None for the current version."""
    more = {"VersionId": version} if version else {}
    for name, text in notes.items():
        s3.put_object_annotation(
            Bucket=bucket, Key="x", AnnotationName=name, AnnotationPayload=text.encode(), **more
        )


def notes_of(s3: Any, bucket: str) -> dict[str, str]:
    """Return the annotations of the object's current version, by name."""
    where = {"Bucket": bucket, "Key": "x"}
    listed = [
        entry["AnnotationName"] for entry in s3.list_object_annotations(**where)["Annotations"]
    ]
    return {
        name: s3.get_object_annotation(**where, AnnotationName=name)["AnnotationPayload"]
        .read()
        .decode()
        for name in listed
    }


@pytest.fixture
def _by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit above which objects are copied in parts from S3's 5 GB to 6 MiB."""
    for module in (mechanisms, steps):
        monkeypatch.setattr(module, "MAX_COPY_LENGTH", 6 * 2**20)


# --- Completeness, by botocore's own model -----------------------------------------------------

# Members that HEAD returns and a write accepts, and that a rotation does not carry over. The values
# are the reasons.
NOT_CARRIED = {
    "BucketKeyEnabled": "the new mode decides",
    "SSECustomerAlgorithm": "the new mode decides",
    "SSECustomerKeyMD5": "the new mode decides",
    "SSEKMSKeyId": "the new mode decides",
    "ServerSideEncryption": "the new mode decides",
    "ContentLength": "it is the new body's",
    "ChecksumType": "S3 keeps a checksum of the new body",
    **{
        f"Checksum{name}": "it is of the new body"
        for name in (
            "CRC32", "CRC32C", "CRC64NVME", "MD5", "SHA1", "SHA256", "SHA512", "XXHASH128",
            "XXHASH3", "XXHASH64",
        )
    },
}  # fmt: skip
# S3's operations that store data beside an object's bytes, with the part of the rotation that keeps
# the data.
BESIDE = {
    "PutObjectAcl": "docs: S3 resets it, bucket policies replace it",
    "PutObjectAnnotation": "annotations",
    "PutObjectLegalHold": "locks",
    "PutObjectRetention": "locks",
    "PutObjectTagging": "tags",
    "PutObjectLockConfiguration": "a bucket's, not an object's",
}
DIRECTIVES = {"AnnotationDirective", "MetadataDirective", "TaggingDirective"}


def _model(operation: str) -> Any:
    return botocore.session.get_session().get_service_model("s3").operation_model(operation)


@pytest.mark.parametrize("operation", ["PutObject", "CopyObject", "CreateMultipartUpload"])
def test_nothing_that_could_be_carried_over_is_forgotten(operation: str) -> None:
    """Each member that HEAD returns and a write accepts is kept or is in NOT_CARRIED."""
    shown = _model("HeadObject").output_shape.members.keys()
    taken = _model(operation).input_shape.members.keys()
    kept = {"Metadata", *DESCRIBING_HEADERS, *locks.HEADERS}
    assert (shown & taken) - kept == NOT_CARRIED.keys() & taken & shown
    assert kept <= shown & taken


def test_nothing_that_is_kept_beside_an_object_is_forgotten() -> None:
    """A new operation or copy directive of S3 fails this test, so that it is considered."""
    service = botocore.session.get_session().get_service_model("s3")
    names = {name for name in service.operation_names if name.startswith("PutObject")}
    assert names - {"PutObject"} == BESIDE.keys()
    members = _model("CopyObject").input_shape.members
    assert {name for name in members if name.endswith("Directive")} == DIRECTIVES


# --- Locks and event holds ---------------------------------------------------------------------


@pytest.mark.parametrize("after", ["sse-kms", "sse-c", "client"])
@pytest.mark.parametrize("before", ["sse-s3", "client"])
@pytest.mark.parametrize(
    "lock",
    [
        HOLD,
        {"ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationYears": 7},
        {"ObjectLockEventHold": "OFF"},
        RETENTION,
        {**HOLD, **RETENTION, "ObjectLockLegalHoldStatus": "ON"},
    ],
)
def test_locks_are_kept(
    lock: dict[str, Any], before: str, after: str, locked_bucket: str, kms_key: str, s3: Any
) -> None:
    """Every mechanism copies an object's locks to its new version."""
    uri = f"s3://{locked_bucket}/x"
    old = SSES3() if before == "sse-s3" else ClientSide(aes())
    connect(old).put(b"plain", uri)
    where = {"Bucket": locked_bucket, "Key": "x"}
    head = s3.head_object(**where)
    body = s3.get_object(**where)["Body"].read()
    s3.put_object(**where, Body=body, Metadata=head["Metadata"], **lock)
    connect(old).rotate(uri, to=targets(kms_key)[after])
    key: Any = SSEC(CUSTOMER_KEY).read_arguments() if after == "sse-c" else {}
    head = s3.head_object(**where, **key)
    assert {name: head[name] for name in locks.HEADERS if name in head} == lock


@pytest.mark.usefixtures("_by_parts")
def test_locks_are_kept_by_parts(locked_bucket: str, kms_key: str, s3: Any) -> None:
    """A copy in parts has the source's locks."""
    uri = f"s3://{locked_bucket}/x"
    s3.put_object(Bucket=locked_bucket, Key="x", Body=payload(7 * 2**20), **HOLD, **RETENTION)
    assert connect(SSES3()).rotate(uri, to=SSEKMS(kms_key))[0].action == "copied"
    head = s3.head_object(Bucket=locked_bucket, Key="x")
    assert {name: head[name] for name in locks.HEADERS if name in head} == {**HOLD, **RETENTION}
    assert head["ETag"].endswith('-2"')


def _without_permission(
    *denied: str, hidden: bool = True
) -> Callable[[Asked, Callable[..., Answer]], Answer]:
    """Return a relay function that denies requests for locks, and hides the lock headers of HEAD.

    S3 hides these headers from a caller without the permission.
    """

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        if asked.method == "GET" and asked.query.keys() & set(denied):
            return Answer(403, {}, DENIED)
        answer = forward()
        if hidden:
            answer.headers = {
                name: value
                for name, value in answer.headers.items()
                if not name.startswith(LOCK_HEADERS)
            }
        return answer

    return spoil


@pytest.mark.parametrize("target", ["sse-kms", "client"])
@pytest.mark.parametrize(
    "denied", [("retention",), ("legal-hold",), ("retention", "legal-hold", "object-lock")]
)
def test_a_lock_that_may_not_be_read_is_not_lost(  # noqa: PLR0917 - four are fixtures
    denied: tuple[str, ...],
    target: str,
    locked_bucket: str,
    kms_key: str,
    s3: Any,
    sandbox: Running,
    session: boto3.Session,
) -> None:
    """If the caller cannot read the object's lock, the rotation and its dry run are refused."""
    uri = f"s3://{locked_bucket}/x"
    etag = s3.put_object(Bucket=locked_bucket, Key="x", Body=b"plain")["VersionId"]
    with relaying(sandbox.endpoint_url, _without_permission(*denied)) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        for dry_run in (True, False):
            with pytest.raises(StorageError, match="access denied") as caught:
                store.rotate(uri, to=targets(kms_key)[target], dry_run=dry_run)
            assert "s3:GetObjectRetention" in str(caught.value.hint)
    assert s3.head_object(Bucket=locked_bucket, Key="x")["VersionId"] == etag


def test_a_lock_that_a_reply_lacks_is_not_lost(
    locked_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """If HEAD omits an object's lock headers, a further request finds the lock.

    The rotation is then refused, because the object is locked.
    """
    for lock in (HOLD, {"ObjectLockLegalHoldStatus": "ON"}):
        s3.put_object(Bucket=locked_bucket, Key="x", Body=b"plain", **lock)
        with relaying(sandbox.endpoint_url, _without_permission()) as relay:
            store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
            with pytest.raises(ConflictError, match="locked"):
                store.rotate(f"s3://{locked_bucket}/x", to=ClientSide(aes()))


def test_a_bucket_is_asked_once_whether_it_locks(
    versioned_bucket: str, kms_key: str, s3: Any, requests_log: RequestsLog
) -> None:
    """One request per bucket finds that it has no Object Lock; its objects need no request."""
    for name in "abc":
        s3.put_object(Bucket=versioned_bucket, Key=name, Body=b"plain")
    requests_log.clear()
    connect(SSES3()).rotate(f"s3://{versioned_bucket}/", to=SSEKMS(kms_key))
    asked = [entry["query"].partition("&")[0] for entry in requests_log.list()]
    assert asked.count("object-lock") == 1
    assert not {"retention", "legal-hold"} & set(asked)


def test_no_permission_on_a_bucket_without_lock_is_enough_with_the_objects_own(
    versioned_bucket: str, kms_key: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """If the caller cannot read the bucket's lock setting, each object's lock is requested."""
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    spoil = _without_permission("object-lock", hidden=False)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        (outcome,) = store.rotate(f"s3://{versioned_bucket}/x", to=SSEKMS(kms_key))
    assert outcome.action == "copied"


# --- Annotations -------------------------------------------------------------------------------


@pytest.mark.parametrize("versions", ["bucket", "versioned_bucket"])
def test_a_copy_takes_annotations_along(
    versions: str, kms_key: str, s3: Any, sandbox: Running, session: boto3.Session, request: Any
) -> None:
    """A copy inside S3 keeps the annotations by its directive, without a request about them."""
    bucket = request.getfixturevalue(versions)
    s3.put_object(Bucket=bucket, Key="x", Body=b"plain")
    annotate(s3, bucket, NOTES)
    with relaying(sandbox.endpoint_url) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        store.rotate(f"s3://{bucket}/x", to=SSEKMS(kms_key))
    (copy,) = [asked for asked in relay.asked if asked.method == "PUT"]
    assert copy.headers["x-amz-object-annotation-directive"] == "COPY"
    assert not any("annotation" in asked.query for asked in relay.asked)
    assert notes_of(s3, bucket) == NOTES


@pytest.mark.usefixtures("_by_parts")
@pytest.mark.parametrize("way", ["re-encrypted", "copied", "rewrapped"])
def test_annotations_go_to_the_new_version(
    way: str, versioned_bucket: str, kms_key: str, new_key: str, s3: Any
) -> None:
    """Annotations that S3 does not copy are written to the new version; nothing else changes."""
    uri = f"s3://{versioned_bucket}/x"
    modes: dict[str, Any] = {
        "re-encrypted": (SSES3(), ClientSide(kms_keyring(kms_key))),
        "copied": (SSES3(), SSEKMS(kms_key)),
        "rewrapped": tuple(
            ClientSide(kms_keyring(key), key_location="metadata") for key in (kms_key, new_key)
        ),
    }
    old, new = modes[way]
    version = connect(old).put(payload(7 * 2**20), uri, metadata={"a": "b"}).version_id
    annotate(s3, versioned_bucket, NOTES)
    (outcome,) = connect(old).rotate(uri, to=new)
    assert outcome.action == way
    assert notes_of(s3, versioned_bucket) == NOTES
    store = connect(new)
    assert store.read(uri) == payload(7 * 2**20)
    assert dict(store.inspect(uri).metadata) == {"a": "b"}
    head = s3.head_object(Bucket=versioned_bucket, Key="x")
    assert head["Metadata"]["s3crypt-annotations-of"] == version
    # The metadata entry about annotations applies to this version only: another rotation must not
    # restore what was deleted.
    back = ClientSide(aes())
    s3.delete_object_annotation(Bucket=versioned_bucket, Key="x", AnnotationName="c")
    store.rotate(uri, to=back)
    assert notes_of(s3, versioned_bucket).keys() == {"a", "b"}


def test_a_thousand_annotations_are_listed_by_pages(versioned_bucket: str, s3: Any) -> None:
    """Annotations on further pages of the list are kept too."""
    uri = f"s3://{versioned_bucket}/x"
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    notes = {f"n{number:02}": str(number) for number in range(25)}
    annotate(s3, versioned_bucket, notes)

    def shorten(params: Any, **_: Any) -> None:
        params["query_string"]["max-annotation-results"] = "10"

    store = connect(SSES3())
    store.client.meta.events.register("before-call.s3.ListObjectAnnotations", shorten)
    store.rotate(uri, to=ClientSide(aes()))
    assert notes_of(s3, versioned_bucket) == notes


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_later_run_writes_what_an_interrupted_one_did_not(
    written: int, versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """If writing annotations fails, the rotation fails.

    A later run writes the missing annotations.
    """
    uri, new = f"s3://{versioned_bucket}/x", ClientSide(aes())
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    done: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        if asked.method == "PUT" and "annotationName" in asked.query:
            if len(done) == written:
                return Answer(403, {}, DENIED)
            done.append(asked)
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError, match="annotation") as caught:
            store.rotate(uri, to=new)
    assert "still exists at version" in str(caught.value.hint)
    assert len(notes_of(s3, versioned_bucket)) == written
    assert connect(new).rotate(uri, to=new, dry_run=True)[0].action == "unchanged"
    assert len(notes_of(s3, versioned_bucket)) == written
    assert connect(new).rotate(uri, to=new)[0].action == "unchanged"
    assert notes_of(s3, versioned_bucket) == NOTES


@pytest.mark.parametrize("deleted", ["a", "c", "abc"])
def test_a_rerun_restores_nothing_that_was_deleted_since(
    deleted: str, versioned_bucket: str, s3: Any
) -> None:
    """A later run does not restore annotations that were deleted after the rotation."""
    uri, new = f"s3://{versioned_bucket}/x", ClientSide(aes())
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    connect(SSES3()).rotate(uri, to=new)
    for name in deleted:
        s3.delete_object_annotation(Bucket=versioned_bucket, Key="x", AnnotationName=name)
    connect(new).rotate(uri, to=new)
    assert notes_of(s3, versioned_bucket).keys() == NOTES.keys() - set(deleted)


def test_a_rerun_does_without_an_old_version_that_is_gone(versioned_bucket: str, s3: Any) -> None:
    """If the old version was deleted after the rotation, a later run succeeds."""
    uri, new = f"s3://{versioned_bucket}/x", ClientSide(aes())
    old = s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")["VersionId"]
    annotate(s3, versioned_bucket, NOTES)
    connect(SSES3()).rotate(uri, to=new)
    s3.delete_object(Bucket=versioned_bucket, Key="x", VersionId=old)
    assert connect(new).rotate(uri, to=new)[0].action == "unchanged"
    assert notes_of(s3, versioned_bucket) == NOTES


@pytest.mark.parametrize("state", ["never", "suspended"])
def test_without_versions_annotations_are_a_refusal(state: str, bucket: str, s3: Any) -> None:
    """Without versioning, an object with annotations is refused, also by the dry run.

    Other objects are rotated.
    """
    new = ClientSide(aes())
    if state == "suspended":
        for status in ("Enabled", "Suspended"):
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    for name in ("w", "x", "y"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"plain")
    annotate(s3, bucket, NOTES)
    for dry_run in (True, False):
        with pytest.raises(
            PolicyError, match=f"s3://{bucket}/x has annotations.*a, b, c"
        ) as caught:
            connect(SSES3()).rotate(f"s3://{bucket}/x", to=new, dry_run=dry_run)
        assert "set drop_annotations" in str(caught.value.hint)
    with pytest.raises(RotationError) as failed:
        connect(SSES3()).rotate(f"s3://{bucket}/", to=new)
    outcomes: Any = failed.value.outcomes
    assert [o.action for o in outcomes] == ["re-encrypted", "failed", "re-encrypted"]
    assert notes_of(s3, bucket) == NOTES
    (outcome,) = connect(SSES3()).rotate(f"s3://{bucket}/x", to=new, drop_annotations=True)
    assert outcome.action == "re-encrypted"
    assert notes_of(s3, bucket) == {}


@pytest.mark.parametrize("versions", ["bucket", "versioned_bucket"])
@pytest.mark.parametrize("before", ["sse-s3", "client"])
def test_objects_that_sse_c_would_strip_are_refused(
    before: str, versions: str, s3: Any, request: Any
) -> None:
    """A rotation to SSE-C refuses an object with annotations: SSE-C objects cannot have them."""
    bucket = request.getfixturevalue(versions)
    uri, old = f"s3://{bucket}/x", SSES3() if before == "sse-s3" else ClientSide(aes())
    connect(old).put(b"plain", uri)
    annotate(s3, bucket, NOTES)
    new = SSEC(CUSTOMER_KEY)
    with pytest.raises(PolicyError, match="sse-c cannot have annotations"):
        connect(old).rotate(uri, to=new)
    assert notes_of(s3, bucket) == NOTES
    connect(old).rotate(uri, to=new, drop_annotations=True)
    assert connect(new).read(uri) == b"plain"
    assert notes_of(s3, bucket) == {}


def test_dropping_is_only_for_what_cannot_be_kept(versioned_bucket: str, s3: Any) -> None:
    """With `drop_annotations`, annotations that the new object can have are still kept."""
    uri = f"s3://{versioned_bucket}/x"
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    connect(SSES3()).rotate(uri, to=ClientSide(aes()), drop_annotations=True)
    assert notes_of(s3, versioned_bucket) == NOTES


def test_annotations_that_may_not_be_listed_are_not_lost(
    versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """If the caller cannot list the annotations, the rotation is refused."""

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        return Answer(403, {}, DENIED) if "annotation" in asked.query else forward()

    version = s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")["VersionId"]
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError, match="its annotations"):
            store.rotate(f"s3://{versioned_bucket}/x", to=ClientSide(aes()))
    assert s3.head_object(Bucket=versioned_bucket, Key="x")["VersionId"] == version


def test_a_list_whose_body_never_came_is_not_believed(
    versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """An empty 200 is not taken for an empty list of annotations: the rotation fails."""

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        return Answer(200) if "annotation" in asked.query else forward()

    version = s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")["VersionId"]
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError):
            store.rotate(f"s3://{versioned_bucket}/x", to=ClientSide(aes()))
    assert s3.head_object(Bucket=versioned_bucket, Key="x")["VersionId"] == version


def test_other_services_are_not_asked_for_annotations(
    bucket: str, kms_key: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """Services other than AWS get no request and no header about annotations."""

    def spoil(_: Asked, forward: Callable[..., Answer]) -> Answer:
        answer = forward()
        answer.headers.pop("x-s3crypt-sandbox", None)
        return answer

    s3.put_object(Bucket=bucket, Key="x", Body=b"plain")
    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        S3Crypt(SSES3(), client=client).rotate(f"s3://{bucket}/x", to=SSEKMS(kms_key))
        S3Crypt(SSEKMS(kms_key), client=client).rotate(f"s3://{bucket}/x", to=ClientSide(aes()))
    assert not any("annotation" in asked.query for asked in relay.asked)
    assert not any("annotation" in name for asked in relay.asked for name in asked.headers)


def test_an_annotation_that_breaks_on_its_way_is_read_again(
    versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """An annotation whose reply was cut is read again, so no shortened annotation is written."""
    broken: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        answer = forward()
        is_text = asked.method == "GET" and "annotationName" in asked.query
        if is_text and answer.status == 200 and len(broken) < 3:
            broken.append(asked)
            answer.cut = 1
            if len(broken) > 1:
                answer.cut_in = ("x-s3crypt-sandbox", 1)
        return answer

    uri, new = f"s3://{versioned_bucket}/x", ClientSide(aes())
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        store.rotate(uri, to=new)
    assert len(broken) == 3
    assert notes_of(s3, versioned_bucket) == NOTES


def _is_list(asked: Asked) -> bool:
    return asked.method == "GET" and "annotation" in asked.query and not _is_text(asked)


def _is_text(asked: Asked) -> bool:
    return asked.method == "GET" and "annotationName" in asked.query


def _is_written_text(asked: Asked) -> bool:
    return asked.method == "PUT" and "annotationName" in asked.query


def _spoiled_list(body: Callable[[bytes], bytes], most: int = 10**6) -> Any:
    """Return a relay function that changes lists of annotations, and the changed requests.

    Args:
        body: Returns the changed body.
        most: How many lists are changed.
    """
    changed: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        answer = forward()
        if _is_list(asked) and len(changed) < most:
            changed.append(asked)
            answer.body = body(answer.body)
            del answer.headers["content-length"]
        return answer

    return spoil, changed


@pytest.mark.timeout(30)
def test_a_list_that_repeats_its_page_is_an_error(
    versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """A list of annotations with the same continuation token twice is an error, no endless loop."""
    again = b"<NextContinuationToken>again</NextContinuationToken></ListObjectAnnotationsResult>"
    spoil, changed = _spoiled_list(
        lambda body: body.replace(b"</ListObjectAnnotationsResult>", again)
    )
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        with pytest.raises(StorageError, match="the listing is incomplete"):
            store.rotate(f"s3://{versioned_bucket}/x", to=ClientSide(aes()))
    assert len(changed) == 2


def test_a_list_that_lacks_a_name_is_asked_for_again(
    versioned_bucket: str, s3: Any, sandbox: Running, session: boto3.Session
) -> None:
    """A list of annotations with a nameless entry is requested again."""
    name = b"<AnnotationName>a</AnnotationName>"
    spoil, changed = _spoiled_list(lambda body: body.replace(name, b""), most=1)
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=relay.url))
        store.rotate(f"s3://{versioned_bucket}/x", to=ClientSide(aes()))
    assert len(changed) == 1
    assert notes_of(s3, versioned_bucket) == NOTES


@pytest.mark.parametrize("is_spoiled", [_is_list, _is_text])
def test_another_404_does_not_say_that_the_old_version_is_gone(
    is_spoiled: Callable[[Asked], bool],
    versioned_bucket: str,
    s3: Any,
    sandbox: Running,
    session: boto3.Session,
) -> None:
    """A proxy's 404 is not taken for a deleted old version.

    The run fails, and a later run succeeds.
    """
    uri, new = f"s3://{versioned_bucket}/x", ClientSide(aes())
    s3.put_object(Bucket=versioned_bucket, Key="x", Body=b"plain")
    annotate(s3, versioned_bucket, NOTES)
    refused = b"<Error><Code>NoSuchRoute</Code><Message>no</Message></Error>"
    what: Callable[[Asked], bool] = _is_written_text
    body = DENIED

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        return Answer(403 if body is DENIED else 404, {}, body) if what(asked) else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        client = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(StorageError, match="annotation"):
            S3Crypt(SSES3(), client=client).rotate(uri, to=new)
        what, body = is_spoiled, refused
        with pytest.raises(StorageError, match="annotation"):
            S3Crypt(new, client=client).rotate(uri, to=new)
    connect(new).rotate(uri, to=new)
    assert notes_of(s3, versioned_bucket) == NOTES
