# SPDX-License-Identifier: Apache-2.0
"""Presigned URLs over plain HTTP: they work with their headers, and fail without them."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import boto3
import pytest
from botocore.config import Config
from s3crypt_cli.main import run
from samples import CUSTOMER_KEY, SERVER_SIDE, aes, connect, make_mode

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from s3crypt import Presigned

CONTENT = b"eu,90\n"


def send(
    made: Presigned, headers: Mapping[str, str], body: bytes | None = None, method: str = ""
) -> tuple[int, bytes]:
    """Send the presigned request as any HTTP client would. Return the status and the body."""
    parts = urlsplit(made.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        target = f"{parts.path}?{parts.query}"
        connection.request(method or made.method, target, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def all_headers(made: Presigned) -> dict[str, str]:
    """Return all headers that must be sent with a URL, including those with the customer key."""
    return {**made.headers, **made.key_headers}


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_get(name: str, bucket: str, key: str) -> None:
    """A presigned GET works in every server-side mode. Only SSE-C needs headers with it."""
    store = connect(make_mode(name, key))
    store.put(CONTENT, f"s3://{bucket}/2026/q 3+é.csv")
    made = store.presign(f"s3://{bucket}/2026/q 3+é.csv")
    assert send(made, all_headers(made)) == (200, CONTENT)
    assert bool(made.key_headers) == bool(made.headers) == (name == "sse-c")
    if name == "sse-c":
        assert send(made, {})[0] == 403
        assert send(made, {**all_headers(made), "x-amz-meta-more": "x"})[0] == 403


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_put(name: str, bucket: str, key: str) -> None:
    """A presigned PUT stores in the store's mode; a dropped, changed or added header is refused."""
    store, uri = connect(make_mode(name, key)), f"s3://{bucket}/x"
    made = store.presign(uri, method="PUT")
    headers = all_headers(made)
    for dropped in headers:
        left = {header: value for header, value in headers.items() if header != dropped}
        assert send(made, left, b"dropped")[0] == 403
        assert send(made, {**headers, dropped: "other"}, b"changed")[0] == 403
    assert send(made, {**headers, "x-amz-acl": "public-read"}, b"added")[0] == 403
    assert not connect().exists(uri)
    assert send(made, headers, CONTENT)[0] == 200
    assert store.inspect(uri).mode == name
    assert store.read(uri) == CONTENT


def test_a_url_is_for_one_method_and_name(bucket: str) -> None:
    """A URL signed for GET is refused for PUT: its signature covers the method."""
    store = connect(SSES3())
    store.put(CONTENT, f"s3://{bucket}/x")
    made = store.presign(f"s3://{bucket}/x")
    assert send(made, {}, b"over", method="PUT")[0] == 403
    assert store.read(f"s3://{bucket}/x") == CONTENT


def test_an_expired_url_is_refused(bucket: str) -> None:
    """A URL that is valid for one second is refused after this second."""
    store = connect(SSES3())
    store.put(CONTENT, f"s3://{bucket}/x")
    made = store.presign(f"s3://{bucket}/x", expires_in=1)
    time.sleep(2.1)
    status, body = send(made, {})
    assert (status, b"Request has expired" in body) == (403, True)


def test_a_version(versioned_bucket: str) -> None:
    """A URL for an old version returns that version."""
    store, uri = connect(SSES3()), f"s3://{versioned_bucket}/x"
    first = store.put(b"first", uri).version_id
    store.put(b"second", uri)
    assert send(store.presign(uri, version_id=first), {}) == (200, b"first")


def test_owner_and_payer_are_signed_too(bucket: str) -> None:
    """The store's expected owner and request payer are signed as headers of the URL."""
    store = connect(SSES3(), expected_bucket_owner="123456789012", request_payer="requester")
    store.put(CONTENT, f"s3://{bucket}/x")
    made = store.presign(f"s3://{bucket}/x")
    assert {"x-amz-expected-bucket-owner", "x-amz-request-payer"} == made.headers.keys()
    assert send(made, made.headers) == (200, CONTENT)


def secrets_of(key: bytes) -> list[str]:
    """Return every text form of a customer key and its MD5 that must not leak."""
    digest = md5(key, usedforsecurity=False)
    texts = [b64encode(key).decode(), key.hex(), b64encode(digest.digest()).decode()]
    texts.append(digest.hexdigest())
    return [
        spelling for text in texts for spelling in (text, quote(text, safe=""), text.rstrip("="))
    ]


@pytest.mark.parametrize("options", [[], ["--json"], ["--quiet"], ["--debug"]])
@pytest.mark.parametrize("put", [[], ["--put"]])
def test_the_key_is_in_no_url_and_no_output(
    options: list[str],
    put: list[str],
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither the URL nor any output shows the customer key or its MD5."""
    file = tmp_path / "customer.key"
    file.write_bytes(CUSTOMER_KEY)
    store = connect(SSEC(CUSTOMER_KEY))
    store.put(CONTENT, f"s3://{bucket}/x")
    command = ["presign", f"s3://{bucket}/x", "--sse-c-key-file", str(file), *options, *put]
    assert run(command) == 0
    told = "".join(capsys.readouterr())
    assert "X-Amz-Signature" in told
    made = store.presign(f"s3://{bucket}/x", method="PUT" if put else "GET")
    for text in (told, made.url, repr(made), repr(dict(made.headers))):
        for secret in secrets_of(CUSTOMER_KEY):
            assert secret.lower() not in text.lower()


@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
def test_the_curl_line_reads_the_key_from_its_file(
    form: str,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The printed curl line reads the customer key from its file, in each of its formats."""
    monkeypatch.chdir(tmp_path)
    forms = {
        "raw": CUSTOMER_KEY,
        "hex": f"{CUSTOMER_KEY.hex()}\n".encode(),
        "base64": b64encode(CUSTOMER_KEY) + b"\n",
    }
    (tmp_path / "my key").write_bytes(forms[form])
    (tmp_path / "it's").write_bytes(CONTENT)
    for options in (["--put"], []):
        uri = f"s3://{bucket}/{form}/it's"
        assert run(["presign", uri, "--sse-c-key-file", "my key", "--json", *options]) == 0
        line = json.loads(capsys.readouterr().out)["curl"]
        subprocess.run(["sh", "-c", line], check=True, capture_output=True)
        (tmp_path / "it's").rename(tmp_path / "sent") if options else None
    assert (tmp_path / "it's").read_bytes() == CONTENT
    assert connect(SSEC(CUSTOMER_KEY)).read(uri) == CONTENT


@pytest.mark.parametrize("mode", [None, ClientSide(aes())], ids=["any", "client"])
def test_client_side_objects_have_no_url(mode: ClientSide | None, bucket: str) -> None:
    """A client-side object gets no URL: S3 has no key for it. The hint names `s3crypt cp`."""
    connect(ClientSide(aes())).put(CONTENT, f"s3://{bucket}/x")
    with pytest.raises(PolicyError, match="S3 has no key for it") as caught:
        connect(mode).presign(f"s3://{bucket}/x")
    assert "s3crypt cp" in (caught.value.hint or "")


def test_nothing_is_put_into_a_client_side_prefix(bucket: str) -> None:
    """No put URL is made in mode client, or in another mode over or beside client-side objects."""
    connect(ClientSide(aes())).put(CONTENT, f"s3://{bucket}/p/x")
    with pytest.raises(ConfigError, match="would store plaintext"):
        connect(ClientSide(aes())).presign(f"s3://{bucket}/p/x", method="PUT")
    for name in ("p/x", "p/new"):
        with pytest.raises(PolicyError, match=f"s3://{bucket}/p/x is encrypted client-side"):
            connect(SSES3()).presign(f"s3://{bucket}/{name}", method="PUT")
    assert connect(SSES3()).presign(f"s3://{bucket}/q/x", method="PUT").url


def test_the_mode_of_the_object_is_demanded(bucket: str, key: str) -> None:
    """`presign` refuses an object that is not in the store's mode, as reads do."""
    connect(SSES3()).put(CONTENT, f"s3://{bucket}/x")
    with pytest.raises(PolicyError):
        connect(SSEKMS(key)).presign(f"s3://{bucket}/x")


def test_a_missing_object_has_no_url(bucket: str) -> None:
    """`presign` refuses to sign a GET of a missing object."""
    with pytest.raises(ObjectNotFoundError):
        connect().presign(f"s3://{bucket}/x")


@pytest.mark.parametrize("seconds", [0, -1, 604_801, True, 1.5])
def test_a_week_at_most(seconds: Any, bucket: str) -> None:
    """A duration outside one second to one week is refused before any request."""
    with pytest.raises(ConfigError):
        connect(SSES3()).presign(f"s3://{bucket}/x", method="PUT", expires_in=seconds)


def test_a_week(bucket: str) -> None:
    """A URL of one week is signed by SigV4, also in a Region where botocore would use SigV2."""
    made = connect(SSES3()).presign(f"s3://{bucket}/x", method="PUT", expires_in=604_800)
    query = parse_qs(urlsplit(made.url).query)
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["604800"])
    assert re.fullmatch("http://127.0.0.1:[0-9]+", made.url[: made.url.index("/", 8)])


def test_a_client_that_signs_by_sigv2_is_refused(bucket: str) -> None:
    """A client that signs by SigV2 is refused: SigV2 would put the customer key into the URL."""
    store = S3Crypt(SSEC(CUSTOMER_KEY), client=boto3.client("s3", config=Config()))
    with pytest.raises(ConfigError, match="SigV4") as caught:
        store.presign(f"s3://{bucket}/x", method="PUT")
    assert not [secret for secret in secrets_of(CUSTOMER_KEY) if secret in str(caught.value)]
    client = boto3.client("s3", config=Config(signature_version="s3v4"))
    made = S3Crypt(SSEC(CUSTOMER_KEY), client=client).presign(f"s3://{bucket}/x", method="PUT")
    assert send(made, all_headers(made), CONTENT)[0] == 200


def test_temporary_credentials_end_it_earlier(
    bucket: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With temporary credentials, the command says that the URL expires with the credentials."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    assert run(["presign", "--put", f"s3://{bucket}/x", "--mode", "sse-s3"]) == 0
    assert "until the temporary credentials end" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["-", "-o", "a{b,c}[1-3]", "a/../b", "./x", "n" * 300, "#1", "a b%2F?&"]
)
def test_the_curl_line_works_for_odd_names(
    name: str,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The curl line works for odd object names.

    The file that curl writes has the name of the object, if possible.
    """
    monkeypatch.chdir(tmp_path)
    last = name.rpartition("/")[2]
    file = tmp_path / ("object" if last == ".." or len(last) > 255 else last)
    file.write_bytes(CONTENT)
    uri = f"s3://{bucket}/{name}"
    for options in (["--put", "--mode", "sse-s3"], []):
        assert run(["presign", uri, "--json", *options]) == 0
        line = json.loads(capsys.readouterr().out)["curl"]
        subprocess.run(["sh", "-c", line], check=True, stdin=subprocess.DEVNULL)
        assert connect().read(uri) == CONTENT
        file.rename(tmp_path / "sent") if options else None
    assert file.read_bytes() == CONTENT


def test_nothing_is_put_into_a_new_part_of_a_client_side_prefix(bucket: str) -> None:
    """A put into an empty prefix is refused if the prefix above it has client-side objects.

    Client-side objects elsewhere in the bucket do not prevent the put.
    """
    connect(ClientSide(aes())).put(CONTENT, f"s3://{bucket}/2026/01/x")
    for name in ("2026/02/x", "2026/x", "2026/01/sub/deep/x", "2026//x"):
        with pytest.raises(PolicyError, match="2026/01/x is encrypted client-side"):
            connect(SSES3()).presign(f"s3://{bucket}/{name}", method="PUT")
    for name in ("x", "2027/x", "2026-02/x"):
        assert connect(SSES3()).presign(f"s3://{bucket}/{name}", method="PUT").url


@pytest.mark.parametrize(
    "text", ["0", "-1", "0d", "9" * 15, "9" * 5000, "99999d", "", "1.5h", "\n"]
)
def test_no_other_time_is_taken(text: str, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid duration is refused with one line on stderr and nothing on stdout."""
    line = ["presign", "--put", f"s3://{bucket}/x", "--mode", "sse-s3", "--expires-in", text]
    assert run(line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("s3crypt: ")
