# SPDX-License-Identifier: Apache-2.0
"""A canned S3 and KMS on loopback: constant replies, thousands per second, with a chosen delay.

    python canned.py FOLDER [--delay MS]

The server prints one line of JSON with its port, and ends when its standard input ends. Paths are
`/BUCKET/NAME`.

Every object of a bucket, under any name, has the content of `FOLDER/BUCKET.body` and the headers of
`FOLDER/BUCKET.json`; the server reads both files at the bucket's first request. ListObjectsV2 below
`COUNT/` has COUNT names, from `COUNT/0000000` on. Writes and deletions change nothing: the server
reads and drops bodies, and returns the headers that request encryption. DeleteObjects confirms
every key. KMS wraps a data key by putting it unencrypted into the blob, so that Decrypt and
ReEncrypt need no state. The server checks no context, permission or key state. Conditions always
hold. Any other request gets 501.

With `--delay`, a reply comes this number of milliseconds after the end of its request. A
`100 Continue` comes the same time after the request's head. A connection's first reply comes
another delay later, as after TCP's handshake. The event loop's timer waits, so that thousands of
requests can be in progress at once.

`GET /.counts` returns the number of requests per operation, and the number of deleted keys, as
JSON; `DELETE /.counts` sets them to zero.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import re
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import workload
from timeline import BACKLOG, Timeline, allow_many_connections

_HOST = "127.0.0.1"
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
_LAST_MODIFIED = _WRITTEN.strftime("Last-Modified: %a, %d %b %Y %H:%M:%S GMT\r\n").encode()
_ISO_MODIFIED = _WRITTEN.strftime("%Y-%m-%dT%H:%M:%S.000Z")
_NAME_DIGITS = 7
_PAGE = 1000
_ETAG = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_XML = b"Content-Type: application/xml\r\n"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
KMS_KEY = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555"
# The modification time in the metadata of all objects in buckets named `*-mtime`.
MTIME = 1_700_000_000
_BLOB = b"canned data key:"
_RANGE = re.compile(rb"bytes=(\d*)-(\d*)")
_LISTED = re.compile(r"([1-9]\d*)/(\d{0,7})")
_KEYS = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


@dataclass(slots=True)
class Request:
    """The head of a request.

    Attributes:
        method, path, query: From the first line, still quoted.
        head: The headers, each after a line end.
        lowered: `head` in lower case.
    """

    method: bytes
    path: bytes
    query: bytes
    head: bytes
    lowered: bytes

    @classmethod
    def parse(cls, head: bytes) -> "Request":
        """Parse the head of a request, which ends with a line end."""
        first, _, _ = head.partition(b"\r\n")
        method, target, _ = first.split(b" ")
        path, _, query = target.partition(b"?")
        return cls(method, path, query, head, head.lower())

    def header(self, name: bytes) -> bytes:
        """Return the value of a header, or b"" if the request lacks it. `name` is in lower case."""
        at = self.lowered.find(b"\r\n" + name + b":")
        if at < 0:
            return b""
        start = at + len(name) + 3
        return self.head[start : self.head.index(b"\r\n", start)].strip()

    @property
    def asks(self) -> set[bytes]:
        """Return the names of the query's parameters."""
        return {pair.partition(b"=")[0] for pair in self.query.split(b"&")} if self.query else set()


def _reply(status: str, headers: bytes = b"", body: bytes = b"") -> bytes:
    start = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode()
    return start + headers + b"\r\n" + body


def _xml(root: str, content: str, headers: bytes = b"") -> bytes:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">{content}</{root}>'
    )
    return _reply("200 OK", headers + _XML, text.encode())


def _refusal(status: str, code: str) -> bytes:
    text = f"<Error><Code>{code}</Code><Message>canned.py has no answer</Message></Error>"
    return _reply(status, _XML, text.encode())


_NOT_FOUND = _refusal("404 Not Found", "NoSuchKey")
_UNKNOWN = _refusal("501 Not Implemented", "NotImplemented")
_TAGGING = _xml("Tagging", "<TagSet></TagSet>")
_LOCATION = _xml("LocationConstraint", "")
_COPIED = f'<ETag>"{_ETAG}"</ETag><LastModified>{_ISO_MODIFIED}</LastModified>'
_DELETED = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(slots=True)
class Template:
    """The content and headers that every object of a bucket has.

    Attributes:
        body: The stored bytes.
        etag: The MD5 of the body.
        headers: The headers of every reply.
        checksums: Further headers, which a reply to a range does not have.
    """

    body: bytes
    etag: str
    headers: bytes
    checksums: bytes
    _made: dict[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, bucket: str) -> "Template | None":
        """Read the template of a bucket. Return None if the bucket is only written to."""
        try:
            body = (folder / f"{bucket}.body").read_bytes()
            described: Mapping[str, str] = json.loads((folder / f"{bucket}.json").read_text())
        except FileNotFoundError:
            return None
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        plain = [f'ETag: "{etag}"\r\nAccept-Ranges: bytes\r\n']
        checksums: list[str] = []
        for name, value in described.items():
            (checksums if "checksum" in name else plain).append(f"{name}: {value}\r\n")
        headers = _LAST_MODIFIED + "".join(plain).encode()
        return cls(body, etag, headers, "".join(checksums).encode())

    def get(self, wanted: bytes) -> bytes:
        """Return the reply to a GET.

        `wanted` is the value of the Range header, or b"" without one.
        """
        if wanted not in self._made:
            self._made[wanted] = self._part(wanted) if wanted else self._whole()
        return self._made[wanted]

    def head(self) -> bytes:
        """Return the reply to a HEAD."""
        whole = self._whole()
        return whole[: len(whole) - len(self.body)]

    def _whole(self) -> bytes:
        return _reply("200 OK", self.headers + self.checksums, self.body)

    def _part(self, wanted: bytes) -> bytes:
        match, size = _RANGE.fullmatch(wanted), len(self.body)
        if not match or not (match[1] or match[2]):
            return self._whole()
        if match[1]:
            first, last = int(match[1]), min(int(match[2] or size), size - 1)
        else:
            first, last = max(0, size - int(match[2])), size - 1
        if first > last:
            return _refusal("416 Requested Range Not Satisfiable", "InvalidRange")
        told = f"Content-Range: bytes {first}-{last}/{size}\r\n".encode()
        return _reply("206 Partial Content", self.headers + told, self.body[first : last + 1])


class Canned:
    """Makes the reply to each request, and counts the requests.

    Args:
        folder: The folder with the buckets' templates.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[bytes, Template | None] = {}
        self._answers: Mapping[bytes, Callable[..., tuple[str, bytes]]] = {
            b"GET": self._get,
            b"HEAD": self._head,
            b"PUT": self._put,
            b"DELETE": self._delete,
            b"POST": self._post,
        }
        self.counts: Counter[str] = Counter()

    def answer(self, request: Request, body: bytes) -> bytes:
        """Return the reply to a request."""
        if request.path == b"/" and request.method == b"POST":
            return self._kms(request, body)
        bucket, _, name = request.path[1:].partition(b"/")
        if request.method not in self._answers:
            return _UNKNOWN
        operation, reply = self._answers[request.method](request, bucket, name, body)
        self.counts[operation] += 1
        return reply

    def _template(self, bucket: bytes) -> Template | None:
        if bucket not in self._templates:
            self._templates[bucket] = Template.read(self._folder, bucket.decode())
        return self._templates[bucket]

    def _get(self, request: Request, bucket: bytes, name: bytes, _: bytes) -> tuple[str, bytes]:
        asks = request.asks
        template = self._template(bucket)
        if b"tagging" in asks:
            return "GetObjectTagging", _TAGGING
        if b"location" in asks:
            return "GetBucketLocation", _LOCATION
        if not name:
            return ("ListObjectsV2", self._list(request)) if b"list-type" in asks else _NO_ANSWER
        if asks - {b"versionId", b"x-id"}:
            return _NO_ANSWER
        return "GetObject", template.get(request.header(b"range")) if template else _NOT_FOUND

    def _head(self, _: Request, bucket: bytes, name: bytes, __: bytes) -> tuple[str, bytes]:
        if not name:
            return "HeadBucket", _reply("200 OK", b"x-amz-bucket-region: us-east-1\r\n")
        template = self._template(bucket)
        # A reply to HEAD has no body, not even if it is an error.
        missing = b"HTTP/1.1 404 Not Found\r\n\r\n"
        return "HeadObject", template.head() if template else missing

    def _put(self, request: Request, _: bytes, name: bytes, __: bytes) -> tuple[str, bytes]:
        echoed, asks = _echo(request), request.asks
        if not name or asks - {b"partNumber", b"uploadId", b"x-id"}:
            return _NO_ANSWER
        is_copy = bool(request.header(b"x-amz-copy-source"))
        if b"partNumber" in asks:
            operation, root = ("UploadPartCopy" if is_copy else "UploadPart"), "CopyPartResult"
        else:
            operation, root = ("CopyObject" if is_copy else "PutObject"), "CopyObjectResult"
        if is_copy:
            return operation, _xml(root, _COPIED, echoed)
        return operation, _reply("200 OK", f'ETag: "{_ETAG}"\r\n'.encode() + echoed)

    def _delete(self, request: Request, _: bytes, __: bytes, ___: bytes) -> tuple[str, bytes]:
        if b"uploadId" in request.asks:
            return "AbortMultipartUpload", _DELETED
        self.counts["deleted keys"] += 1
        return "DeleteObject", _DELETED

    def _post(self, request: Request, bucket: bytes, name: bytes, body: bytes) -> tuple[str, bytes]:
        place = f"<Bucket>{bucket.decode()}</Bucket><Key>{name.decode()}</Key>"
        asks = request.asks
        if b"delete" in asks:
            return "DeleteObjects", self._delete_listed(body)
        if b"uploads" in asks:
            content = f"{place}<UploadId>canned</UploadId>"
            echoed = _echo(request)
            return "CreateMultipartUpload", _xml("InitiateMultipartUploadResult", content, echoed)
        if b"uploadId" in asks:
            content = f'{place}<ETag>"{_ETAG}-1"</ETag>'
            return "CompleteMultipartUpload", _xml("CompleteMultipartUploadResult", content)
        return _NO_ANSWER

    def _delete_listed(self, body: bytes) -> bytes:
        keys = _KEYS.findall(body)
        self.counts["deleted keys"] += len(keys)
        if b"<Quiet>true</Quiet>" in body:
            keys = []
        listed = b"".join(b"<Deleted><Key>%b</Key></Deleted>" % key for key in keys)
        return _xml("DeleteResult", listed.decode())

    def _list(self, request: Request) -> bytes:
        asked = dict(parse_qsl(request.query.decode(), keep_blank_values=True))
        prefix, most = asked.get("prefix", ""), int(asked.get("max-keys", _PAGE))
        first, end = _numbers(prefix)
        start = max(first, int(asked.get("continuation-token", first)))
        stop = min(start + most, end)
        count = prefix.partition("/")[0]
        bucket = request.path[1:].partition(b"/")[0]
        template = self._template(bucket)
        size, etag = (len(template.body), template.etag) if template else (0, _ETAG)
        described = (
            f"<LastModified>{_ISO_MODIFIED}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
            f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
        listed = "".join(
            f"<Contents><Key>{count}/{number:0{_NAME_DIGITS}}</Key>{described}"
            for number in range(start, stop)
        )
        more = f"<NextContinuationToken>{stop}</NextContinuationToken>" if stop < end else ""
        told = (
            f"<Name>{bucket.decode()}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
            f"<KeyCount>{max(0, stop - start)}</KeyCount>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
        )
        return _xml("ListBucketResult", told + listed)

    def _kms(self, request: Request, body: bytes) -> bytes:
        operation = request.header(b"x-amz-target").decode().rpartition(".")[2]
        self.counts[operation] += 1
        if operation not in _KMS:
            return _UNKNOWN
        told = _KMS[operation](json.loads(body))
        status = "400 Bad Request" if "__type" in told else "200 OK"
        kind = b"Content-Type: application/x-amz-json-1.1\r\n"
        return _reply(status, kind, json.dumps(told).encode())


_NO_ANSWER = "other", _UNKNOWN


def _echo(request: Request) -> bytes:
    """Return the headers that request encryption, as S3 repeats them in its reply."""
    if b"x-amz-server-side-encryption" not in request.lowered:
        return b""
    lines = request.head.split(b"\r\n")[1:]
    return b"".join(
        line + b"\r\n"
        for line in lines
        if line.lower().startswith(b"x-amz-server-side-encryption")
        # S3 never sends a customer's key back.
        and not line.lower().startswith(b"x-amz-server-side-encryption-customer-key:")
    )


def _numbers(prefix: str) -> tuple[int, int]:
    """Return the numbers of the names that begin with a prefix: the first, and the last plus 1.

    Return two zeros if there are no such names.
    """
    match = _LISTED.fullmatch(prefix)
    if not match:
        return 0, 0
    unit = 10 ** (_NAME_DIGITS - len(match[2]))
    first = int(match[2] or 0) * unit
    return first, max(first, min(first + unit, int(match[1])))


# --- KMS ---------------------------------------------------------------------------------------


def _arn(key: str | None) -> str:
    """Return a key's ARN unchanged. For an alias, an id or None, return the ARN of the only key."""
    return key if key and ":key/" in key else KMS_KEY


def _wrapped(plaintext: bytes) -> str:
    return b64encode(_BLOB + plaintext).decode()


def _unwrapped(blob: str) -> bytes | None:
    came = b64decode(blob)
    return came[len(_BLOB) :] if came.startswith(_BLOB) else None


_INVALID = {"__type": "InvalidCiphertextException", "message": "not a blob of canned.py"}


def _generate(asked: Mapping[str, Any]) -> dict[str, Any]:
    plaintext = os.urandom(asked.get("NumberOfBytes", 32))
    shown = {"Plaintext": b64encode(plaintext).decode()}
    return {**shown, "CiphertextBlob": _wrapped(plaintext), "KeyId": _arn(asked.get("KeyId"))}


def _encrypt(asked: Mapping[str, Any]) -> dict[str, Any]:
    blob = _wrapped(b64decode(asked["Plaintext"]))
    return {"CiphertextBlob": blob, "KeyId": _arn(asked.get("KeyId"))}


def _decrypt(asked: Mapping[str, Any]) -> dict[str, Any]:
    plaintext = _unwrapped(asked["CiphertextBlob"])
    if plaintext is None:
        return _INVALID
    return {"Plaintext": b64encode(plaintext).decode(), "KeyId": _arn(asked.get("KeyId"))}


def _re_encrypt(asked: Mapping[str, Any]) -> dict[str, Any]:
    plaintext = _unwrapped(asked["CiphertextBlob"])
    if plaintext is None:
        return _INVALID
    keys = {
        "SourceKeyId": _arn(asked.get("SourceKeyId")),
        "KeyId": _arn(asked["DestinationKeyId"]),
    }
    return {"CiphertextBlob": _wrapped(plaintext), **keys}


def _describe(asked: Mapping[str, Any]) -> dict[str, Any]:
    arn = _arn(asked.get("KeyId"))
    described = {
        "Arn": arn,
        "KeyId": arn.rpartition("/")[2],
        "AWSAccountId": "111122223333",
        "CreationDate": _WRITTEN.timestamp(),
        "Enabled": True,
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "Origin": "AWS_KMS",
        "MultiRegion": False,
    }
    return {"KeyMetadata": described}


_KMS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "GenerateDataKey": _generate,
    "Encrypt": _encrypt,
    "Decrypt": _decrypt,
    "ReEncrypt": _re_encrypt,
    "DescribeKey": _describe,
}


# --- HTTP --------------------------------------------------------------------------------------


class _Connection(asyncio.Protocol):
    """Reads the requests of a connection one after another, and replies after the delay."""

    def __init__(
        self, canned: Canned, delay: float, loop: asyncio.AbstractEventLoop, timeline: Timeline
    ) -> None:
        self._canned = canned
        self._delay = delay
        self._loop = loop
        self._timeline = timeline
        self._transport: asyncio.Transport | None = None
        self._connected = 0.0
        self._came = b""
        self._request: Request | None = None
        self._left = 0
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connected = self._loop.time() + self._delay

    def data_received(self, data: bytes) -> None:
        if self._request:
            data = self._read_body(self._request, data)
        if self._came:
            data, self._came = self._came + data, b""
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._came = data
                return
            data = self._read_head(data[: end + 2], data[end + 4 :])

    def _read_head(self, head: bytes, rest: bytes) -> bytes:
        """Begin a request with this head. Return the bytes after the head."""
        request = Request.parse(head)
        self._left = int(request.header(b"content-length") or 0)
        if request.header(b"transfer-encoding"):
            # The length of the body is unknown. Our clients always announce the length over http,
            # so this request is refused.
            assert self._transport
            self._transport.write(_UNKNOWN)
            self._transport.close()
            return b""
        if not self._left:
            self._answer(request, b"")
            return rest
        self._request = request
        if request.header(b"expect"):
            self._send(_CONTINUE)
        return self._read_body(request, rest)

    def _read_body(self, request: Request, data: bytes) -> bytes:
        part = data[: self._left]
        self._left -= len(part)
        if request.method == b"POST":
            self._body += part
        if not self._left:
            self._request = None
            self._answer(request, bytes(self._body))
            self._body.clear()
        return data[len(part) :]

    def _answer(self, request: Request, body: bytes) -> None:
        if request.path == b"/.counts":
            assert self._transport
            if request.method == b"DELETE":
                self._canned.counts.clear()
            self._transport.write(_reply("200 OK", b"", json.dumps(self._canned.counts).encode()))
            return
        self._send(self._canned.answer(request, body))

    def _send(self, reply: bytes) -> None:
        if not self._delay:
            self._deliver(reply)
            return
        due = max(self._loop.time(), self._connected) + self._delay
        self._timeline.call_at(due, self._deliver, reply)

    def _deliver(self, reply: bytes) -> None:
        assert self._transport
        if not self._transport.is_closing():
            self._transport.write(reply)


async def serve(folder: Path, delay: float) -> None:
    """Reply to requests until standard input ends. `delay` is in seconds."""
    loop = asyncio.get_running_loop()
    canned, timeline = Canned(folder), Timeline(loop)
    server = await loop.create_server(
        lambda: _Connection(canned, delay, loop, timeline), _HOST, 0, backlog=BACKLOG
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@dataclass(frozen=True, slots=True)
class CannedServer:
    """A canned server that runs in a process of its own.

    Attributes:
        port: The server's port on loopback.
        folder: The folder with its buckets' templates.
    """

    port: int
    folder: Path

    @property
    def endpoint_url(self) -> str:
        """Return the server's address."""
        return f"http://{_HOST}:{self.port}"

    def counts(self) -> dict[str, int]:
        """Return the number of requests per operation."""
        return self._ask("GET")

    def forget(self) -> None:
        """Set all counts to zero."""
        self._ask("DELETE")

    def _ask(self, method: str) -> dict[str, int]:
        with closing(http.client.HTTPConnection(_HOST, self.port, timeout=10)) as connection:
            connection.request(method, "/.counts")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return counts


@contextmanager
def running(folder: Path, delay: float) -> Iterator[CannedServer]:
    """Run a canned server during the block. `delay` is in milliseconds."""
    with workload.talking([sys.executable, __file__, folder, "--delay", str(delay)]) as said:
        yield CannedServer(said["port"], folder)


def main() -> None:
    """Parse the arguments, and run the server."""
    parser = argparse.ArgumentParser(description="Answer as S3 and KMS would, always the same.")
    parser.add_argument("folder", type=Path, help="BUCKET.body and BUCKET.json: every object there")
    parser.add_argument("--delay", type=float, default=0, help="milliseconds to a reply (0)")
    asked = parser.parse_args()
    allow_many_connections()
    asyncio.run(serve(asked.folder, asked.delay / 1000))


if __name__ == "__main__":
    main()
