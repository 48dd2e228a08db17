# SPDX-License-Identifier: Apache-2.0
"""The sandbox's replies to the calls of an audit have the forms that AWS documents.

The calls are about the account, grants, imports, last uses, inventories and pages. botocore parses
each reply by the service's model, so a wrong form shows as a missing value.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sandbox_samples import refusal

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3

ACCOUNT = "123456789012"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/sandbox"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
SOURCE = f"arn:aws:rds:us-east-1:{ACCOUNT}:db:orders"
INVALID = (400, "ValidationException")


# --- S3 Control --------------------------------------------------------------------------------


@pytest.fixture
def control(session: boto3.Session) -> Iterator[Any]:
    """Return an S3 Control client whose requests go to the sandbox's address."""
    client = session.client("s3control")
    # botocore puts the account id before the host name, which does not work with an IP address.
    endpoint = os.environ["AWS_ENDPOINT_URL"]

    def to_endpoint(request: Any, **_: Any) -> None:
        request.url = endpoint + "/v20180820/" + request.url.partition("/v20180820/")[2]

    client.meta.events.register("before-sign.s3-control", to_endpoint)
    yield client
    client.delete_public_access_block(AccountId=ACCOUNT)


def test_the_block_of_an_account_is_kept(control: Any) -> None:
    """The account's public access block is kept; flags that were not given are off.

    For an account without a block, the request fails with a special error code.
    """
    wanted = {"BlockPublicPolicy": True}
    get = control.get_public_access_block
    assert refusal(get, AccountId=ACCOUNT) == (404, "NoSuchPublicAccessBlockConfiguration")
    control.put_public_access_block(
        AccountId=ACCOUNT, PublicAccessBlockConfiguration={**wanted, "IgnorePublicAcls": False}
    )
    found = get(AccountId=ACCOUNT)["PublicAccessBlockConfiguration"]
    assert found == {
        **dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "RestrictPublicBuckets"), False),
        **wanted,
    }
    assert refusal(get, AccountId="1" * 12) == (403, "AccessDenied")
    control.delete_public_access_block(AccountId=ACCOUNT)
    assert refusal(get, AccountId=ACCOUNT) == (404, "NoSuchPublicAccessBlockConfiguration")


def test_the_block_of_an_account_blocks(control: Any, s3: Any, blocked_bucket: str) -> None:
    """The account's block also refuses a public policy of a bucket without its own block."""
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{blocked_bucket}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.delete_public_access_block(Bucket=blocked_bucket)
    control.put_public_access_block(
        AccountId=ACCOUNT, PublicAccessBlockConfiguration={"BlockPublicPolicy": True}
    )
    asked = {"Bucket": blocked_bucket, "Policy": policy}
    assert refusal(s3.put_bucket_policy, **asked) == (403, "AccessDenied")
    control.delete_public_access_block(AccountId=ACCOUNT)
    s3.put_bucket_policy(**asked)


# --- Grants ------------------------------------------------------------------------------------


def grants(kms: Any, key: str, **wanted: Any) -> list[dict[str, Any]]:
    """Return all grants of a key, read in pages of two."""
    pages = kms.get_paginator("list_grants").paginate(
        KeyId=key, PaginationConfig={"PageSize": 2}, **wanted
    )
    return [grant for page in pages for grant in page["Grants"]]


def test_a_grant_is_listed_as_it_was_made(kms: Any, kms_key: str) -> None:
    """A listed grant has the given values, its key's ARN, its date and its account."""
    asked = {
        "Name": "reader",
        "GranteePrincipal": ROLE,
        "RetiringPrincipal": ROLE,
        "Operations": ["Decrypt", "DescribeKey"],
        "Constraints": {"EncryptionContextSubset": {"app": "reports"}},
    }
    made = kms.create_grant(KeyId=kms_key, **asked)
    (found,) = grants(kms, kms_key)
    assert found.pop("CreationDate").timestamp() == pytest.approx(time.time(), abs=60)
    assert found == {
        **asked,
        "KeyId": kms_key,
        "GrantId": made["GrantId"],
        "IssuingAccount": f"arn:aws:iam::{ACCOUNT}:root",
    }
    # A second request with the same name and values returns the same grant.
    assert kms.create_grant(KeyId=kms_key, **asked)["GrantId"] == made["GrantId"]
    retirable = kms.list_retirable_grants(RetiringPrincipal=ROLE)["Grants"]
    assert made["GrantId"] in {grant["GrantId"] for grant in retirable}


def test_a_grant_to_a_service(kms: Any, kms_key: str) -> None:
    """A grant to a service keeps the service and its source.

    A listing can filter by the service.
    """
    asked = {
        "GranteeServicePrincipal": "rds.amazonaws.com",
        "RetiringServicePrincipal": "rds.amazonaws.com",
        "Operations": ["Decrypt"],
        "Constraints": {"SourceArn": SOURCE},
    }
    kms.create_grant(KeyId=kms_key, **asked)
    kms.create_grant(KeyId=kms_key, GranteePrincipal=ROLE, Operations=["Decrypt"])
    (found,) = grants(kms, kms_key, GranteeServicePrincipal="rds.amazonaws.com")
    assert {name: found[name] for name in asked} == asked
    assert "GranteePrincipal" not in found
    assert len(grants(kms, kms_key)) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"GranteePrincipal": ROLE},
        {"Constraints": {}},
        {"RetiringServicePrincipal": None},
        {"RetiringPrincipal": ROLE},
        {"GranteeServicePrincipal": "rds"},
        {"GranteeServicePrincipal": None},
        {"Operations": ["Everything"]},
    ],
)
def test_grants_that_are_refused(kms: Any, kms_key: str, changed: dict[str, Any]) -> None:
    """A grant with two grantees, an unknown operation, or a service without a source is refused."""
    asked = {
        "KeyId": kms_key,
        "GranteeServicePrincipal": "rds.amazonaws.com",
        "RetiringServicePrincipal": "rds.amazonaws.com",
        "Operations": ["Decrypt"],
        "Constraints": {"SourceArn": SOURCE},
        **changed,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    assert refusal(kms.create_grant, **given) == INVALID


def test_grants_end(kms: Any, kms_key: str) -> None:
    """A grant ends if it is retired, by token or by id, or revoked. A dry run does not end it."""
    asked = {"GranteePrincipal": ROLE, "RetiringPrincipal": CALLER, "Operations": ["Decrypt"]}
    made = [kms.create_grant(KeyId=kms_key, **asked) for _ in range(3)]
    named = {"KeyId": kms_key, "GrantId": made[2]["GrantId"]}
    dry = refusal(kms.revoke_grant, **named, DryRun=True)
    assert dry == (412, "DryRunOperationException")
    assert len(grants(kms, kms_key)) == 3
    kms.retire_grant(GrantToken=made[0]["GrantToken"])
    kms.retire_grant(KeyId=kms_key, GrantId=made[1]["GrantId"])
    kms.revoke_grant(**named)
    assert grants(kms, kms_key) == []
    assert refusal(kms.revoke_grant, **named) == (400, "NotFoundException")


# --- Dry runs ----------------------------------------------------------------------------------


def test_a_dry_run_needs_no_ciphertext(kms: Any, kms_key: str, key: str) -> None:
    """A dry run with IGNORE_CIPHERTEXT checks only the keys, so the request must name the keys."""
    dry = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    fine = (412, "DryRunOperationException")
    both = {"SourceKeyId": kms_key, "DestinationKeyId": key}
    assert refusal(kms.decrypt, KeyId=kms_key, **dry) == fine
    assert refusal(kms.re_encrypt, **both, **dry) == fine
    assert refusal(kms.decrypt, **dry) == INVALID
    kms.disable_key(KeyId=kms_key)
    disabled = (400, "DisabledException")
    assert refusal(kms.decrypt, KeyId=kms_key, **dry) == disabled
    assert refusal(kms.re_encrypt, **both, **dry) == disabled


# --- Key material and last uses ----------------------------------------------------------------


def test_a_ciphertext_names_its_material(kms: Any, kms_key: str) -> None:
    """After a rotation, old ciphertexts name the old material and new ones the new material."""
    old = kms.generate_data_key(KeyId=kms_key, KeySpec="AES_256")
    assert (
        old["KeyMaterialId"]
        == kms.describe_key(KeyId=kms_key)["KeyMetadata"]["CurrentKeyMaterialId"]
    )
    kms.rotate_key_on_demand(KeyId=kms_key)
    new = kms.encrypt(KeyId=kms_key, Plaintext=b"x")
    opened = kms.decrypt(CiphertextBlob=old["CiphertextBlob"])
    assert (opened["KeyMaterialId"], opened["Plaintext"]) == (
        old["KeyMaterialId"],
        old["Plaintext"],
    )
    current = kms.describe_key(KeyId=kms_key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=new["CiphertextBlob"])["KeyMaterialId"] == current
    moved = kms.re_encrypt(CiphertextBlob=old["CiphertextBlob"], DestinationKeyId=kms_key)
    assert moved["SourceKeyMaterialId"] == old["KeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == current
    listed = kms.list_key_rotations(KeyId=kms_key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    states = [(one["KeyMaterialId"], one["KeyMaterialState"]) for one in listed["Rotations"]]
    assert states == [(old["KeyMaterialId"], "NON_CURRENT"), (current, "CURRENT")]
    assert len(kms.list_key_rotations(KeyId=kms_key)["Rotations"]) == 1


def test_the_last_use_of_a_key(kms: Any, s3: Any, bucket: str, kms_key: str) -> None:
    """A key's last use is its last successful operation, also by S3; a new key has no last use."""
    new = kms.get_key_last_usage(KeyId=kms_key)
    assert new["KeyLastUsage"] == {}
    assert new["TrackingStartDate"] == new["KeyCreationDate"]
    kms.encrypt(KeyId=kms_key, Plaintext=b"x")
    used = kms.get_key_last_usage(KeyId=kms_key)["KeyLastUsage"]
    assert used["Operation"] == "Encrypt"
    assert used["Timestamp"].timestamp() == pytest.approx(time.time(), abs=60)
    assert uuid.UUID(used["CloudTrailEventId"])
    s3.put_object(
        Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=kms_key
    )
    used = kms.get_key_last_usage(KeyId=kms_key)["KeyLastUsage"]
    assert used["Operation"] == "GenerateDataKey"
    kms.disable_key(KeyId=kms_key)
    assert refusal(kms.encrypt, KeyId=kms_key, Plaintext=b"x") == (400, "DisabledException")
    assert kms.get_key_last_usage(KeyId=kms_key)["KeyLastUsage"] == used
    assert refusal(kms.get_key_last_usage, KeyId="alias/x") == (400, "NotFoundException")


# --- Imported material -------------------------------------------------------------------------


def imported(kms: Any, key: str, material: bytes, **more: Any) -> dict[str, Any]:
    """Import key material, wrapped as KMS requires. Return the reply."""
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    given = kms.get_parameters_for_import(KeyId=key, **asked)
    public = load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    reply: dict[str, Any] = kms.import_key_material(
        KeyId=key,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=public.encrypt(material, scheme),
        **more,
    )
    return reply


@pytest.fixture
def external(kms: Any) -> str:
    """Make a key that has no material yet, and return its ARN."""
    return str(kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"])


def test_a_key_waits_for_its_material(kms: Any, external: str) -> None:
    """Without its imported material, a key is unusable. Only the same bytes can be reimported."""
    assert kms.describe_key(KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"
    refused = refusal(kms.encrypt, KeyId=external, Plaintext=b"x")
    assert refused == (400, "KMSInvalidStateException")
    imported(kms, external, b"m" * 32, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    found = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert (found["KeyState"], found["ExpirationModel"]) == (
        "Enabled",
        "KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    blob = kms.encrypt(KeyId=external, Plaintext=b"x")["CiphertextBlob"]
    kms.delete_imported_key_material(KeyId=external)
    refused = refusal(kms.decrypt, CiphertextBlob=blob)
    assert refused == (400, "KMSInvalidStateException")
    with pytest.raises(ClientError, match="IncorrectKeyMaterialException"):
        imported(kms, external, b"n" * 32, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    imported(kms, external, b"m" * 32, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_imported_material_expires(kms: Any, external: str) -> None:
    """Imported material expires at the given second; before, DescribeKey returns the time."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    imported(kms, external, os.urandom(32), ValidTo=until)
    found = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert (found["ExpirationModel"], found["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", until)
    time.sleep(max(0.0, until.timestamp() - time.time()) + 0.05)
    found = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert (found["KeyState"], found.get("ValidTo")) == ("PendingImport", None)


# --- Keys and buckets in pages -----------------------------------------------------------------


def test_keys_that_another_account_shares(session: boto3.Session) -> None:
    """Keys that another account shares are listed only on request, and can be described."""
    with sandboxes.running() as other:
        shared = sandboxes.share_key(other)
        client: Any = session.client("kms", endpoint_url=other.endpoint_url)
        own = client.create_key()["KeyMetadata"]["Arn"]
        assert arns(client) == [own]
        assert arns(client, ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"]) == [shared]
        both = ["OTHER_ACCOUNTS_VIA_RAM", "SELF"]
        assert arns(client, ResourceOwners=both) == [own, shared]
        first = client.list_keys(ResourceOwners=both)
        assert (len(first["Keys"]), first["Truncated"]) == (1, True)
        metadata = client.describe_key(KeyId=shared)["KeyMetadata"]
        assert (metadata["Arn"], metadata["AWSAccountId"]) == (shared, "111122223333")
        refused = refusal(client.get_key_policy, KeyId=shared, PolicyName="default")
        assert refused == (400, "AccessDeniedException")


def arns(client: Any, **asked: Any) -> list[str]:
    """Return the ARNs of the keys on all pages of the list."""
    pages = client.get_paginator("list_keys").paginate(**asked)
    return [key["KeyArn"] for page in pages for key in page["Keys"]]


def test_buckets_come_in_pages(s3: Any) -> None:
    """ListBuckets returns sorted pages with Regions, and filters by prefix and Region."""
    prefix = f"paged-{uuid.uuid4().hex[:8]}-"
    names = [f"{prefix}{number}" for number in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = list(
        s3.get_paginator("list_buckets").paginate(Prefix=prefix, PaginationConfig={"PageSize": 2})
    )
    assert [[one["Name"] for one in page["Buckets"]] for page in pages] == [
        names[:2],
        names[2:4],
        names[4:],
    ]
    assert {one["BucketRegion"] for page in pages for one in page["Buckets"]} == {"us-east-1"}
    assert s3.list_buckets(Prefix=prefix, BucketRegion="eu-west-1")["Buckets"] == []


def test_open_uploads_come_in_pages(s3: Any, bucket: str) -> None:
    """ListMultipartUploads returns pages sorted by name and age, and groups by a delimiter."""
    names = ["a/1", "a/2", "b", "b", "c"]
    ids = [s3.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"] for name in names]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 2}
    )
    found = [upload for page in pages for upload in page["Uploads"]]
    assert [(upload["Key"], upload["UploadId"]) for upload in found] == list(
        zip(names, ids, strict=True)
    )
    assert found[0]["Initiated"].timestamp() == pytest.approx(time.time(), abs=60)
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Prefix"] for each in grouped["CommonPrefixes"]] == ["a/"]
    assert [each["Key"] for each in grouped["Uploads"]] == ["b", "b", "c"]


def test_the_parts_of_an_upload_need_its_key(s3: Any, kms: Any, bucket: str, kms_key: str) -> None:
    """Lists of uploads and parts show no encryption; ListParts fails if the KMS key is disabled."""
    where = {"Bucket": bucket, "Key": "k"}
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    upload = s3.create_multipart_upload(**where, **mode)["UploadId"]
    parts = s3.list_parts(**where, UploadId=upload)
    (listed,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    shown = {*parts, *listed, *parts["ResponseMetadata"]["HTTPHeaders"]}
    assert not [name for name in shown if "encryption" in name.lower()]
    kms.disable_key(KeyId=kms_key)
    refused = refusal(s3.list_parts, **where, UploadId=upload)
    assert refused == (400, "KMS.DisabledException")
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"] == [listed]


# --- Inventories -------------------------------------------------------------------------------


def inventory(target: str, **changed: Any) -> dict[str, Any]:
    """Return an inventory configuration that reports into this bucket, with these changes."""
    return {
        "Id": "all",
        "IsEnabled": True,
        "IncludedObjectVersions": "All",
        "Schedule": {"Frequency": "Daily"},
        "OptionalFields": ["EncryptionStatus", "BucketKeyStatus"],
        "Destination": {
            "S3BucketDestination": {
                "Bucket": f"arn:aws:s3:::{target}",
                "Format": "Parquet",
                "Prefix": "lists",
                "Encryption": {"SSEKMS": {"KeyId": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"}},
            }
        },
        **changed,
    }


def test_an_inventory_is_kept(s3: Any, bucket: str) -> None:
    """An inventory configuration is read back as it was written, by id and in the list."""
    wanted = inventory(bucket)
    named = {"Bucket": bucket, "Id": "all"}
    s3.put_bucket_inventory_configuration(**named, InventoryConfiguration=wanted)
    found = s3.get_bucket_inventory_configuration(**named)["InventoryConfiguration"]
    assert found == wanted
    listed = s3.list_bucket_inventory_configurations(Bucket=bucket)
    assert (listed["InventoryConfigurationList"], listed["IsTruncated"]) == ([wanted], False)
    s3.delete_bucket_inventory_configuration(**named)
    refused = refusal(s3.get_bucket_inventory_configuration, **named)
    assert refused == (404, "NoSuchConfiguration")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"Id": "other"}, "InvalidArgument"),
        ({"Schedule": {"Frequency": "Hourly"}}, "MalformedXML"),
        ({"OptionalFields": ["Colour"]}, "MalformedXML"),
    ],
)
def test_inventories_that_are_refused(
    s3: Any, bucket: str, changed: dict[str, Any], code: str
) -> None:
    """An inventory with another id than the URL's, or with unknown values, is refused."""
    refused = refusal(
        s3.put_bucket_inventory_configuration,
        Bucket=bucket,
        Id="all",
        InventoryConfiguration=inventory(bucket, **changed),
    )
    assert refused == (400, code)
