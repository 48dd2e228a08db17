# SPDX-License-Identifier: Apache-2.0
"""Requests, replies and refusals, as the modules of the server pass them to each other.

This module must not know sockets, moto, or how a service handles a request.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote

from . import REGION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Prefix of the x-amz-target header -> the service. S3's requests do not have this header.
_TARGETS = {"TrentService": "kms"}
# Services that are recognized by their name in the credential's scope. Other names mean S3.
_SIGNED = frozenset({"access-analyzer", "cloudtrail", "iam", "s3tables", "s3vectors", "sts"})


@dataclass(frozen=True)
class Request:
    """One HTTP request with its body. Header names are in lower case.

    `spelling` maps each header name to its original spelling. Values that are derived from path,
    headers and body are cached, because many rules use them; cached properties need a class without
    slots. A request must not be modified.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False, default=b"")
    spelling: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def query(self) -> dict[str, str]:
        """The decoded query parameters. If a parameter is repeated, the last value counts."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @cached_property
    def bucket(self) -> str:
        """The S3 bucket's name, which is the first part of the path. Empty if the path is empty."""
        return unquote(self.raw_path[1:].partition("/")[0])

    @cached_property
    def key(self) -> str:
        """The S3 object's name; empty if the request is not about an object."""
        return unquote(self.raw_path[1:].partition("/")[2])

    @cached_property
    def copy_source(self) -> tuple[str, str, str | None] | None:
        """Bucket, key and version id of the source of an S3 copy.

        None if the request is not a copy.
        """
        source = self.headers.get("x-amz-copy-source")
        if source is None:
            return None
        path, _, query = source.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        return bucket, key, dict(parse_qsl(query)).get("versionId")

    @cached_property
    def service(self) -> str:
        """The name of the AWS service that the request is for."""
        # The path alone is not enough: an S3 bucket may be named v20180820.
        if self.raw_path.startswith("/v20180820/") and "x-amz-account-id" in self.headers:
            return "s3control"
        target = _TARGETS.get(self.headers.get("x-amz-target", "").partition(".")[0])
        signed = self.scope[3] if self.scope else ""
        return target or (signed if signed in _SIGNED else "s3")

    @cached_property
    def form(self) -> dict[str, str]:
        """The parameters in the body of a request to IAM or STS, which use the query protocol."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @cached_property
    def operation(self) -> str:
        """The name of the operation.

        Empty for S3 and other REST services, whose requests have no name.
        """
        if self.service in {"iam", "sts"}:
            return self.form.get("Action", "")
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    @cached_property
    def scope(self) -> list[str]:
        """The access key, date, Region, service and terminator of the credential.

        Empty if unsigned.
        """
        signed = re.search(r"Credential=([^,\s]+)", self.headers.get("authorization", ""))
        credential = signed[1] if signed else self.query.get("X-Amz-Credential", "")
        scope = credential.rsplit("/", 4)
        return scope if len(scope) == 5 else []

    @property
    def access_key(self) -> str:
        """The access key that signed the request. Empty if the request is not signed."""
        return self.scope[0] if self.scope else self.query.get("AWSAccessKeyId", "")

    @cached_property
    def region(self) -> str:
        """The Region for which the request was signed."""
        return self.scope[2] if self.scope else REGION

    @property
    def body_size(self) -> int:
        """The number of bytes of the content, without the framing of aws-chunked."""
        return int(self.headers.get("x-amz-decoded-content-length", len(self.body)))


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply with its body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(repr=False, default=b"")

    def header(self, name: str) -> str | None:
        """Return the value of the first header with a name, or None. `name` is in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """An error that a rule returns instead of a reply.

    `Service.refused` makes the reply from it.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Service(Protocol):
    """The rules of one AWS service."""

    def __call__(self, request: Request) -> Reply:
        """Return the reply to a request, or raise `Refusal`."""

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return the reply with which the service refuses a request."""


def incomplete() -> Refusal:
    """Return S3's refusal of a truncated body."""
    return Refusal(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    )


def json_reply(code: int, content: object) -> Reply:
    """Return a reply whose body is `content` as JSON."""
    body = json.dumps(content).encode("utf-8")
    return Reply(code, (("Content-Type", "application/json"),), body)


def json_refusal(request: Request, refusal: Refusal) -> Reply:
    """Return the reply with which a service with a REST-JSON protocol refuses a request."""
    reply = json_reply(refusal.status, {"message": refusal.message, "path": request.raw_path})
    more = (("x-amzn-ErrorType", refusal.code), ("x-amzn-RequestId", str(uuid.uuid4())))
    return replace(reply, headers=(*reply.headers, *more))


def xml_reply(status: int, content: str, headers: Iterable[tuple[str, str]] = ()) -> Reply:
    """Return a reply with an XML body. `content` is the root element as text."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{content}'.encode()
    return Reply(status, (("Content-Type", "application/xml"), *headers), body)


def xml_texts(document: str, element: str) -> list[str]:
    """Return the texts of all elements with this name that contain only text."""
    return [found.strip() for found in re.findall(rf"<{element}>([^<]*)</{element}>", document)]


def xml_text(document: str, element: str) -> str | None:
    """Return the text of the first element with this name, or None if there is no such element."""
    return next(iter(xml_texts(document, element)), None)
