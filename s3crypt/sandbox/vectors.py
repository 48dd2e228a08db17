# SPDX-License-Identifier: Apache-2.0
"""S3 Vectors: creates and reads vector buckets and indexes, and their encryption.

An index holds no vectors. moto's own implementation is not used.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, ClassVar

from .wire import Refusal, Reply, Request, json_refusal, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backend import Moto

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_MOST = 500
_SSE_S3 = {"sseType": "AES256"}
_OF_INDEX = ("dataType", "dimension", "distanceMetric", "metadataConfiguration")


class Vectors:
    """The operations of S3 Vectors that the sandbox implements."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto

    def __call__(self, request: Request) -> Reply:
        """Return the reply to a request.

        Raises:
            Refusal: The sandbox does not implement the operation, or S3 Vectors would refuse the
                request.
        """
        answer = self._OPERATIONS.get(operation_of(request))
        if answer is None:
            raise Refusal(501, "NotImplemented", "The sandbox does not answer this operation.")
        return json_reply(200, answer(self, request.region, json.loads(request.body or b"{}")))

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return S3 Vectors' reply to a request that it refuses."""
        return json_refusal(request, refusal)

    def _create_bucket(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = _checked_name(asked, "vectorBucketName")
        arn = self._arn(region, name)
        if arn in self._moto.vector_buckets:
            raise Refusal(409, "ConflictException", "A vector bucket with this name exists.")
        self._moto.vector_buckets[arn] = {
            "vectorBucketName": name,
            "vectorBucketArn": arn,
            "creationTime": time.time(),
            "encryptionConfiguration": _encryption(asked) or _SSE_S3,
        }
        self._moto.vector_indexes[arn] = {}
        return {"vectorBucketArn": arn}

    def _list_buckets(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        kept = ("vectorBucketName", "vectorBucketArn", "creationTime")
        found = [
            {name: bucket[name] for name in kept}
            for arn, bucket in self._moto.vector_buckets.items()
            if arn.startswith(self._arn(region, asked.get("prefix", "")))
        ]
        return _page(asked, found, "vectorBuckets")

    def _get_bucket(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"vectorBucket": self._moto.vector_buckets[self._bucket(region, asked)]}

    def _create_index(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        name, bucket = _checked_name(asked, "indexName"), self._bucket(region, asked)
        indexes = self._moto.vector_indexes[bucket]
        if name in indexes:
            raise Refusal(409, "ConflictException", "An index with this name exists.")
        of_bucket = self._moto.vector_buckets[bucket]
        arn = f"{bucket}/index/{name}"
        indexes[name] = {
            "vectorBucketName": of_bucket["vectorBucketName"],
            "indexName": name,
            "indexArn": arn,
            "creationTime": time.time(),
            **{member: asked[member] for member in _OF_INDEX if member in asked},
            "encryptionConfiguration": _encryption(asked) or of_bucket["encryptionConfiguration"],
        }
        return {"indexArn": arn}

    def _list_indexes(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        kept = ("vectorBucketName", "indexName", "indexArn", "creationTime")
        found = [
            {member: index[member] for member in kept}
            for name, index in self._moto.vector_indexes[self._bucket(region, asked)].items()
            if name.startswith(asked.get("prefix", ""))
        ]
        return _page(asked, found, "indexes")

    def _get_index(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        arn, _, name = str(asked.get("indexArn", "")).partition("/index/")
        named = {**asked, "vectorBucketArn": arn} if name else asked
        indexes = self._moto.vector_indexes[self._bucket(region, named)]
        found = indexes.get(name or str(asked.get("indexName", "")))
        if found is None:
            raise _absent("index")
        return {"index": found}

    def _bucket(self, region: str, asked: dict[str, Any]) -> str:
        """Return the ARN of the bucket that a request names.

        Refuse a bucket that does not exist.
        """
        name = str(asked.get("vectorBucketName", ""))
        arn = str(asked.get("vectorBucketArn") or self._arn(region, name))
        if arn not in self._moto.vector_buckets:
            raise _absent("vector bucket")
        return arn

    def _arn(self, region: str, name: str) -> str:
        return f"arn:aws:s3vectors:{region}:{self._moto.account}:bucket/{name}"

    _OPERATIONS: ClassVar[dict[str, Callable[[Vectors, str, dict[str, Any]], dict[str, Any]]]] = {
        "CreateVectorBucket": _create_bucket,
        "ListVectorBuckets": _list_buckets,
        "GetVectorBucket": _get_bucket,
        "CreateIndex": _create_index,
        "ListIndexes": _list_indexes,
        "GetIndex": _get_index,
    }


def operation_of(request: Request) -> str:
    """Return the name of the operation that a request is for, which is its path."""
    return request.raw_path.removeprefix("/")


def _checked_name(asked: dict[str, Any], member: str) -> str:
    name = str(asked.get(member, ""))
    if _NAME.fullmatch(name) is None:
        raise _invalid(f"{member} is not valid: {name!r}")
    return name


def _encryption(asked: dict[str, Any]) -> dict[str, str] | None:
    """Return the encryption in a request, or None if it has none. The key is not looked up."""
    found = asked.get("encryptionConfiguration")
    if found is None:
        return None
    kind, key = found.get("sseType", "AES256"), found.get("kmsKeyArn")
    if kind not in {"AES256", "aws:kms"} or (kind == "aws:kms") is not bool(key):
        raise _invalid("encryptionConfiguration is not valid.")
    return {**found, "sseType": kind}


def _page(asked: dict[str, Any], found: Sequence[Any], member: str) -> dict[str, Any]:
    start = int(asked.get("nextToken", "0"))
    end = start + int(asked.get("maxResults", _MOST))
    answer: dict[str, Any] = {member: list(found[start:end])}
    return answer | ({"nextToken": str(end)} if end < len(found) else {})


def _invalid(message: str) -> Refusal:
    return Refusal(400, "ValidationException", message)


def _absent(thing: str) -> Refusal:
    return Refusal(404, "NotFoundException", f"The specified {thing} could not be found.")
