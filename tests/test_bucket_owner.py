# SPDX-License-Identifier: Apache-2.0
"""Every request names the account that owns the bucket, and the account that pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from relay import relaying
from s3crypt_cli.main import run
from samples import MODES, PART, aes, connect, make_mode, names, payload, stored

from s3crypt import SSES3, ClientSide, ConfigError, S3Crypt, StorageError
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from relay import Asked

    from s3crypt.sandbox import Running

OWNER, OTHER = "123456789012", "210987654321"


def _lacking(asked: list[Asked], header: str) -> list[str]:
    """Return the requests without this header, except botocore's own requests.

    After a 400, botocore asks for the bucket's Region by a HEAD request for the bucket.
    """
    return [
        f"{one.method} {one.target}"
        for one in asked
        if header not in one.headers and (one.method, one.path.count("/")) != ("HEAD", 1)
    ]


@pytest.mark.parametrize("name", MODES)
def test_every_request_names_the_owner(
    name: str, sandbox: Running, versioned_bucket: str, kms_key: str
) -> None:
    """Every request for objects names the bucket's owner; copies also name the source's owner."""
    uri, mode = f"s3://{versioned_bucket}/x", make_mode(name, kms_key)
    with relaying(sandbox.endpoint_url) as relay:
        store = connect(
            mode,
            endpoint_url=relay.url,
            expected_bucket_owner=OWNER,
            request_payer="requester",
        )
        store.put(payload(PART + 1), uri, tags={"project": "ledger"})
        store.put(b"short", uri, if_absent=False)
        assert store.read(uri) == b"short"
        with store.open(uri) as file:
            assert file.read_ranges([(0, 2), (3, 5)]) == [b"sh", b"rt"]
        with store.open(f"{uri}-written", "wb") as file:
            file.write(payload(PART + 1))
        store.inspect(uri)
        store.head(uri)
        list(store.list(f"s3://{versioned_bucket}/"))
        store.rotate(f"s3://{versioned_bucket}/", to=make_mode("client-metadata", kms_key))
        store.delete(uri)
    assert _lacking(relay.asked, "x-amz-expected-bucket-owner") == []
    said = {one.headers.get("x-amz-expected-bucket-owner") for one in relay.asked}
    assert said - {None} == {OWNER}
    copies = [one for one in relay.asked if "x-amz-copy-source" in one.headers]
    assert _lacking(copies, "x-amz-source-expected-bucket-owner") == []
    # S3 accepts no payer in requests that set tags, nor in requests for a bucket alone.
    of_objects = [one for one in relay.asked if one.path.count("/") > 1]
    assert of_objects
    assert _lacking(of_objects, "x-amz-request-payer") == []


@pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=lambda mode: mode.name)
def test_a_bucket_of_somebody_else_gets_and_gives_nothing(mode: Any, bucket: str, s3: Any) -> None:
    """If the bucket has another owner, every verb fails and the objects are unchanged."""
    uri = f"s3://{bucket}/x"
    connect(mode).put(b"kept", uri)
    before = stored(s3, bucket, "x")
    store = connect(mode, expected_bucket_owner=OTHER)
    for attempt in (
        lambda: store.put(b"secret", uri),
        lambda: store.put(payload(PART + 1), uri),
        lambda: store.read(uri),
        lambda: store.inspect(uri),
        lambda: store.rotate(uri, to=ClientSide(aes("two"))),
        lambda: store.delete(uri),
        lambda: list(store.list(f"s3://{bucket}/")),
    ):
        with pytest.raises(StorageError) as caught:
            attempt()
        assert f"not belong to the expected account {OTHER}" in str(caught.value)
    assert (names(s3, bucket), stored(s3, bucket, "x")) == (["x"], before)


def test_copies_expect_the_owner_of_both_buckets(bucket: str, s3: Any) -> None:
    """A copy from a bucket of another account fails, also through the file system."""
    fs = S3CryptFileSystem(encryption="sse-s3", expected_bucket_owner=OTHER)
    connect(SSES3()).put(b"theirs", f"s3://{bucket}/x")
    copied = {"Bucket": bucket, "Key": "y", "CopySource": {"Bucket": bucket, "Key": "x"}}
    with pytest.raises(ClientError, match="Access Denied"):
        s3.copy_object(**copied, ExpectedBucketOwner=OWNER, ExpectedSourceBucketOwner=OTHER)
    with pytest.raises(StorageError, match=f"not belong to the expected account {OTHER}"):
        fs.cp_file(f"{bucket}/x", f"{bucket}/y")
    assert names(s3, bucket) == ["x"]


def test_a_client_that_was_given_is_not_changed(bucket: str, session: Any) -> None:
    """Two stores can share one client and expect different owners."""
    client = session.client("s3")
    connect(SSES3()).put(b"data", f"s3://{bucket}/x")
    ours = S3Crypt(SSES3(), client=client, expected_bucket_owner=OWNER)
    theirs = S3Crypt(SSES3(), client=client, expected_bucket_owner=OTHER)
    with pytest.raises(StorageError, match="not belong to the expected account"):
        theirs.read(f"s3://{bucket}/x")
    assert ours.read(f"s3://{bucket}/x") == b"data"
    assert S3Crypt(SSES3(), client=client).client is client
    with pytest.raises(StorageError, match="not belong to the expected account"):
        S3Crypt(SSES3(), client=theirs.client).read(f"s3://{bucket}/x")
    with pytest.raises(ConfigError, match="another bucket owner"):
        S3Crypt(client=theirs.client, expected_bucket_owner=OWNER).read(f"s3://{bucket}/x")
    with pytest.raises(ClientError, match="Forbidden"):
        ours.client.head_object(Bucket=bucket, Key="x", ExpectedBucketOwner=OTHER)


def test_the_file_system_and_the_command_expect_the_owner_too(bucket: str, tmp_path: Path) -> None:
    """The storage option and --expected-bucket-owner are checked as well."""
    path = f"{bucket}/x"
    S3CryptFileSystem(encryption="sse-s3", expected_bucket_owner=OWNER).pipe_file(path, b"data")
    fs = S3CryptFileSystem(encryption="sse-s3", expected_bucket_owner=OTHER)
    with pytest.raises(StorageError, match=f"not belong to the expected account {OTHER}"):
        fs.cat_file(path)
    command = ["get", f"s3://{path}", str(tmp_path / "x"), "--mode", "sse-s3"]
    assert run([*command, "--expected-bucket-owner", OTHER]) == 5
    assert not (tmp_path / "x").exists()
    assert run([*command, "--expected-bucket-owner", OWNER, "--request-payer", "requester"]) == 0
    assert run(["keys", "list", "--expected-bucket-owner", OWNER]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"expected_bucket_owner": "acme"},
        {"expected_bucket_owner": "12345678901"},
        {"expected_bucket_owner": 123456789012},
        {"expected_bucket_owner": ""},
        {"request_payer": "owner"},
        {"request_payer": True},
    ],
)
def test_wrong_values_are_refused_at_once(wrong: dict[str, Any]) -> None:
    """An account id must be text of twelve digits: a number could lose a leading zero."""
    with pytest.raises(ConfigError):
        S3Crypt(SSES3(), **wrong)
    with pytest.raises(ConfigError):
        S3CryptFileSystem(encryption="sse-s3", **wrong).pipe_file("acme/x", b"")
