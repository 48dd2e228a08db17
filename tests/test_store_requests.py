# SPDX-License-Identifier: Apache-2.0
"""The encryption headers and conditions of each operation's requests, from the sandbox's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from samples import CUSTOMER_KEY, LARGE, MODES, PART, aes, connect, make_mode, payload

from s3crypt import DSSEKMS, SSEC, SSEKMS, SSES3, ClientSide

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

SSE = "x-amz-server-side-encryption"
SSE_C_MD5 = f"{SSE}-customer-key-md5"


def _all_operations(store: Any, bucket: str, folder: Path) -> None:
    """Put a small and a large object, inspect them, read them, and list and delete them."""
    for name, size in (("small", 10), ("large", LARGE)):
        uri = f"s3://{bucket}/{name}"
        store.put(payload(size), uri, if_absent=True)
        store.inspect(uri)
        store.get(uri, folder / name)
        store.read(uri)
        store.needs_rotation(uri, to=store.mode)
        list(store.list(f"s3://{bucket}"))
        store.delete(uri)


def _kind(entry: dict[str, Any]) -> str:
    """Return the name of the S3 operation of a logged request."""
    query = entry["query"]
    special = {
        ("POST", "uploads"): "create",
        ("PUT", "partNumber"): "part",
        ("POST", "uploadId"): "complete",
        ("DELETE", "uploadId"): "abort",
        ("GET", "list-type"): "list",
    }
    for (method, parameter), kind in special.items():
        if entry["method"] == method and parameter in query:
            return kind
    return str(entry["method"]).lower()


def _by_kind(log: RequestsLog) -> dict[str, list[dict[str, str]]]:
    """Return the headers of all S3 requests, by the operation's name."""
    found: dict[str, list[dict[str, str]]] = {}
    for entry in log.list():
        # The sandbox is not AWS, so a conditional write first sends a HEAD, which gets 404.
        is_absent = (entry["method"], entry["status"]) == ("HEAD", 404)
        assert entry["status"] < 300 or is_absent, entry
        if "x-amz-target" not in entry["headers"]:
            found.setdefault(_kind(entry), []).append(entry["headers"])
    return found


def test_a_customer_key_goes_with_every_request_about_the_object(
    bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """All requests about an SSE-C object have its key, except lists and deletions."""
    mode = SSEC(CUSTOMER_KEY)
    _all_operations(connect(mode), bucket, tmp_path)
    found = _by_kind(requests_log)
    for kind in ("put", "create", "part", "complete", "get", "head"):
        assert found[kind]
        assert all(headers.get(SSE_C_MD5) == mode.key_md5 for headers in found[kind]), kind
    for kind in ("list", "delete"):
        assert all(SSE_C_MD5 not in headers for headers in found[kind]), kind
    assert not any(SSE in headers for many in found.values() for headers in many)


@pytest.mark.parametrize("name", ["sse-s3", "sse-kms", "dsse-kms"])
def test_other_encryption_headers_go_with_writes_only(
    name: str, bucket: str, kms_key: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """Other encryption headers are only in requests that create an object or an upload.

    S3 refuses them on GET and HEAD, and a part has its upload's encryption.
    """
    _all_operations(connect(make_mode(name, kms_key)), bucket, tmp_path)
    for kind, many in _by_kind(requests_log).items():
        for headers in many:
            sent = {header for header in headers if header.startswith(SSE)}
            assert bool(sent) == (kind in ("put", "create")), kind


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        (lambda _: SSES3(), {"": "AES256"}),
        (
            SSEKMS,
            {"": "aws:kms", "-aws-kms-key-id": "KEY", "-bucket-key-enabled": "true"},
        ),
        (
            lambda key: SSEKMS(key, {"a": "ä"}, bucket_key=False),
            {
                "": "aws:kms",
                "-aws-kms-key-id": "KEY",
                "-bucket-key-enabled": "false",
                "-context": "eyJhIjogIlx1MDBlNCJ9",
            },
        ),
        (DSSEKMS, {"": "aws:kms:dsse", "-aws-kms-key-id": "KEY"}),
        (lambda _: ClientSide(aes()), {}),
    ],
)
@pytest.mark.parametrize("size", [1, PART + 1])
def test_what_a_write_asks_for(
    mode: Any,
    sent: dict[str, str],
    size: int,
    bucket: str,
    kms_key: str,
    requests_log: RequestsLog,
) -> None:
    """The request that creates an object has exactly the expected encryption headers."""
    connect(mode(kms_key)).put(payload(size), f"s3://{bucket}/x")
    found = _by_kind(requests_log)
    (headers,) = found["put" if size == 1 else "create"]
    expected = {f"{SSE}{name}": value.replace("KEY", kms_key) for name, value in sent.items()}
    assert {name: value for name, value in headers.items() if name.startswith(SSE)} == expected


@pytest.mark.parametrize("name", MODES)
def test_every_later_get_is_pinned_and_ranged(
    name: str, bucket: str, kms_key: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """Each later GET of a read has a range, and the ETag of the first reply as its condition."""
    store, uri = connect(make_mode(name, kms_key)), f"s3://{bucket}/x"
    etag = store.put(payload(LARGE), uri).etag
    requests_log.clear()
    store.get(uri, tmp_path / "out")
    first, *later = _by_kind(requests_log)["get"]
    assert first["range"] == f"bytes=0-{PART - 1}"
    assert "if-match" not in first
    assert later
    assert all(headers["if-match"] == f'"{etag}"' for headers in later)
    moved = sum(e["response_bytes"] for e in requests_log.list() if e["method"] == "GET")
    # At most the bytes of one part are fetched twice: those of the first request.
    assert moved <= store.inspect(uri).stored_size + PART


@pytest.mark.parametrize("size", [1, PART + 1])
def test_if_absent_is_s3s_own_condition(size: int, bucket: str, requests_log: RequestsLog) -> None:
    """With if_absent, only the request that creates the object has the condition."""
    connect(SSES3()).put(payload(size), f"s3://{bucket}/x", if_absent=True)
    for kind, many in _by_kind(requests_log).items():
        expected = "*" if kind in ("put", "complete") else None
        assert all(headers.get("if-none-match") == expected for headers in many), kind


def test_a_small_object_takes_one_request(
    bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """A small object is put by one request, and read by a GET; in SSE modes a HEAD follows.

    The HEAD fetches the checksum: S3 does not promise it in the reply to a range, and the sandbox
    never sends it there.
    """
    for mode in (SSES3(), SSEC(CUSTOMER_KEY), ClientSide(aes())):
        store, uri = connect(mode), f"s3://{bucket}/x"
        requests_log.clear()
        store.put(payload(100), uri)
        assert len(requests_log.list()) == 1
        requests_log.clear()
        store.get(uri, tmp_path / "out")
        expected = ["GET"] if isinstance(mode, ClientSide) else ["GET", "HEAD"]
        assert [entry["method"] for entry in requests_log.list()] == expected


def test_no_customer_key_is_logged(bucket: str, requests_log: RequestsLog) -> None:
    """The log shows the MD5 of a customer key, not the key."""
    mode = SSEC(CUSTOMER_KEY)
    connect(mode).put(b"x", f"s3://{bucket}/x")
    assert str(mode.write_arguments()["SSECustomerKey"]) not in str(requests_log.list())
