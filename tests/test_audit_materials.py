# SPDX-License-Identifier: Apache-2.0
"""S3CRYPT.17: the age of the key material that wrapped an object's data key.

The object's metadata contains the id of the key material.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hardening_samples import watched
from object_audit_samples import audit, carry_out, of, verdicts
from relay import Answer
from samples import aes, connect, kms_keyring

from s3crypt import SSEKMS, ClientSide, MultiKeyring
from s3crypt.audit.values import Demands, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay import Asked

    from s3crypt import Keyring

    Spoil = Callable[[Asked, Callable[[], Answer]], Answer]

DAY = 86_400
DEMANDS = Demands(material_days=30)


def aged(*keys: str, rotated: int = 100, **replaced: Any) -> Spoil:
    """Return a function that makes keys in KMS's replies 200 days old.

    `rotated` is the age of their rotations in days. `replaced` are further fields of the reply to
    DescribeKey.
    """
    ids = [key.rpartition("/")[2] for key in keys]

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        operation = asked.headers.get("x-amz-target", "").rpartition(".")[2]
        is_one = any(key.encode() in asked.body for key in ids)
        if operation not in ("DescribeKey", "ListKeyRotations") or not is_one:
            return answer
        said = json.loads(answer.body)
        if operation == "DescribeKey":
            said["KeyMetadata"] |= {"CreationDate": time.time() - 200 * DAY, **replaced}
        for entry in said.get("Rotations", ()):
            if "RotationDate" in entry:
                entry["RotationDate"] = time.time() - rotated * DAY
        answer.body = json.dumps(said).encode()
        answer.headers.pop("content-length", None)
        return answer

    return spoil


def refusing_rotations(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer as a KMS that refuses ListKeyRotations."""
    if asked.headers.get("x-amz-target", "").endswith("ListKeyRotations"):
        no = b'{"__type":"AccessDeniedException","message":"no"}'
        return Answer(400, {"content-type": "application/x-amz-json-1.1"}, no)
    return forward()


def put(keyring: Keyring, uri: str) -> None:
    """Store an object with its key in the metadata."""
    connect(ClientSide(keyring, key_location="metadata")).put(b"plain", uri)


def judged(bucket: str, demands: Demands = DEMANDS) -> Finding:
    """Return the one finding of S3CRYPT.17."""
    (found,) = of(audit(f"s3://{bucket}/", demands), 17)
    return found


def test_old_material_fails_and_the_fix_mends_it(
    bucket: str, kms_key: str, new_key: str, tmp_path: Path
) -> None:
    """Old key material fails; after a rewrap under a younger key the control passes."""
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    demands = Demands(material_days=30, keys=frozenset({f"kms:{new_key}"}))
    with watched(aged(kms_key)):
        found = judged(bucket, demands)
        assert found.verdict is Verdict.FAIL
        assert found.is_claimed
        assert "which still wraps new data keys" in found.seen
        assert found.fix is not None
        carry_out(found.fix.text, tmp_path / "x")
        assert judged(bucket, demands).verdict is Verdict.PASS


def test_the_material_before_a_rotation_is_no_longer_current(
    bucket: str, kms_key: str, kms: Any
) -> None:
    """An object that was written before the key's rotation fails; one written later passes."""
    put(kms_keyring(kms_key), f"s3://{bucket}/old")
    kms.rotate_key_on_demand(KeyId=kms_key)
    put(kms_keyring(kms_key), f"s3://{bucket}/young")
    with watched(aged(kms_key, rotated=10)):
        failed, passed = of(audit(f"s3://{bucket}/", DEMANDS), 17)
    assert (failed.verdict, failed.examples) == (Verdict.FAIL, ("old",))
    assert "which wraps no new data keys" in failed.seen
    assert (passed.verdict, passed.is_claimed) == (Verdict.PASS, True)
    assert "as their metadata claims" in passed.seen


def test_a_rotation_can_be_too_old_as_well(bucket: str, kms_key: str, kms: Any) -> None:
    """The age of rotated material counts from the rotation, not from the key's creation."""
    kms.rotate_key_on_demand(KeyId=kms_key)
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    with watched(aged(kms_key, rotated=100)):
        found = judged(bucket)
    assert found.verdict is Verdict.FAIL
    assert "which still wraps new data keys" in found.seen


def test_an_id_that_kms_does_not_list_proves_nothing(bucket: str, kms_key: str, s3: Any) -> None:
    """Any writer can claim an id, so an id that KMS does not list leaves the object unknown."""
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    metadata = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource={"Bucket": bucket, "Key": "x"},
        Metadata={**metadata, "s3crypt-material": "0" * 64},
        MetadataDirective="REPLACE",
    )
    with watched(aged(kms_key)):
        found = judged(bucket)
    assert found.verdict is Verdict.UNKNOWN
    assert f"KMS lists no material of {kms_key} that has the claimed id" in found.seen
    assert judged(bucket).verdict is Verdict.PASS, "the key itself is young enough"


def test_materials_that_may_not_be_listed(bucket: str, kms_key: str) -> None:
    """If listing the materials is refused, the finding names the missing action."""
    put(kms_keyring(kms_key), f"s3://{bucket}/x")

    def both(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return refusing_rotations(asked, lambda: aged(kms_key)(asked, forward))

    with watched(both):
        found = judged(bucket)
    assert found.verdict is Verdict.UNKNOWN
    assert found.missing_actions == ("kms:ListKeyRotations",)


@pytest.mark.parametrize(
    ("rotated", "said", "verdict"),
    [
        (100, {"Origin": "EXTERNAL"}, Verdict.FAIL),
        (10, {"Origin": "EXTERNAL"}, Verdict.UNKNOWN),
        (None, {"Origin": "EXTERNAL"}, Verdict.UNKNOWN),
        (100, {"MultiRegion": True}, Verdict.FAIL),
        (10, {"MultiRegion": True}, Verdict.PASS),
        (None, {"MultiRegion": True}, Verdict.FAIL),
    ],
)
def test_material_that_may_be_older_than_its_date(
    bucket: str,
    kms_key: str,
    kms: Any,
    rotated: int | None,
    said: dict[str, Any],
    verdict: Verdict,
) -> None:
    """Imported material never passes; a replica's first material counts as old."""
    if rotated is not None:
        kms.rotate_key_on_demand(KeyId=kms_key)
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    with watched(aged(kms_key, rotated=rotated or 0, **said)):
        assert judged(bucket).verdict is verdict


def test_without_an_id_it_stays_unknown(bucket: str, kms_key: str) -> None:
    """Without the id of its material an object is unknown.

    SSE-KMS objects have no id, nor have objects with their key in the header.
    """
    with watched(aged(kms_key)):
        connect(ClientSide(kms_keyring(kms_key))).put(b"plain", f"s3://{bucket}/header")
        connect(SSEKMS(kms_key)).put(b"plain", f"s3://{bucket}/server")
        found = judged(bucket)
    assert (found.verdict, found.count) == (Verdict.UNKNOWN, 2)
    assert "is kept nowhere" in found.seen


def test_both_layers_under_one_key(bucket: str, kms_key: str, s3: Any) -> None:
    """If SSE-KMS encrypts a client-side object again, its verdict is unknown.

    The material id in the metadata is only about the client-side layer.
    """
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}
    rule = {"ApplyServerSideEncryptionByDefault": default}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    with watched(aged(kms_key)):
        assert judged(bucket).verdict is Verdict.UNKNOWN


def test_the_worst_of_several_keys_decides(bucket: str, kms_key: str, new_key: str) -> None:
    """One old KMS key of several makes the object fail; a raw key does not count.

    KMS reports a material id only for the first key. The material of a further key is unknown.
    """
    keyring = MultiKeyring(kms_keyring(kms_key), kms_keyring(new_key), aes())
    put(keyring, f"s3://{bucket}/x")
    with watched(aged(kms_key)):
        found = judged(bucket)
    assert found.verdict is Verdict.FAIL
    assert kms_key in found.seen
    with watched(aged(new_key)):
        assert judged(bucket).verdict is Verdict.UNKNOWN, "KMS reports no id for a further key"


def test_materials_are_listed_once_per_key(bucket: str, kms_key: str) -> None:
    """Materials are listed once per key for any number of objects.

    They are listed only if a maximum age is demanded.
    """
    for name in "abc":
        put(kms_keyring(kms_key), f"s3://{bucket}/{name}")
    with watched(aged(kms_key)) as relay:
        assert verdicts(audit(f"s3://{bucket}/", DEMANDS, jobs=3), 17) == {"fail": 3}
    targets = [asked.headers.get("x-amz-target", "") for asked in relay.asked]
    assert sum(target.endswith("ListKeyRotations") for target in targets) == 1
    with watched() as relay:
        audit(f"s3://{bucket}/")
    targets = [asked.headers.get("x-amz-target", "") for asked in relay.asked]
    assert not [target for target in targets if target.endswith("ListKeyRotations")]


def test_the_metadata_alone_is_enough(bucket: str, kms_key: str) -> None:
    """An audit that sends only HEAD requests reaches the same verdict."""
    put(kms_keyring(kms_key), f"s3://{bucket}/x")
    with watched(aged(kms_key)):
        (found,) = of(audit(f"s3://{bucket}/", DEMANDS, look="head"), 17)
    assert found.verdict is Verdict.FAIL
    assert found.cause.startswith("old-material:")
