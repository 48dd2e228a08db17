# SPDX-License-Identifier: Apache-2.0
"""The ids of the KMS key material that wrapped a data key: where they are stored and shown."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hardening_samples import watched
from s3crypt_cli.main import run
from samples import aes, connect, kms_keyring

from s3crypt import SSES3, CachingKeyring, ClientSide, MultiKeyring, S3Crypt
from s3crypt.jobs import Journal
from s3crypt.message import EncryptedDataKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay import Answer, Asked

    from s3crypt import Keyring

ENTRY = "s3crypt-material"
FORGED = "0" * 64


def in_metadata(keyring: Keyring) -> ClientSide:
    """Return a mode that stores the wrapped key in the metadata."""
    return ClientSide(keyring, key_location="metadata")


def current(kms: Any, key: str) -> str:
    """Return the id of a key's current material."""
    return str(kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"])


def metadata(s3: Any, bucket: str, name: str = "x") -> dict[str, str]:
    """Return an object's metadata."""
    found: dict[str, str] = s3.head_object(Bucket=bucket, Key=name)["Metadata"]
    return found


def set_metadata(s3: Any, bucket: str, changed: dict[str, str]) -> None:
    """Replace entries of an object's metadata, as any writer can."""
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource={"Bucket": bucket, "Key": "x"},
        Metadata={**metadata(s3, bucket), **changed},
        MetadataDirective="REPLACE",
    )


def unreporting(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer like a KMS service that reports no key material id."""
    answer = forward()
    if "x-amz-target" in asked.headers:
        body = re.sub(rb'"\w*KeyMaterialId": ?"\w+",? ?', b"", answer.body)
        answer.body = body.replace(b", }", b"}")
        answer.headers.pop("content-length", None)
    return answer


def test_the_metadata_has_the_id(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """The id in the reply to GenerateDataKey is in the metadata entry and in the object's info."""
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    written = store.put(b"plain", uri)
    wanted = current(kms, kms_key)
    assert metadata(s3, bucket)[ENTRY] == wanted
    assert written.key_materials == {f"kms:{kms_key}": wanted}
    assert store.inspect(uri).key_materials == {f"kms:{kms_key}": wanted}
    assert S3Crypt().inspect(uri).key_materials == {f"kms:{kms_key}": wanted}


def test_a_rotated_key_has_another_id(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """After a rotation, an object's entry has the id of the material that wrapped its data key."""
    store = connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", f"s3://{bucket}/x")
    old = current(kms, kms_key)
    kms.rotate_key_on_demand(KeyId=kms_key)
    store.put(b"plain", f"s3://{bucket}/new")
    assert metadata(s3, bucket)[ENTRY] == old
    assert metadata(s3, bucket, "new")[ENTRY] == current(kms, kms_key) != old


def test_a_header_has_no_room(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """An object with its key in the header has no entry. Only the result of the put has the id."""
    uri, store = f"s3://{bucket}/x", connect(ClientSide(kms_keyring(kms_key)))
    assert store.put(b"plain", uri).key_materials == {f"kms:{kms_key}": current(kms, kms_key)}
    assert ENTRY not in metadata(s3, bucket)
    assert store.inspect(uri).key_materials == {}


def test_rewrapping_replaces_the_id(
    bucket: str, kms_key: str, new_key: str, kms: Any, s3: Any
) -> None:
    """After a rewrap the entry has the new key's material id.

    The outcome has the old and the new id, from the reply to ReEncrypt.
    """
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    set_metadata(s3, bucket, {ENTRY: FORGED})
    (outcome,) = store.rotate(uri, to=in_metadata(kms_keyring(new_key)))
    assert outcome.action == "rewrapped"
    assert (outcome.from_material, outcome.material) == (
        current(kms, kms_key),
        current(kms, new_key),
    )
    assert metadata(s3, bucket)[ENTRY] == outcome.material


def test_rewrapping_by_a_key_without_material_drops_the_id(
    bucket: str, kms_key: str, kms: Any, s3: Any
) -> None:
    """If the new wrapping has no material id, the old id is removed, as it no longer applies."""
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    (outcome,) = store.rotate(uri, to=in_metadata(aes()))
    assert (outcome.action, outcome.from_material) == ("rewrapped", current(kms, kms_key))
    assert outcome.material is None
    assert ENTRY not in metadata(s3, bucket)
    assert connect(in_metadata(aes())).read(uri) == b"plain"


def test_re_encryption_writes_the_new_id(
    bucket: str, kms_key: str, new_key: str, kms: Any, s3: Any
) -> None:
    """The outcome of a re-encryption has the old material id from the reply to Decrypt.

    This holds also for an object with its key in the header.
    """
    uri, store = f"s3://{bucket}/x", connect(ClientSide(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    (outcome,) = store.rotate(uri, to=in_metadata(kms_keyring(new_key)))
    assert outcome.action == "re-encrypted"
    assert (outcome.from_material, outcome.material) == (
        current(kms, kms_key),
        current(kms, new_key),
    )
    assert metadata(s3, bucket)[ENTRY] == outcome.material
    (outcome,) = connect(in_metadata(kms_keyring(new_key))).rotate(uri, to=SSES3())
    assert (outcome.from_material, outcome.material) == (current(kms, new_key), None)
    assert ENTRY not in metadata(s3, bucket)


def test_a_dry_run_names_the_material_that_opens(
    kms: Any, bucket: str, kms_key: str, new_key: str
) -> None:
    """A dry run reports only the id of the old material, because the new id is not known yet."""
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    (outcome,) = store.rotate(uri, to=in_metadata(kms_keyring(new_key)), dry_run=True)
    assert (outcome.from_material, outcome.material) == (current(kms, kms_key), None)


def test_the_journal_has_the_ids(
    bucket: str, kms_key: str, new_key: str, kms: Any, tmp_path: Path
) -> None:
    """A recursive rotation writes both ids of each object to the journal."""
    store = connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", f"s3://{bucket}/x")
    with Journal.open(tmp_path / "journal", {}) as journal:
        to = in_metadata(kms_keyring(new_key))
        (outcome,) = store.many.rotate(f"s3://{bucket}/", to=to, journal=journal)
        rows = journal._rows("SELECT detail FROM items")
    wanted = {"from_material": current(kms, kms_key), "material": current(kms, new_key)}
    assert [json.loads(detail) for (detail,) in rows] == [wanted]
    assert outcome.material == wanted["material"]


def test_a_copy_keeps_the_id(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """A copy by S3 keeps the id with the wrapped key; a re-encrypted copy has a new id."""
    unbound = ClientSide(kms_keyring(kms_key), key_location="metadata", bind_name=False)
    connect(unbound).put(b"plain", f"s3://{bucket}/x")
    old = current(kms, kms_key)
    kms.rotate_key_on_demand(KeyId=kms_key)
    connect(unbound).copy(f"s3://{bucket}/x", f"s3://{bucket}/same", to=unbound)
    bound = in_metadata(kms_keyring(kms_key))
    connect(unbound).copy(f"s3://{bucket}/x", f"s3://{bucket}/anew", to=bound)
    assert metadata(s3, bucket, "same")[ENTRY] == old
    assert metadata(s3, bucket, "anew")[ENTRY] == current(kms, kms_key)


def test_one_id_per_wrapped_key(bucket: str, kms_key: str, new_key: str, kms: Any, s3: Any) -> None:
    """With several keys the ids are in the order of the wrapped keys.

    The reply to Encrypt has no id, so only the first key has an id.
    """
    first, second = kms_keyring(kms_key), kms_keyring(new_key)
    store = connect(in_metadata(MultiKeyring(first, second, aes())))
    store.put(b"plain", f"s3://{bucket}/x")
    assert metadata(s3, bucket)[ENTRY] == current(kms, kms_key)
    set_metadata(s3, bucket, {ENTRY: f",{FORGED}"})
    found = store.inspect(f"s3://{bucket}/x")
    assert found.key_materials == {f"kms:{new_key}": FORGED}
    connect(in_metadata(MultiKeyring(aes(), first))).put(b"plain", f"s3://{bucket}/x")
    assert ENTRY not in metadata(s3, bucket)


def test_a_cached_data_key_has_its_id(bucket: str, kms_key: str, kms: Any, s3: Any) -> None:
    """Every object under a cached data key has the id of the material that wrapped this key."""
    keyring = CachingKeyring(kms_keyring(kms_key), max_age=60)
    store = connect(ClientSide(keyring, key_location="metadata", bind_name=False))
    for name in ("x", "y"):
        store.put(b"plain", f"s3://{bucket}/{name}")
        assert metadata(s3, bucket, name)[ENTRY] == current(kms, kms_key)
    assert keyring.statistics.generate_hits == 1


def test_a_kms_that_reports_no_id(bucket: str, kms_key: str, new_key: str, s3: Any) -> None:
    """If KMS reports no material id, no entry is written, and the object works as usual."""
    uri = f"s3://{bucket}/x"
    with watched(unreporting):
        store = S3Crypt(in_metadata(kms_keyring(kms_key)))
        assert store.put(b"plain", uri).key_materials == {}
        assert ENTRY not in metadata(s3, bucket)
        (outcome,) = store.rotate(uri, to=in_metadata(kms_keyring(new_key)))
        assert outcome.action == "rewrapped"
        assert (outcome.from_material, outcome.material) == (None, None)
        assert S3Crypt(in_metadata(kms_keyring(new_key))).read(uri) == b"plain"
    assert ENTRY not in metadata(s3, bucket)


@pytest.mark.parametrize("spare", [79, 80])
def test_the_id_gives_way_to_metadata_of_the_user(
    bucket: str, kms_key: str, new_key: str, s3: Any, spare: int
) -> None:
    """The entry needs 80 of the 2,048 bytes of metadata, and is left out if they are not free."""
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    taken = sum(len(n) + len(v) for n, v in metadata(s3, bucket).items() if n != ENTRY)
    filler = {"a": "b" * (2048 - taken - 1 - spare)}
    store.put(b"plain", uri, metadata=filler)
    assert (ENTRY in metadata(s3, bucket)) == (spare == 80)
    (outcome,) = store.rotate(uri, to=in_metadata(kms_keyring(new_key)))
    assert outcome.action == "rewrapped"
    assert outcome.material is not None
    assert (ENTRY in metadata(s3, bucket)) == (spare == 80)


@pytest.mark.parametrize(
    "text",
    [FORGED, "0" * 63, "0" * 65, "x" * 64, "A" * 64, f"{FORGED},{FORGED}", ",", "null", "1" * 600],
)
def test_a_forged_id_opens_and_closes_nothing(
    bucket: str, kms_key: str, s3: Any, text: str
) -> None:
    """A forged id has no effect on reading, and a malformed id is not shown."""
    uri, store = f"s3://{bucket}/x", connect(in_metadata(kms_keyring(kms_key)))
    store.put(b"plain", uri)
    set_metadata(s3, bucket, {ENTRY: text})
    assert store.read(uri) == b"plain"
    shown = {f"kms:{kms_key}": FORGED} if text == FORGED else {}
    assert store.inspect(uri).key_materials == shown


def test_edks_are_equal_whatever_their_material() -> None:
    """The id does not affect an EDK's equality, its hash or its text."""
    plain = EncryptedDataKey("aws-kms", b"arn", b"blob")
    known = EncryptedDataKey("aws-kms", b"arn", b"blob", material_id=FORGED)
    assert plain == known
    assert hash(plain) == hash(known)
    assert repr(plain) == repr(known)


def test_inspect_prints_the_id(
    bucket: str, kms_key: str, kms: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`inspect` prints the material ids, in text on one line and in JSON as one entry per key."""
    uri = f"s3://{bucket}/x"
    connect(in_metadata(kms_keyring(kms_key))).put(b"plain", uri)
    wanted = current(kms, kms_key)
    assert run(["inspect", uri]) == 0
    assert f"key materials  kms:{kms_key}={wanted}\n" in capsys.readouterr().out
    assert run(["inspect", uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key_materials"] == {f"kms:{kms_key}": wanted}


def test_rotate_prints_the_ids(
    bucket: str, kms_key: str, new_key: str, kms: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON of an outcome has the old and the new material id."""
    uri = f"s3://{bucket}/x"
    connect(in_metadata(kms_keyring(kms_key))).put(b"plain", uri)
    words = ["rotate", uri, "--mode", "client", "--key-location", "metadata", "--json"]
    words += ["--key", f"kms:{new_key}", "--from-key", f"kms:{kms_key}"]
    assert run(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["from_material"] == current(kms, kms_key)
    assert said["material"] == current(kms, new_key)
