# SPDX-License-Identifier: Apache-2.0
"""The sandbox's table buckets and vector buckets, with their encryption.

Every reply is compared with botocore's model.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_samples import checked, refusal

if TYPE_CHECKING:
    import boto3

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def tables(session: boto3.Session) -> Any:
    """Return a client of S3 Tables."""
    return checked(session.client("s3tables"))


@pytest.fixture(scope="module")
def vectors(session: boto3.Session) -> Any:
    """Return a client of S3 Vectors."""
    return checked(session.client("s3vectors"))


def name() -> str:
    """Return the name of a new bucket."""
    return f"bucket-{uuid.uuid4()}"


def test_a_table_bucket_keeps_its_encryption(tables: Any, key: str) -> None:
    """A table has its bucket's encryption unless it has its own; SSE-S3 is the default."""
    mode = {"sseAlgorithm": "aws:kms", "kmsKeyArn": key}
    made = name()
    arn = tables.create_table_bucket(name=made, encryptionConfiguration=mode)["arn"]
    assert arn == f"arn:aws:s3tables:us-east-1:{ACCOUNT}:bucket/{made}"
    read = tables.get_table_bucket_encryption
    assert read(tableBucketARN=arn)["encryptionConfiguration"] == mode
    tables.create_namespace(tableBucketARN=arn, namespace=["sales"])
    table = {"tableBucketARN": arn, "namespace": "sales", "format": "ICEBERG"}
    tables.create_table(**table, name="orders")
    own = {"sseAlgorithm": "AES256"}
    tables.create_table(**table, name="prices", encryptionConfiguration=own)
    found = {
        each["name"]: tables.get_table_encryption(
            tableBucketARN=arn, namespace="sales", name=each["name"]
        )["encryptionConfiguration"]
        for each in tables.list_tables(tableBucketARN=arn)["tables"]
    }
    assert found == {"orders": mode, "prices": own}
    (namespace,) = tables.list_namespaces(tableBucketARN=arn)["namespaces"]
    assert namespace["namespace"] == ["sales"]
    tables.put_table_bucket_encryption(tableBucketARN=arn, encryptionConfiguration=own)
    assert read(tableBucketARN=arn)["encryptionConfiguration"] == own
    plain = tables.create_table_bucket(name=name())["arn"]
    assert read(tableBucketARN=plain)["encryptionConfiguration"] == own


def test_table_buckets_come_in_pages(session: boto3.Session, tables: Any) -> None:
    """ListTableBuckets returns the Region's buckets with the prefix, in pages."""
    prefix = f"paged-{uuid.uuid4().hex[:8]}-"
    made = {tables.create_table_bucket(name=f"{prefix}{number}")["arn"] for number in range(3)}
    pages = tables.get_paginator("list_table_buckets").paginate(
        prefix=prefix, PaginationConfig={"PageSize": 2}
    )
    found = [[bucket["arn"] for bucket in page["tableBuckets"]] for page in pages]
    assert [len(page) for page in found] == [2, 1]
    assert {arn for page in found for arn in page} == made
    west: Any = session.client("s3tables", region_name="eu-west-1")
    assert west.list_table_buckets(prefix=prefix)["tableBuckets"] == []


def test_tables_that_are_refused(tables: Any) -> None:
    """A taken name, a KMS mode without a key, and unknown tables or buckets are refused."""
    made = name()
    arn = tables.create_table_bucket(name=made)["arn"]
    conflict, bad, absent = (
        (409, "ConflictException"),
        (400, "BadRequestException"),
        (404, "NotFoundException"),
    )
    assert refusal(tables.create_table_bucket, name=made) == conflict
    keyless = {"name": name(), "encryptionConfiguration": {"sseAlgorithm": "aws:kms"}}
    assert refusal(tables.create_table_bucket, **keyless) == bad
    gone = {"tableBucketARN": arn + "x"}
    assert refusal(tables.get_table_bucket_encryption, **gone) == absent
    table = {"tableBucketARN": arn, "namespace": "none", "name": "none"}
    assert refusal(tables.create_table, **table, format="ICEBERG") == absent
    assert refusal(tables.get_table_encryption, **table) == absent


def test_a_buckets_metadata_tables(s3: Any, tables: Any, bucket: str, key: str) -> None:
    """The encryption of a bucket's metadata tables is read through AWS's table bucket."""
    absent = (404, "MetadataConfigurationNotFound")
    read = s3.get_bucket_metadata_configuration
    assert refusal(read, Bucket=bucket) == absent
    mode = {"SseAlgorithm": "aws:kms", "KmsKeyArn": key}
    expiration = {"RecordExpiration": {"Expiration": "DISABLED"}}
    wanted = {
        "JournalTableConfiguration": expiration,
        "InventoryTableConfiguration": {
            "ConfigurationState": "ENABLED",
            "EncryptionConfiguration": mode,
        },
    }
    s3.create_bucket_metadata_configuration(Bucket=bucket, MetadataConfiguration=wanted)
    reply = read(Bucket=bucket)["GetBucketMetadataConfigurationResult"]
    found = reply["MetadataConfigurationResult"]
    assert found["JournalTableConfigurationResult"]["TableName"] == "journal"
    assert found["JournalTableConfigurationResult"]["RecordExpiration"] == {
        "Expiration": "DISABLED"
    }
    target = found["DestinationResult"]
    where = {"tableBucketARN": target["TableBucketArn"], "namespace": target["TableNamespace"]}
    modes = {
        kind: tables.get_table_encryption(**where, name=kind)["encryptionConfiguration"]
        for kind in ("inventory", "journal")
    }
    assert modes == {
        "inventory": {"sseAlgorithm": "aws:kms", "kmsKeyArn": key},
        "journal": {"sseAlgorithm": "AES256"},
    }
    managed = tables.list_table_buckets(type="aws")["tableBuckets"]
    assert [each["arn"] for each in managed] == [target["TableBucketArn"]]
    s3.delete_bucket_metadata_configuration(Bucket=bucket)
    assert refusal(read, Bucket=bucket) == absent


def test_a_vector_bucket_keeps_its_encryption(vectors: Any, key: str) -> None:
    """An index has its vector bucket's encryption unless it has its own; default is SSE-S3."""
    mode, own = {"sseType": "aws:kms", "kmsKeyArn": key}, {"sseType": "AES256"}
    made = {"vectorBucketName": name()}
    arn = vectors.create_vector_bucket(**made, encryptionConfiguration=mode)["vectorBucketArn"]
    found = vectors.get_vector_bucket(vectorBucketArn=arn)["vectorBucket"]
    assert found["encryptionConfiguration"] == mode
    shape = {"dataType": "float32", "dimension": 3, "distanceMetric": "cosine"}
    vectors.create_index(**made, **shape, indexName="text")
    vectors.create_index(**made, **shape, indexName="images", encryptionConfiguration=own)
    indexes = {
        each["indexName"]: vectors.get_index(indexArn=each["indexArn"])["index"]
        for each in vectors.list_indexes(**made)["indexes"]
    }
    assert {each: index["encryptionConfiguration"] for each, index in indexes.items()} == {
        "text": mode,
        "images": own,
    }
    assert shape.items() <= indexes["text"].items()
    assert vectors.get_index(**made, indexName="text")["index"] == indexes["text"]


def test_vector_buckets_come_in_pages(session: boto3.Session, vectors: Any) -> None:
    """ListVectorBuckets returns the Region's buckets with the prefix, in pages."""
    prefix = f"paged-{uuid.uuid4().hex[:8]}-"
    for number in range(3):
        vectors.create_vector_bucket(vectorBucketName=f"{prefix}{number}")
    pages = vectors.get_paginator("list_vector_buckets").paginate(
        prefix=prefix, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["vectorBuckets"]) for page in pages] == [2, 1]
    west: Any = session.client("s3vectors", region_name="eu-west-1")
    assert west.list_vector_buckets(prefix=prefix)["vectorBuckets"] == []


def test_vector_buckets_that_are_refused(vectors: Any) -> None:
    """A taken name, a KMS mode without a key, and unknown buckets or indexes are refused."""
    made = {"vectorBucketName": name()}
    vectors.create_vector_bucket(**made)
    assert refusal(vectors.create_vector_bucket, **made) == (409, "ConflictException")
    keyless = {"vectorBucketName": name(), "encryptionConfiguration": {"sseType": "aws:kms"}}
    assert refusal(vectors.create_vector_bucket, **keyless) == (400, "ValidationException")
    absent = (404, "NotFoundException")
    assert refusal(vectors.get_vector_bucket, vectorBucketName="none") == absent
    assert refusal(vectors.get_index, **made, indexName="none") == absent
