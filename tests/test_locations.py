# SPDX-License-Identifier: Apache-2.0
"""URIs of objects, and ARNs of access points in place of a bucket, tested end to end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from samples import aes, connect, names, stored

from s3crypt import ClientSide, ConfigError, StorageError
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.filesystem.paths import split
from s3crypt.location import Location
from s3crypt.modes import is_access_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3crypt.sandbox import Running

OF_BUCKETS = "arn:aws:s3:us-east-1:111122223333:accesspoint/reports"
OF_OBJECT_LAMBDA = "arn:aws:s3-object-lambda:us-east-1:111122223333:accesspoint/reports"
OF_OUTPOSTS = (
    "arn:aws:s3-outposts:us-east-1:111122223333:outpost/op-01234567890123456/accesspoint/reports"
)
ARNS = [
    OF_BUCKETS,
    "arn:aws:s3:us-east-1:111122223333:accesspoint:reports",
    "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/reports",
    OF_OBJECT_LAMBDA,
    "arn:aws:s3-object-lambda:us-east-1:111122223333:accesspoint:reports",
    OF_OUTPOSTS,
    OF_OUTPOSTS.replace("/", ":"),
    "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap",
    "arn:aws:s3::111122223333:accesspoint:mfzwi23gnjvgw.mrap",
]
# No server runs at this address; a proxy in the test receives its requests.
ENDPOINT = "http://s3.test"


@pytest.mark.parametrize("bucket", [*ARNS, "acme", "reports-abcdef-s3alias"])
@pytest.mark.parametrize("name", ["2026/q3.csv", "x", "", "/x", "a:b//c/", "arn:aws:s3:::x/y"])
def test_a_uri_gives_its_bucket_and_its_name(bucket: str, name: str) -> None:
    """Bucket and name of a URI form the URI again, and file system paths are split alike."""
    location = Location.parse(f"s3://{bucket}/{name}")
    assert (location.bucket, location.name) == (bucket, name)
    assert str(location) == f"s3://{bucket}/{name}"
    assert split(f"{bucket}/{name}") == (bucket, name)
    assert is_access_point(bucket) == (bucket != "acme")


@pytest.mark.parametrize("bucket", [*ARNS, "acme"])
def test_a_uri_without_a_name(bucket: str) -> None:
    """A URI without a name means the bucket, and is refused where an object is needed."""
    assert Location.parse(f"s3://{bucket}") == Location(bucket, "")
    assert Location.parse(f"s3://{bucket}").is_prefix
    with pytest.raises(ConfigError, match="names a bucket"):
        Location.parse_object(f"s3://{bucket}/")


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("s3://arn:aws:s3:::acme/2026/q3.csv", "s3://acme/2026/q3.csv?"),
        ("s3://arn:aws:s3:::acme", "s3://acme/?"),
        ("arn:aws:s3:::acme/q3.csv", "s3://acme/q3.csv?"),
        (f"{OF_BUCKETS}/q3.csv", f"s3://{OF_BUCKETS}/q3.csv?"),
        ("s3://arn:aws:kms:us-east-1:111122223333:key/1234/x", "accesspoint/ACCESS_POINT/name"),
        ("s3://arn:aws:s3:us-east-1:1111:accesspoint/reports/x", "accesspoint/ACCESS_POINT/name"),
        ("s3://arn:aws:s3:us-east-1:111122223333:accesspoint/", "accesspoint/ACCESS_POINT/name"),
        ("s3://arn:aws:s3:us-east-1:111122223333:accesspoint/a_b/x", "ACCESS_POINT/name"),
        ("https://acme.s3.amazonaws.com/q3.csv", "s3://bucket/name"),
        ("s3:///q3.csv", "s3://bucket/name"),
        ("acme/q3.csv", "s3://bucket/name"),
        (None, "s3://bucket/name"),
        (b"s3://acme/q3.csv", "s3://bucket/name"),
        ("s3://acme/\udcff", "UTF-8"),
    ],
)
def test_what_is_no_uri_of_an_object(uri: Any, hint: str) -> None:
    """The hint for a wrong URI has the intended URI, if it follows from the given ARN."""
    with pytest.raises(ConfigError) as caught:
        Location.parse(uri)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        ("acme", False),
        ("a--usw2-az1--x-s3", True),
        ("a--usw2-az1--xa-s3", True),
        (OF_BUCKETS, False),
    ],
)
def test_directory_buckets_by_name(bucket: str, expected: bool) -> None:
    """A directory bucket, also behind an access point, is recognised by its name.

    Its listings are unsorted, so s3crypt must recognise it.
    """
    assert Location(bucket, "x").is_in_directory_bucket == expected


# --- From end to end -------------------------------------------------------------------------


@contextmanager
def resolving(sandbox: Running, bucket: str, arn: str) -> Iterator[list[Asked]]:
    """Let a proxy serve requests to an access point from the bucket, and yield these requests.

    botocore derives the host name from the ARN. In a request to AWS, only the source of a copy
    contains the ARN itself.
    """

    def spoil(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        target = urlsplit(asked.target)
        headers = {**asked.headers, "host": "127.0.0.1"}
        source = unquote(headers.get("x-amz-copy-source", ""))
        if source.startswith(f"{arn}/object/"):
            headers["x-amz-copy-source"] = quote(source.replace(f"{arn}/object/", f"{bucket}/", 1))
        query = f"?{target.query}" if target.query else ""
        path = f"/{bucket}{target.path}{query}"
        return forward(replace(asked, target=path, headers=headers))

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", relay.url)
        patch.setenv("AWS_ENDPOINT_URL_S3", ENDPOINT)
        yield relay.asked


@pytest.fixture(params=[OF_BUCKETS, OF_BUCKETS.replace("/", ":"), OF_OBJECT_LAMBDA])
def arn(request: pytest.FixtureRequest, sandbox: Running, bucket: str) -> Iterator[str]:
    """Return the ARN of an access point of the bucket."""
    with resolving(sandbox, bucket, request.param) as asked:
        yield request.param
    hosts = {urlsplit(each.target).hostname for each in asked}
    assert hosts == {"reports-111122223333.s3.test"}


def test_objects_through_an_access_point(arn: str, bucket: str, s3: Any) -> None:
    """Every verb accepts the ARN of an access point, and listings return it.

    The bound name of an object does not contain the ARN.
    """
    store, uri = connect(ClientSide(aes())), f"s3://{arn}/2026/q3.csv"
    assert store.put(b"plain", uri).uri == uri
    assert b"plain" not in stored(s3, bucket, "2026/q3.csv")
    (listed,) = store.list(f"s3://{arn}/2026/")
    assert listed.uri == uri
    assert store.read(listed.uri) == b"plain"
    assert store.inspect(uri).context == {"s3crypt:key": "2026/q3.csv"}
    store.copy(uri, f"s3://{arn}/copy", to=ClientSide(aes("two")))
    (outcome,) = store.rotate(uri, to=ClientSide(aes("two")))
    assert outcome.action == "re-encrypted"
    store.delete(uri)
    assert names(s3, bucket) == ["copy"]


def test_a_copy_inside_s3_through_an_access_point(arn: str) -> None:
    """An object can be rewrapped by a copy through an access point.

    Only the request for a copy contains the ARN itself, as the copy's source.
    """
    old, new = (ClientSide(aes(name), key_location="metadata") for name in ("one", "two"))
    connect(old).put(b"plain", f"s3://{arn}/x")
    (outcome,) = connect(old).rotate(f"s3://{arn}/", to=new)
    assert (outcome.uri, outcome.action) == (f"s3://{arn}/x", "rewrapped")
    assert connect(new).read(f"s3://{arn}/x") == b"plain"


def test_a_bound_bucket_is_named_beside_an_access_point(arn: str, bucket: str) -> None:
    """With bind_bucket, a put through an access point must name the bucket in `written_in`.

    The ARN of an access point does not contain the bucket.
    """
    mode = ClientSide(aes(), bind_bucket=True)
    with pytest.raises(ConfigError, match="access point"):
        connect(mode).put(b"plain", f"s3://{arn}/x")
    connect(mode, written_in=bucket).put(b"plain", f"s3://{arn}/x")
    assert connect(mode).read(f"s3://{arn}/x", written_in=bucket) == b"plain"


def test_the_file_system_through_an_access_point(arn: str, tmp_path: Path) -> None:
    """The file system accepts and lists paths that begin with the ARN of an access point."""
    (tmp_path / "own.key").write_bytes(bytes(range(32)))
    fs = S3CryptFileSystem(key=f"aes:tests/one={tmp_path / 'own.key'}")
    path = f"{arn}/2026/q3.csv"
    fs.pipe_file(path, b"plain")
    assert fs.ls(arn, detail=False) == [f"{arn}/2026"]
    assert fs.find(arn) == fs.glob(f"{arn}/2026/*.csv") == [path]
    assert fs.cat_file(path) == b"plain"
    assert fs.info(path)["size"] == 5
    assert fs.isdir(arn)
    assert [found for found, _, _ in fs.walk(arn)] == [arn, f"{arn}/2026"]
    fs.get(arn, str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/2026/q3.csv").read_bytes() == b"plain"
    fs.rm(arn, recursive=True)
    assert fs.find(arn) == []


def test_the_command_through_an_access_point(
    arn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command accepts URIs with the ARN of an access point, also those that `ls` prints."""
    (tmp_path / "own.key").write_bytes(bytes(range(32)))
    (tmp_path / "q3.csv").write_bytes(b"plain")
    key = ("--key", f"aes:tests/one={tmp_path / 'own.key'}")
    assert run(["put", str(tmp_path / "q3.csv"), f"s3://{arn}/", *key]) == 0
    assert run(["ls", f"s3://{arn}"]) == 0
    assert f"s3://{arn}/q3.csv" in capsys.readouterr().out
    assert run(["get", f"s3://{arn}/q3.csv", str(tmp_path / "back"), *key]) == 0
    assert (tmp_path / "back").read_bytes() == b"plain"
    assert run(["rm", f"s3://{arn}/q3.csv"]) == 0


def test_an_access_point_that_is_not_there(sandbox: Running) -> None:
    """A missing access point is not reported as a missing object."""

    def spoil(_: Asked, __: Callable[..., Answer]) -> Answer:
        return Answer(404, {}, b"<Error><Code>NoSuchAccessPoint</Code></Error>")

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(ClientSide(aes()), endpoint_url=relay.url)
        with pytest.raises(StorageError, match="no such access point") as caught:
            store.read("s3://reports-abcdef-s3alias/x")
    assert not isinstance(caught.value, FileNotFoundError)


def test_locks_behind_an_access_point_are_asked_for(
    versioned_bucket: str, sandbox: Running
) -> None:
    """Behind an access point s3crypt requests the object's locks, not the bucket's lock setting.

    An access point has no lock setting, but its bucket may lock objects.
    """
    with resolving(sandbox, versioned_bucket, OF_BUCKETS) as asked:
        store = connect(ClientSide(aes()))
        store.put(b"plain", f"s3://{OF_BUCKETS}/x")
        store.rotate(f"s3://{OF_BUCKETS}/x", to=ClientSide(aes("two")))
    assert not [each for each in asked if "object-lock" in each.query]
    assert [each for each in asked if "retention" in each.query]
