# SPDX-License-Identifier: Apache-2.0
"""The sandbox stores a body only if it is complete and matches its checksums."""

from __future__ import annotations

import base64
import hashlib
import socket
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from awscrt.checksums import crc32c, crc64nvme
from botocore.exceptions import ClientError
from relay import Answer, Asked, relaying
from samples import names, payload, stored
from sandbox_samples import got

from s3crypt.sandbox import REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt.sandbox import Running

BODY = payload(3000)
PART = payload(5 * 2**20)
COMPUTED: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4),
    "crc32c": lambda body: crc32c(body).to_bytes(4),
    "crc64nvme": lambda body: crc64nvme(body).to_bytes(8),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
BITS = (0, 12_007, 8 * len(BODY) - 1)
WAYS = ("header", "trailer", "signed trailer")


def checksum(algorithm: str, body: bytes) -> str:
    """Return a checksum in S3's notation, computed without the sandbox's code."""
    return base64.b64encode(COMPUTED[algorithm](body)).decode()


def flipped(body: bytes, bit: int) -> bytes:
    """Return the body with the bit of this number changed."""
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def framed(way: str, algorithm: str, sent: bytes, value: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request with this checksum value.

    `way` says where the checksum is: in a header, or in a trailer after the bytes.
    """
    name = f"x-amz-checksum-{algorithm}"
    if way == "header":
        return {name: value}, sent
    signature = ";chunk-signature=" + "0" * 64 if way == "signed trailer" else ""
    kind = "AWS4-HMAC-SHA256-PAYLOAD" if signature else "UNSIGNED-PAYLOAD"
    half = len(sent) // 2
    chunks = [
        f"{len(chunk):x}{signature}\r\n".encode() + chunk + b"\r\n"
        for chunk in (sent[:half], sent[half:])
    ]
    headers = {
        "Content-Encoding": "aws-chunked",
        "x-amz-content-sha256": f"STREAMING-{kind}-TRAILER",
        "x-amz-decoded-content-length": str(len(sent)),
        "x-amz-trailer": name,
    }
    return headers, b"".join(chunks) + f"0{signature}\r\n{name}:{value}\r\n\r\n".encode()


def send(
    sandbox: Running, path: str, headers: dict[str, str], body: bytes, *, cut: int | None = None
) -> tuple[int, str]:
    """Put a body, and break off after `cut` bytes. Return the status and S3's error code.

    If `cut` is None, the whole body is sent.
    """
    address = urlsplit(sandbox.endpoint_url)
    said = {
        "Host": address.netloc,
        "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/s3/aws4",
        "Content-Length": str(len(body)),
        **headers,
    }
    if "Transfer-Encoding" in said:
        del said["Content-Length"]
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as connection:
        connection.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode() + body[:cut])
        connection.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    code = reply.partition("<Code>")[2].partition("</Code>")[0]
    return int(reply.split(" ")[1]), code


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("algorithm", COMPUTED)
def test_a_changed_object_is_not_stored(
    algorithm: str, way: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A body with a flipped bit is refused as BadDigest; the right body is stored."""
    value = checksum(algorithm, BODY)
    for bit in BITS:
        headers, body = framed(way, algorithm, flipped(BODY, bit), value)
        assert send(sandbox, f"/{bucket}/x", headers, body) == (400, "BadDigest")
    assert names(s3, bucket) == []
    assert send(sandbox, f"/{bucket}/x", *framed(way, algorithm, BODY, value)) == (200, "")
    assert stored(s3, bucket, "x") == BODY
    head = s3.head_object(Bucket=bucket, Key="x", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm.upper()}"] == value
    assert head["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("algorithm", COMPUTED)
def test_a_changed_part_is_not_stored(
    algorithm: str, way: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A part with a flipped bit is refused as BadDigest, and is not added to the upload."""
    begun = {"Bucket": bucket, "Key": "x", "ChecksumAlgorithm": algorithm.upper()}
    upload = s3.create_multipart_upload(**begun)["UploadId"]
    path = f"/{bucket}/x?uploadId={upload}&partNumber=1"
    value = checksum(algorithm, BODY)
    for bit in BITS:
        headers, body = framed(way, algorithm, flipped(BODY, bit), value)
        assert send(sandbox, path, headers, body) == (400, "BadDigest")
    assert s3.list_parts(Bucket=bucket, Key="x", UploadId=upload).get("Parts", []) == []
    assert send(sandbox, path, *framed(way, algorithm, BODY, value)) == (200, "")


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Content-MD5", base64.b64encode(hashlib.md5(BODY).digest()).decode(), "BadDigest"),
        ("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest(), "XAmzContentSHA256Mismatch"),
    ],
)
def test_a_hash_that_is_not_the_bodys_is_refused(
    header: str, value: str, code: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A body with a flipped bit is refused by its Content-MD5 or x-amz-content-sha256.

    A request that sets tags is checked too.
    """
    for bit in BITS:
        changed = flipped(BODY, bit)
        for path in (f"/{bucket}/x", f"/{bucket}/x?tagging"):
            assert send(sandbox, path, {header: value}, changed) == (400, code)
    assert names(s3, bucket) == []
    assert send(sandbox, f"/{bucket}/x", {header: value}, BODY) == (200, "")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-MD5": "AAAA"}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "no base64!"}, "InvalidRequest"),
        (
            {
                "x-amz-checksum-crc32": checksum("crc32", BODY),
                "x-amz-checksum-sha1": checksum("sha1", BODY),
            },
            "InvalidRequest",
        ),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
        ({"x-amz-checksum-xxhash64": "AAAAAAAAAAA="}, "NotImplemented"),
    ],
)
def test_a_senseless_checksum_is_refused(
    headers: dict[str, str], code: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A body is refused if its checksum is malformed or of an unknown kind."""
    assert send(sandbox, f"/{bucket}/x", headers, BODY)[1] == code
    assert names(s3, bucket) == []


@pytest.mark.parametrize("cut", [0, 1, 1500, 2999])
def test_a_body_cut_short_is_not_stored(cut: int, sandbox: Running, bucket: str, s3: Any) -> None:
    """A body or part with fewer bytes than Content-Length is refused as IncompleteBody."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"before")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="x")["UploadId"]
    for path in (f"/{bucket}/x", f"/{bucket}/x?uploadId={upload}&partNumber=1"):
        assert send(sandbox, path, {}, BODY, cut=cut) == (400, "IncompleteBody")
    assert stored(s3, bucket, "x") == b"before"
    assert s3.list_parts(Bucket=bucket, Key="x", UploadId=upload).get("Parts", []) == []


@pytest.mark.parametrize("way", WAYS[1:])
def test_an_aws_chunked_body_cut_short_is_not_stored(
    way: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A cut aws-chunked body is refused, even if its length is the one in Content-Length."""
    headers, body = framed(way, "crc32", BODY, checksum("crc32", BODY))
    for cut in (0, 2, 1000, len(body) // 2, len(body) - 40, len(body) - 4, len(body) - 3):
        status, code = send(sandbox, f"/{bucket}/x", headers, body[:cut])
        assert (status, code) == (400, "IncompleteBody"), cut
    short, body = framed(way, "crc32", BODY[:-1], checksum("crc32", BODY[:-1]))
    said = {**short, "x-amz-decoded-content-length": str(len(BODY))}
    assert send(sandbox, f"/{bucket}/x", said, body) == (400, "IncompleteBody")
    assert names(s3, bucket) == []


def test_a_chunked_body_cut_short_is_not_stored(sandbox: Running, bucket: str, s3: Any) -> None:
    """A body in HTTP's chunked encoding is refused if its last chunk or last line is missing."""
    headers = {"Transfer-Encoding": "chunked"}
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for cut in (0, 5, 1000, len(body) - 7, len(body) - 5, len(body) - 2):
        assert send(sandbox, f"/{bucket}/x", headers, body, cut=cut) == (400, "IncompleteBody")
    assert names(s3, bucket) == []
    assert send(sandbox, f"/{bucket}/x", headers, body) == (200, "")
    assert stored(s3, bucket, "x") == BODY


@pytest.mark.parametrize("trailer", ["", "x-amz-checksum-crc32c:AAAAAA==\r\n"])
def test_a_trailer_that_was_announced_must_come(
    trailer: str, sandbox: Running, bucket: str, s3: Any
) -> None:
    """A body without the announced trailer is refused: its checksum would be missing."""
    headers, body = framed("trailer", "crc32", BODY, checksum("crc32", BODY))
    body = body[: body.index(b"x-amz-checksum")] + f"{trailer}\r\n".encode()
    assert send(sandbox, f"/{bucket}/x", headers, body) == (400, "MalformedTrailerError")
    assert names(s3, bucket) == []


@pytest.mark.parametrize("size", [1000, len(PART) + 1000])
def test_botocores_own_checksums_fit(size: int, session: boto3.Session, bucket: str) -> None:
    """A body that changes between boto3's client and the sandbox is refused, and not stored."""

    def flip(asked: Asked, forward: Callable[..., Answer]) -> Answer:
        if asked.method != "PUT":
            return forward()
        return forward(Asked("PUT", asked.target, asked.headers, flipped(asked.body, 4000)))

    with relaying(str(session.client("s3").meta.endpoint_url), flip) as relay:
        client: Any = session.client("s3", endpoint_url=relay.url)
        with pytest.raises(ClientError, match=r"XAmzContentSHA256Mismatch|BadDigest"):
            client.put_object(Bucket=bucket, Key="x", Body=payload(size))
        assert names(client, bucket) == []


# --- Multipart objects -------------------------------------------------------------------------


class _Upload:
    """An upload of two parts, with one checksum algorithm and type."""

    def __init__(self, s3: Any, bucket: str, algorithm: str, kind: str) -> None:
        self.s3 = s3
        self.where = {"Bucket": bucket, "Key": "x"}
        begun = s3.create_multipart_upload(
            **self.where, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind
        )
        self.where["UploadId"] = begun["UploadId"]
        self.name = f"Checksum{algorithm.upper()}"
        self.listed = [
            {
                "PartNumber": number,
                "ETag": s3.upload_part(
                    **self.where,
                    PartNumber=number,
                    Body=body,
                    **{self.name: checksum(algorithm, body)},
                )["ETag"],
                self.name: checksum(algorithm, body),
            }
            for number, body in ((1, PART), (2, BODY))
        ]

    def complete(self, **arguments: Any) -> str:
        """Complete the upload. Return the error code of a refusal, or "" if it succeeded."""
        parts = {"Parts": self.listed}
        try:
            self.s3.complete_multipart_upload(**self.where, MultipartUpload=parts, **arguments)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""


def _composite(algorithm: str) -> str:
    digests = COMPUTED[algorithm](PART) + COMPUTED[algorithm](BODY)
    return f"{checksum(algorithm, digests)}-2"


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("crc32", "FULL_OBJECT"),
        ("crc32c", "FULL_OBJECT"),
        ("crc64nvme", "FULL_OBJECT"),
        ("crc32", "COMPOSITE"),
        ("crc32c", "COMPOSITE"),
        ("sha1", "COMPOSITE"),
        ("sha256", "COMPOSITE"),
    ],
)
def test_a_whole_that_is_not_its_parts_is_refused(
    algorithm: str, kind: str, bucket: str, s3: Any
) -> None:
    """CompleteMultipartUpload is refused if the checksum, its type or the size is wrong."""
    upload = _Upload(s3, bucket, algorithm, kind)
    value = checksum(algorithm, PART + BODY) if kind == "FULL_OBJECT" else _composite(algorithm)
    wrong = checksum(algorithm, BODY + PART) + ("-2" if kind == "COMPOSITE" else "")
    assert upload.complete(**{upload.name: wrong}) == "BadDigest"
    other = {"FULL_OBJECT": "COMPOSITE", "COMPOSITE": "FULL_OBJECT"}[kind]
    assert upload.complete(ChecksumType=other) == "InvalidRequest"
    assert upload.complete(MpuObjectSize=len(PART)) == "InvalidRequest"
    assert names(s3, bucket) == []
    size = len(PART) + len(BODY)
    asked = {upload.name: value, "ChecksumType": kind, "MpuObjectSize": size}
    assert upload.complete(**asked) == ""
    head = s3.head_object(Bucket=bucket, Key="x", ChecksumMode="ENABLED")
    assert (head[upload.name], head["ChecksumType"]) == (value, kind)


def test_a_listed_checksum_must_be_the_parts(bucket: str, s3: Any) -> None:
    """CompleteMultipartUpload is refused if a listed checksum differs from the stored part's."""
    upload = _Upload(s3, bucket, "crc64nvme", "FULL_OBJECT")
    upload.listed[1][upload.name] = checksum("crc64nvme", PART)
    assert upload.complete() == "InvalidPart"
    assert names(s3, bucket) == []


def test_a_part_of_another_algorithm_is_refused(sandbox: Running, bucket: str, s3: Any) -> None:
    """A part with a checksum of another algorithm than the upload's is refused."""
    begun = {"Bucket": bucket, "Key": "x", "ChecksumAlgorithm": "SHA256"}
    upload = s3.create_multipart_upload(**begun)["UploadId"]
    path = f"/{bucket}/x?uploadId={upload}&partNumber=1"
    headers, body = framed("header", "crc32", BODY, checksum("crc32", BODY))
    assert send(sandbox, path, headers, body) == (400, "InvalidRequest")


def test_an_object_that_came_without_has_a_checksum(sandbox: Running, bucket: str, s3: Any) -> None:
    """An object that is put without a checksum gets a CRC-64/NVME, returned with a whole body."""
    assert send(sandbox, f"/{bucket}/x", {}, BODY) == (200, "")
    s3.copy_object(Bucket=bucket, Key="y", CopySource=f"{bucket}/x")
    for name in ("x", "y"):
        where = {"Bucket": bucket, "Key": name, "ChecksumMode": "ENABLED"}
        for reply in (s3.head_object(**where), got(s3, **where)):
            assert reply["ChecksumCRC64NVME"] == checksum("crc64nvme", BODY)
            assert reply["ChecksumType"] == "FULL_OBJECT"
        assert "ChecksumCRC64NVME" not in got(s3, **where, Range="bytes=0-9")
    assert "ChecksumCRC64NVME" not in s3.head_object(Bucket=bucket, Key="x")
