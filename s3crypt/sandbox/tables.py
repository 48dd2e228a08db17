# SPDX-License-Identifier: Apache-2.0
"""S3 Tables: creates and reads table buckets, namespaces and tables, and their encryption.

A table holds no data. moto's own implementation is not used.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from .wire import Refusal, Reply, Request, json_refusal, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backend import Moto

_BUCKET_NAME = re.compile(r"[0-9a-z][0-9a-z-]{1,61}[0-9a-z]")
_NAME = re.compile(r"[0-9a-z][0-9a-z_]{0,254}")
_MOST = 1000
_SSE_S3 = {"sseAlgorithm": "AES256"}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `encryption` is by default the encryption of the table bucket."""

    namespace: str
    name: str
    encryption: dict[str, str]
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=_now)


@dataclass(slots=True)
class TableBucket:
    """A table bucket with its namespaces (name -> creation time) and its tables.

    `kind` is "aws" for a bucket that AWS manages.
    """

    name: str
    region: str
    arn: str
    encryption: dict[str, str]
    kind: str = "customer"
    namespaces: dict[str, str] = field(default_factory=dict)
    tables: dict[tuple[str, str], Table] = field(default_factory=dict)
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=_now)


class Tables:
    """The operations of S3 Tables that the sandbox implements."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto

    def __call__(self, request: Request) -> Reply:
        """Return the reply to a request.

        Raises:
            Refusal: The sandbox does not implement the operation, or S3 Tables would refuse the
                request.
        """
        route = self.route(request)
        if route is None:
            raise Refusal(501, "NotImplemented", "The sandbox does not answer this operation.")
        _, answer, parts = route
        return json_reply(200, answer(self, request, *parts))

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return S3 Tables' reply to a request that it refuses."""
        return json_refusal(request, refusal)

    def _create_bucket(self, request: Request) -> dict[str, Any]:
        asked = _asked(request)
        name = str(asked.get("name", ""))
        if _BUCKET_NAME.fullmatch(name) is None:
            raise _bad("The specified bucket name is not valid.")
        arn = f"arn:aws:s3tables:{request.region}:{self._moto.account}:bucket/{name}"
        if arn in self._moto.table_buckets:
            raise Refusal(409, "ConflictException", "The bucket that you tried to create exists.")
        encryption = _encryption(asked) or _SSE_S3
        self._moto.table_buckets[arn] = TableBucket(name, request.region, arn, encryption)
        return {"arn": arn}

    def _list_buckets(self, request: Request) -> dict[str, Any]:
        found = [
            self._summary(bucket)
            for bucket in self._moto.table_buckets.values()
            if bucket.region == request.region
            and bucket.name.startswith(request.query.get("prefix", ""))
            and bucket.kind == request.query.get("type", bucket.kind)
        ]
        return _page(request, found, "tableBuckets", "maxBuckets")

    def _get_bucket(self, _: Request, arn: str) -> dict[str, Any]:
        return self._summary(self._bucket(arn))

    def _encryption_of_bucket(self, _: Request, arn: str) -> dict[str, Any]:
        return {"encryptionConfiguration": self._bucket(arn).encryption}

    def _encrypt_bucket(self, request: Request, arn: str) -> dict[str, Any]:
        encryption = _encryption(_asked(request))
        if encryption is None:
            raise _bad("encryptionConfiguration must be given.")
        self._bucket(arn).encryption = encryption
        return {}

    def _create_namespace(self, request: Request, arn: str) -> dict[str, Any]:
        names = _asked(request).get("namespace") or [""]
        bucket = self._bucket(arn)
        if len(names) != 1 or _NAME.fullmatch(str(names[0])) is None:
            raise _bad("The specified namespace name is not valid.")
        if names[0] in bucket.namespaces:
            raise Refusal(409, "ConflictException", "A namespace with this name exists.")
        bucket.namespaces[names[0]] = _now()
        return {"tableBucketARN": arn, "namespace": names}

    def _list_namespaces(self, request: Request, arn: str) -> dict[str, Any]:
        account = self._moto.account
        found = [
            {
                "namespace": [name],
                "createdAt": created,
                "createdBy": account,
                "ownerAccountId": account,
            }
            for name, created in self._bucket(arn).namespaces.items()
            if name.startswith(request.query.get("prefix", ""))
        ]
        return _page(request, found, "namespaces", "maxNamespaces")

    def _create_table(self, request: Request, arn: str, namespace: str) -> dict[str, Any]:
        asked, bucket = _asked(request), self._bucket(arn)
        name = str(asked.get("name", ""))
        if _NAME.fullmatch(name) is None or asked.get("format") != "ICEBERG":
            raise _bad("The specified table name or format is not valid.")
        if namespace not in bucket.namespaces:
            raise _absent("namespace")
        if (namespace, name) in bucket.tables:
            raise Refusal(409, "ConflictException", "A table with this name exists.")
        made = Table(namespace, name, _encryption(asked) or bucket.encryption)
        bucket.tables[namespace, name] = made
        return {"tableARN": table_arn(bucket, made), "versionToken": made.identity[:20]}

    def _list_tables(self, request: Request, arn: str) -> dict[str, Any]:
        bucket, query = self._bucket(arn), request.query
        found = [
            {
                "namespace": [table.namespace],
                "name": table.name,
                "type": bucket.kind,
                "tableARN": table_arn(bucket, table),
                "createdAt": table.created,
                "modifiedAt": table.created,
                "tableBucketId": bucket.identity,
            }
            for table in bucket.tables.values()
            if table.namespace == query.get("namespace", table.namespace)
            and table.name.startswith(query.get("prefix", ""))
        ]
        return _page(request, found, "tables", "maxTables")

    def _encryption_of_table(
        self, _: Request, arn: str, namespace: str, name: str
    ) -> dict[str, Any]:
        table = self._bucket(arn).tables.get((namespace, name))
        if table is None:
            raise _absent("table")
        return {"encryptionConfiguration": table.encryption}

    def _bucket(self, arn: str) -> TableBucket:
        found: TableBucket | None = self._moto.table_buckets.get(arn)
        if found is None:
            raise _absent("table bucket")
        return found

    def _summary(self, bucket: TableBucket) -> dict[str, Any]:
        return {
            "arn": bucket.arn,
            "name": bucket.name,
            "ownerAccountId": self._moto.account,
            "createdAt": bucket.created,
            "tableBucketId": bucket.identity,
            "type": bucket.kind,
        }

    # Name, method, path and function of each operation. A star stands for a part of the path.
    _ROUTES: ClassVar[tuple[tuple[str, str, str, Callable[..., dict[str, Any]]], ...]] = (
        ("CreateTableBucket", "PUT", "/buckets", _create_bucket),
        ("ListTableBuckets", "GET", "/buckets", _list_buckets),
        ("GetTableBucket", "GET", "/buckets/*", _get_bucket),
        ("GetTableBucketEncryption", "GET", "/buckets/*/encryption", _encryption_of_bucket),
        ("PutTableBucketEncryption", "PUT", "/buckets/*/encryption", _encrypt_bucket),
        ("CreateNamespace", "PUT", "/namespaces/*", _create_namespace),
        ("ListNamespaces", "GET", "/namespaces/*", _list_namespaces),
        ("CreateTable", "PUT", "/tables/*/*", _create_table),
        ("ListTables", "GET", "/tables/*", _list_tables),
        ("GetTableEncryption", "GET", "/tables/*/*/*/encryption", _encryption_of_table),
    )

    @classmethod
    def route(cls, request: Request) -> tuple[str, Callable[..., dict[str, Any]], list[str]] | None:
        """Return the operation of a request, or None if it is unknown.

        The result is the operation's name, the function, and the parts of the path that a star
        matches.
        """
        for name, method, path, answer in cls._ROUTES:
            pattern = re.escape(path).replace(r"\*", "([^/]+)")
            found = re.fullmatch(pattern, request.raw_path)
            if method == request.method and found is not None:
                return name, answer, [unquote(part) for part in found.groups()]
        return None


def operation_of(request: Request) -> str:
    """Return the name of a request's operation, or an empty text if the operation is unknown."""
    found = Tables.route(request)
    return "" if found is None else found[0]


def _asked(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body or b"{}")
    return found


def _encryption(asked: dict[str, Any]) -> dict[str, str] | None:
    """Return the encryption in a request, or None if it has none. The key is not looked up."""
    found = asked.get("encryptionConfiguration")
    if found is None:
        return None
    algorithm, key = found.get("sseAlgorithm"), found.get("kmsKeyArn")
    if algorithm not in {"AES256", "aws:kms"} or (algorithm == "aws:kms") is not bool(key):
        raise _bad("The specified encryption configuration is not valid.")
    return dict(found)


def _page(request: Request, found: Sequence[Any], member: str, limit: str) -> dict[str, Any]:
    start = int(request.query.get("continuationToken", "0"))
    end = start + int(request.query.get(limit, _MOST))
    answer: dict[str, Any] = {member: list(found[start:end])}
    return answer | ({"continuationToken": str(end)} if end < len(found) else {})


def table_arn(bucket: TableBucket, table: Table) -> str:
    """Return the ARN of a table."""
    return f"{bucket.arn}/table/{table.identity}"


def _bad(message: str) -> Refusal:
    return Refusal(400, "BadRequestException", message)


def _absent(thing: str) -> Refusal:
    return Refusal(404, "NotFoundException", f"The specified {thing} does not exist.")
