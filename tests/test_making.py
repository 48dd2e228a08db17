# SPDX-License-Identifier: Apache-2.0
"""The commands mb, rb and keygen: which resources they create, and which they refuse to create."""

from __future__ import annotations

import json
import os
import shlex
import stat
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from relay import Answer, relaying
from s3crypt_cli.main import run
from samples import connect, names, uploads

from s3crypt import SSEC, SSES3, ConflictError, S3Crypt, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Asked

    from s3crypt.sandbox import Running

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def name(s3: Any) -> Iterator[str]:
    """Return the name of a bucket that does not exist yet."""
    new = f"made-{uuid.uuid4()}"
    yield new
    if new in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.delete_bucket(Bucket=new)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_bucket_is_made_once(s3: Any, name: str, region: str, capsys: Captured) -> None:
    """`mb` creates the bucket in the given Region; a second call changes nothing."""
    assert run(["mb", f"s3://{name}", "--region", region]) == 0
    assert "bucket init" in capsys.readouterr().err
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] in (region, None)
    assert run(["mb", f"s3://{name}/", "--region", region]) == 0
    assert "nothing was changed" in capsys.readouterr().err
    assert run(["mb", name, "--region", region, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == (
        {"action": "kept", "bucket": name, "region": region}
    )


def test_ones_own_bucket_elsewhere_is_an_error(name: str, capsys: Captured) -> None:
    """`mb` of the caller's own bucket in another Region fails, and names that Region."""
    assert run(["mb", f"s3://{name}", "--quiet"]) == 0
    assert run(["mb", f"s3://{name}", "--region", "eu-west-1"]) == 5
    assert "already belongs to you, in us-east-1" in capsys.readouterr().err


def test_the_name_of_another_account_is_taken(
    name: str, sandbox: Running, capsys: Captured
) -> None:
    """If another account owns the name, mb fails and says so."""
    taken = b"<Error><Code>BucketAlreadyExists</Code><Message>no</Message></Error>"

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(409, {}, taken) if asked.method == "PUT" else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert run(["mb", f"s3://{name}", "--endpoint-url", relay.url]) == 5
    assert capsys.readouterr().err.startswith(f"s3crypt: s3://{name}: another account has")


def test_a_new_bucket_refuses_customer_keys(name: str) -> None:
    """A new bucket refuses SSE-C, as in AWS, and the put's error names SSE-C."""
    store = S3Crypt(SSEC(bytes(32)))
    assert store.make_bucket(name)
    assert not store.make_bucket(f"s3://{name}")
    with pytest.raises(StorageError, match="SSE-C"):
        store.put(b"x", f"s3://{name}/x")


def test_an_empty_bucket_is_removed(s3: Any, name: str, capsys: Captured) -> None:
    """`rb` removes an empty bucket; a second rb reports that there is no such bucket."""
    s3.create_bucket(Bucket=name)
    assert run(["rb", f"s3://{name}"]) == 0
    assert run(["rb", f"s3://{name}"]) == 5
    assert "no such bucket" in capsys.readouterr().err


def test_a_bucket_with_objects_is_kept(bucket: str, s3: Any, capsys: Captured) -> None:
    """`rb` of a bucket with objects fails.

    The error has their number and the command that deletes them.
    """
    for number in range(3):
        connect(SSES3()).put(b"x", f"s3://{bucket}/{number}")
    assert run(["rb", f"s3://{bucket}"]) == 5
    error = capsys.readouterr().err
    assert f"s3://{bucket} is not empty: 3 objects.\n" in error
    assert f"s3crypt rm -r s3://{bucket}/" in error
    assert len(names(s3, bucket)) == 3


def test_a_bucket_with_versions_or_uploads_is_kept(versioned_bucket: str, s3: Any) -> None:
    """`rb` is refused if versions or unfinished uploads exist.

    S3 itself would delete a bucket with unfinished uploads.
    """
    store = connect(SSES3())
    store.put(b"x", f"s3://{versioned_bucket}/x")
    store.delete(f"s3://{versioned_bucket}/x")
    s3.create_multipart_upload(Bucket=versioned_bucket, Key="y")
    with pytest.raises(ConflictError, match="2 versions and delete markers, 1 unfinished uploads"):
        store.remove_bucket(versioned_bucket)
    assert uploads(s3, versioned_bucket) == ["y"]


def test_a_raw_key(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """`keygen` writes 32 bytes with mode 0600; the options that it prints encrypt and decrypt."""
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "reports.key"]) == 0
    captured = capsys.readouterr()
    key = (tmp_path / "reports.key").read_bytes()
    assert len(key) == 32
    assert stat.S_IMODE((tmp_path / "reports.key").stat().st_mode) == 0o600
    assert key.hex() not in captured.out + captured.err
    first, second = captured.out.splitlines()
    assert first == "--key aes:local/reports=reports.key"
    (tmp_path / "plain").write_bytes(b"plain")
    for use in (first, second.removesuffix("  (SSE-C)")):
        assert run(["put", "plain", f"s3://{bucket}/x", *use.split()]) == 0
        assert run(["get", f"s3://{bucket}/x", "back", *use.split()]) == 0
        assert (tmp_path / "back").read_bytes() == b"plain"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277, 0o777])
def test_a_key_file_has_one_mode(umask: int, tmp_path: Path) -> None:
    """A new key file has mode 0600, whatever the umask is."""
    before = os.umask(umask)
    try:
        assert run(["keygen", str(tmp_path / "k"), "-q"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


@pytest.mark.parametrize("file", ["a\nb", "a\x1b[31mb", "caf\udce9", "a=b", "~", "a b", "-k", ".k"])
def test_the_options_of_a_key_work_for_every_file(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The option that `keygen` prints works for any file name.

    The name of the key in the option has only printable characters.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_bytes(b"plain")
    assert run(["keygen", "--json", "--", file]) == 0
    option, key = shlex.split(json.loads(capsys.readouterr().out)["key"])
    assert key.partition("=")[0].isprintable()
    assert run(["encrypt", "plain", "sealed", option, key]) == 0
    assert run(["decrypt", "sealed", "back", option, key]) == 0
    assert (tmp_path / "back").read_bytes() == b"plain"


@pytest.mark.parametrize(("options", "bits"), [(["2048"], 2048), ([], 4096)])
def test_a_pair_of_rsa_keys(
    options: list[str], bits: int, tmp_path: Path, bucket: str, capsys: Captured
) -> None:
    """`keygen --rsa` writes a pair of files with mode 0600.

    The public key encrypts, and the private key decrypts.
    """
    file = tmp_path / "team.pem"
    assert run(["keygen", str(file), "--json", "--rsa", *options]) == 0
    uses = json.loads(capsys.readouterr().out)
    (tmp_path / "plain").write_bytes(b"plain")
    assert run(["put", str(tmp_path / "plain"), f"s3://{bucket}/x", *uses["public"].split()]) == 0
    assert run(["cat", f"s3://{bucket}/x", *uses["public"].split()]) != 0
    assert run(["get", f"s3://{bucket}/x", str(tmp_path / "back"), *uses["key"].split()]) == 0
    assert file.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == bits
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("team*")} == {0o600}


@pytest.mark.parametrize("there", ["a.pem", "a.pem.pub"])
@pytest.mark.parametrize("is_link", [False, True])
def test_no_key_file_is_overwritten(
    there: str, tmp_path: Path, capsys: Captured, *, is_link: bool
) -> None:
    """If one of the two files exists, even as a dangling link, keygen creates no key."""
    if is_link:
        (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / there).write_bytes(b"mine")
    assert run(["keygen", str(tmp_path / "a.pem"), "--rsa", "2048"]) == 2
    assert f"{there} exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert is_link or (tmp_path / there).read_bytes() == b"mine"


def test_the_default_client_makes_buckets_too(name: str) -> None:
    """`make_bucket` uses the Region of the client that the caller passed."""
    store = S3Crypt(client=boto3.client("s3", region_name="eu-central-1"))
    assert store.make_bucket(name)
