# SPDX-License-Identifier: Apache-2.0
"""S3 Metadata: the tables of a bucket in the table bucket aws-s3, with their encryption.

The tables have no rows. As in S3, a reply about a configuration does not contain the encryption. S3
Tables returns it as a property of the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.tables import Table, TableBucket, table_arn
from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .bucket_documents import (
    documents_of,
    existing_bucket,
    keep,
    kept,
    malformed,
    parsed,
    text_of,
)
from .operations import ANY, BUCKET, Operation, Rules

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from s3crypt.sandbox.backend import Moto

_PARAMETER = "metadataConfiguration"
_KINDS = ("Journal", "Inventory", "Annotation")


def _answer(moto: Moto, request: Request) -> Reply:
    """Create, get or delete the configuration of a bucket."""
    bucket = existing_bucket(moto, request)
    match request.method:
        case "POST":
            return _create(moto, request, bucket)
        case "GET":
            return _get(moto, bucket)
        case "DELETE":
            documents_of(bucket).pop(_PARAMETER, None)
            return Reply(204)
        case _:
            return moto(request)


def _create(moto: Moto, request: Request, bucket: Any) -> Reply:
    document = parsed(request.body, "MetadataConfiguration")
    if document.find("JournalTableConfiguration/RecordExpiration") is None:
        raise malformed()
    if kept(bucket, _PARAMETER) is not None:
        raise Refusal(409, "MetadataConfigurationAlreadyExists", "The configuration exists.")
    keep(bucket, _PARAMETER, document)
    tables, space = _table_bucket(moto, bucket), _namespace(bucket)
    tables.namespaces[space] = tables.created
    for kind in _KINDS:
        if _is_on(document, kind):
            name = kind.lower()
            tables.tables[space, name] = Table(space, name, _encryption(document, kind))
    return Reply(200)


def _get(moto: Moto, bucket: Any) -> Reply:
    document = kept(bucket, _PARAMETER)
    if document is None:
        raise Refusal(
            404, "MetadataConfigurationNotFound", "The metadata configuration does not exist."
        )
    tables, space = _table_bucket(moto, bucket), _namespace(bucket)
    inner = (
        f"<DestinationResult><TableBucketType>aws</TableBucketType><TableBucketArn>{tables.arn}"
        f"</TableBucketArn><TableNamespace>{space}</TableNamespace></DestinationResult>"
    )
    for kind in _KINDS:
        table = tables.tables.get((space, kind.lower()))
        inner += _result(document, kind, tables, table)
    root = "GetBucketMetadataConfigurationResult"
    result = f"<MetadataConfigurationResult>{inner}</MetadataConfigurationResult>"
    return xml_reply(200, f"<{root}>{result}</{root}>")


def _result(document: ET.Element, kind: str, tables: TableBucket, table: Table | None) -> str:
    found = document.find(f"{kind}TableConfiguration")
    if found is None:
        return ""
    state = text_of(found, "ConfigurationState")
    inner = f"<ConfigurationState>{state}</ConfigurationState>" if state else ""
    if table is not None and _is_on(document, kind):
        inner += (
            f"<TableStatus>ACTIVE</TableStatus><TableName>{table.name}</TableName>"
            f"<TableArn>{table_arn(tables, table)}</TableArn>"
        )
    expiration = text_of(found, "RecordExpiration/Expiration")
    if expiration:
        days = text_of(found, "RecordExpiration/Days")
        inner += f"<RecordExpiration><Expiration>{expiration}</Expiration>"
        inner += f"<Days>{days}</Days></RecordExpiration>" if days else "</RecordExpiration>"
    return f"<{kind}TableConfigurationResult>{inner}</{kind}TableConfigurationResult>"


def _table_bucket(moto: Moto, bucket: Any) -> TableBucket:
    """Return the table bucket that AWS manages in the Region of a bucket."""
    region = bucket.region_name
    arn = f"arn:aws:s3tables:{region}:{moto.account}:bucket/aws-s3"
    default = {"sseAlgorithm": "AES256"}
    return moto.table_buckets.setdefault(arn, TableBucket("aws-s3", region, arn, default, "aws"))


def _namespace(bucket: Any) -> str:
    return f"b_{bucket.name}"


def _is_on(document: ET.Element, kind: str) -> bool:
    found = document.find(f"{kind}TableConfiguration")
    return found is not None and text_of(found, "ConfigurationState") in {None, "ENABLED"}


def _encryption(document: ET.Element, kind: str) -> dict[str, str]:
    path = f"{kind}TableConfiguration/EncryptionConfiguration"
    algorithm, key = (
        text_of(document, f"{path}/SseAlgorithm"),
        text_of(document, f"{path}/KmsKeyArn"),
    )
    if (algorithm == "aws:kms") is not bool(key):
        raise malformed()
    return {"sseAlgorithm": algorithm or "AES256", **({"kmsKeyArn": key} if key else {})}


RULES: Rules = {Operation(ANY, BUCKET, _PARAMETER): _answer}
