# SPDX-License-Identifier: Apache-2.0
"""The controls of objects over HTTP: pass, fail and unknown verdicts, and the fixes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hardening_samples import DENIED, watched
from object_audit_samples import audit, carry_out, count_of, of, verdicts
from relay import Answer
from samples import uncommitted
from test_s3ec import CIPHERTEXT, ENVELOPES, SPLIT

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    ConfigError,
    KMSKeyring,
    MultiKeyring,
    S3Crypt,
    StorageError,
)
from s3crypt.audit.object_controls import Judgement
from s3crypt.audit.object_fixes import Failed, fix_of
from s3crypt.audit.report import Run, make_report
from s3crypt.audit.tallies import Scope, Tally
from s3crypt.audit.values import MAX_EXAMPLES, Coverage, Demands, ObjectVerdict, Resource, Verdict
from s3crypt.inventories import Reservoir
from s3crypt.jobs import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Asked

    from s3crypt.audit.values import Finding

AES = AESKeyring("tests", "one", random.Random("one").randbytes(32))
OWNER = "x-amz-expected-bucket-owner"
CUSTOMER_KEY, OTHER_KEY = bytes(range(32)), bytes(32)
REFUSED_BY_KMS = Answer(
    400,
    {"content-type": "application/x-amz-json-1.1"},
    b'{"__type":"AccessDeniedException","message":"no"}',
)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """Return a file with the key of `AES`."""
    path = tmp_path / "one.key"
    path.write_bytes(random.Random("one").randbytes(32))
    return str(path)


def put(mode: Any, uri: str, body: bytes = b"plain") -> None:
    """Store an object."""
    S3Crypt(mode).put(body, uri)


@contextmanager
def refusing(*methods: str, kms: bool = False) -> Iterator[None]:
    """Make S3 refuse these methods for objects, and KMS refuse every request if `kms` is true."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "x-amz-target" in asked.headers:
            return REFUSED_BY_KMS if kms else forward()
        is_object = asked.path.strip("/").count("/") > 0
        if is_object and asked.method in methods:
            return Answer(DENIED.status, dict(DENIED.headers), DENIED.body)
        return forward()

    with watched(spoil):
        yield


def only(findings: list[Finding], number: int) -> Finding:
    """Return the one finding of a control."""
    (found,) = of(findings, number)
    return found


def mended(
    findings: list[Finding], number: int, again: Callable[[], list[Finding]], *how: Any
) -> None:
    """Execute the fix of the one failed finding, and check that the control then passes."""
    (failed,) = [each for each in of(findings, number) if each.verdict is Verdict.FAIL]
    assert failed.fix is not None
    carry_out(failed.fix.text, *how)
    assert set(verdicts(again(), number)) == {"pass"}, failed.fix.text


# --- each control: pass, fail, unreadable, mended ------------------------------------------------


def test_objects_of_another_account_are_unknown(bucket: str) -> None:
    """If the bucket's owner is another account, S3 refuses and every object is unknown."""
    put(SSES3(), f"s3://{bucket}/x")

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_of_bucket = asked.path.strip("/").partition("/")[0] == bucket
        if is_of_bucket and OWNER in asked.headers:
            return Answer(403, dict(DENIED.headers), DENIED.body)
        return forward()

    with watched(refuse) as relay:
        found = audit(f"s3://{bucket}/", Demands(modes=frozenset({"sse-s3"})))
    assert found
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert {each.missing_actions for each in found} == {()}
    assert all("the bucket does not belong to account 123456789012" in each.seen for each in found)
    assert not [asked for asked in relay.asked if asked.path == f"/{bucket}/x"]


def test_mode(bucket: str, key: str, tmp_path: Path) -> None:
    """S3CRYPT.14: the object's server-side mode, or the client-side format in it, is approved."""
    uri = f"s3://{bucket}/"
    demands = Demands(modes=frozenset({"sse-kms"}), keys=frozenset({key}))
    put(SSES3(), f"{uri}a b")
    put(SSEKMS(key), f"{uri}approved")
    found = audit(uri, demands)
    failed, passed = of(found, 14)
    assert (failed.verdict, failed.examples, failed.count) == (Verdict.FAIL, ("a b",), 1)
    assert (passed.verdict, passed.count, passed.looked_at) == (Verdict.PASS, 1, 2)
    with refusing("GET", "HEAD"):
        unseen = only(audit(uri, demands), 14)
    assert (unseen.verdict, unseen.count) == (Verdict.UNKNOWN, 2)
    assert unseen.missing_actions == ("s3:GetObject",)
    mended(found, 14, lambda: audit(uri, demands), tmp_path / "x")


@pytest.mark.parametrize(
    ("mode", "approved", "verdict"),
    [
        (SSES3(), "client", "fail"),
        (ClientSide(AES), "client", "pass"),
        (ClientSide(AES), "sse-s3", "pass"),
        (ClientSide(AES), "sse-kms", "fail"),
        (ClientSide(AES, key_location="metadata"), "client", "pass"),
        (SSEC(CUSTOMER_KEY), "sse-c", "pass"),
        (SSEC(CUSTOMER_KEY), "sse-kms", "fail"),
    ],
)
def test_modes(bucket: str, mode: Any, approved: str, verdict: str) -> None:
    """An object passes if the mode of either of its layers is approved."""
    put(mode, f"s3://{bucket}/x")
    assert verdicts(audit(f"s3://{bucket}/", Demands(modes=frozenset({approved}))), 14) == {
        verdict: 1
    }


def test_a_plain_object_becomes_client_side(bucket: str, key: str, tmp_path: Path) -> None:
    """The fix of a plain object names its present mode, which `rotate` needs."""
    uri = f"s3://{bucket}/"
    demands = Demands(modes=frozenset({"client"}), keys=frozenset({key}))
    put(SSES3(), f"{uri}x")
    mended(audit(uri, demands), 14, lambda: audit(uri, demands), tmp_path / "x")


@pytest.mark.parametrize("is_client", [False, True])
def test_key(bucket: str, key: str, new_key: str, tmp_path: Path, is_client: bool) -> None:
    """S3CRYPT.15: every KMS key of both layers is approved."""
    uri = f"s3://{bucket}/"
    demands = Demands(keys=frozenset({new_key}))

    def mode(arn: str) -> Any:
        return ClientSide(KMSKeyring(arn)) if is_client else SSEKMS(arn)

    put(mode(key), f"{uri}wrong")
    put(mode(new_key), f"{uri}right")
    put(SSES3(), f"{uri}none")
    found = audit(uri, demands)
    assert verdicts(found, 15) == {"fail": 1, "pass": 1}
    with refusing("GET"):
        unseen = audit(uri, demands)
    assert verdicts(unseen, 15)["unknown"] >= 1
    mended(found, 15, lambda: audit(uri, demands), tmp_path / "x")


@pytest.mark.parametrize("is_client", [False, True])
@pytest.mark.parametrize("is_dying", [False, True])
def test_state_of_a_key(
    bucket: str, kms: Any, kms_key: str, tmp_path: Path, is_client: bool, is_dying: bool
) -> None:
    """S3CRYPT.16: no key of either layer is disabled or pending deletion."""
    uri = f"s3://{bucket}/"
    put(ClientSide(KMSKeyring(kms_key)) if is_client else SSEKMS(kms_key), f"{uri}x")
    assert only(audit(uri), 16).verdict is Verdict.PASS
    if is_dying:
        kms.schedule_key_deletion(KeyId=kms_key)
    else:
        kms.disable_key(KeyId=kms_key)
    found = audit(uri)
    failed = only(found, 16)
    assert failed.verdict is Verdict.FAIL
    assert failed.cause.startswith("key-dying" if is_dying else "key-disabled")
    with refusing(kms=True):
        unseen = only(audit(uri), 16)
    assert unseen.verdict is Verdict.UNKNOWN
    assert unseen.missing_actions == ("kms:DescribeKey",)
    mended(found, 16, lambda: audit(uri), tmp_path / "x")


def test_a_key_that_is_gone(bucket: str, kms_key: str) -> None:
    """An object under a key that KMS does not know fails; its fix has only comments."""
    put(ClientSide(KMSKeyring(kms_key)), f"s3://{bucket}/x")

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.headers.get("x-amz-target", "").endswith("DescribeKey"):
            gone = b'{"__type":"NotFoundException","message":"gone"}'
            return Answer(400, {"content-type": "application/x-amz-json-1.1"}, gone)
        return forward()

    with watched(spoil):
        failed = only(audit(f"s3://{bucket}/"), 16)
    assert failed.cause.startswith("key-gone")
    assert failed.fix is not None
    assert all(line.startswith("#") for line in failed.fix.text.splitlines())


def test_age_of_material(bucket: str, key: str) -> None:
    """S3CRYPT.17: a key younger than N days passes.

    An older key is unknown without the id of its material.
    """
    uri = f"s3://{bucket}/"
    put(SSEKMS(key), f"{uri}x")
    assert only(audit(uri, Demands(material_days=1)), 17).verdict is Verdict.PASS
    unseen = only(audit(uri, Demands(material_days=0)), 17)
    assert unseen.verdict is Verdict.UNKNOWN
    assert "kept nowhere" in unseen.seen


def test_commitment(s3: Any, bucket: str, tmp_path: Path, key_file: str) -> None:
    """S3CRYPT.18: a suite without key commitment fails; if GET is refused, it is unknown."""
    uri = f"s3://{bucket}/"
    put(ClientSide(AES), f"{uri}right")
    s3.put_object(Bucket=bucket, Key="wrong", Body=uncommitted(b"plain", "wrong"))
    found = audit(uri)
    assert verdicts(found, 18) == {"fail": 1, "pass": 1}
    with refusing("GET"):
        assert set(verdicts(audit(uri), 18)) <= {"unknown"}
    mended(found, 18, lambda: audit(uri), tmp_path / "x", key_file)
    assert S3Crypt(ClientSide(AES)).read(f"{uri}wrong") == b"plain"


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_objects_of_the_s3_encryption_client(s3: Any, bucket: str, envelope: str) -> None:
    """V1 and V2 objects have no commitment and V3 objects have it, also by HEAD alone."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT, Metadata=ENVELOPES[envelope])
    for look in ("head", "header"):
        found = only(audit(f"s3://{bucket}/", look=look), 18)
        is_right = envelope.startswith("V3")
        assert found.verdict is (Verdict.PASS if is_right else Verdict.FAIL)
        assert is_right or "CVE-2025-14763" in found.seen


@pytest.mark.parametrize("split", SPLIT)
def test_instruction_files(s3: Any, bucket: str, split: str) -> None:
    """Objects with an instruction file are recognised; the instruction file itself is skipped."""
    metadata, envelope = SPLIT[split]
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT, Metadata=metadata)
    body = json.dumps(envelope).encode()
    s3.put_object(Bucket=bucket, Key="x.instruction", Body=body)
    found = only(audit(f"s3://{bucket}/"), 18)
    assert found.verdict is (Verdict.PASS if split == "V3" else Verdict.FAIL)
    assert (found.count, found.examples) == (1, ("x",))


def test_signature(bucket: str, key: str, tmp_path: Path) -> None:
    """S3CRYPT.19: an unsigned object fails if signatures are demanded.

    If only HEAD is permitted, the verdicts are the same, but they are marked as claims of the
    metadata.
    """
    uri, demands = f"s3://{bucket}/", Demands(signed=True)
    put(ClientSide(KMSKeyring(key)), f"{uri}wrong")
    put(ClientSide(KMSKeyring(key), signed=True), f"{uri}right")
    found = audit(uri, demands)
    assert verdicts(found, 19) == {"fail": 1, "pass": 1}
    assert not of(audit(uri), 19)
    with refusing("GET"):
        claimed = of(audit(uri, demands), 19)
    assert {each.verdict for each in claimed} == {Verdict.FAIL, Verdict.PASS}
    assert all(each.is_claimed for each in claimed)
    with refusing("GET", "HEAD"):
        assert verdicts(audit(uri, demands), 19) == {"unknown": 2}
    mended(found, 19, lambda: audit(uri, demands), tmp_path / "x")


def test_name(bucket: str, key: str, tmp_path: Path) -> None:
    """S3CRYPT.20: the encryption context contains the object's own name."""
    uri = f"s3://{bucket}/"
    put(ClientSide(KMSKeyring(key), bind_name=False), f"{uri}wrong")
    put(ClientSide(KMSKeyring(key)), f"{uri}right")
    found = audit(uri)
    assert verdicts(found, 20) == {"fail": 1, "pass": 1}
    assert not of(audit(uri, Demands(bound_names=False)), 20)
    with refusing("GET", "HEAD"):
        assert verdicts(audit(uri), 20) == {"unknown": 2}
    mended(found, 20, lambda: audit(uri), tmp_path / "x")


def test_a_swapped_name(s3: Any, bucket: str) -> None:
    """An object that is bound to another name was moved or swapped, and fails."""
    put(ClientSide(AES), f"s3://{bucket}/a")
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    failed, passed = of(audit(f"s3://{bucket}/"), 20)
    assert (failed.cause, failed.examples) == ("other-name", ("b",))
    assert passed.count == 1


@pytest.mark.parametrize("key_location", ["header", "metadata"])
def test_escrow_key(
    bucket: str, key: str, tmp_path: Path, key_file: str, key_location: Any
) -> None:
    """S3CRYPT.21: each required key has wrapped the data key."""
    uri, kms_keyring = f"s3://{bucket}/", KMSKeyring(key)
    demands = Demands(required_keys=("aes:tests/one=FILE",))
    put(ClientSide(kms_keyring, key_location=key_location), f"{uri}wrong")
    both = MultiKeyring(kms_keyring, AES)
    put(ClientSide(both, key_location=key_location), f"{uri}right")
    found = audit(uri, demands)
    assert verdicts(found, 21) == {"fail": 1, "pass": 1}
    with refusing("GET", "HEAD"):
        assert verdicts(audit(uri, demands), 21) == {"unknown": 2}
    mended(found, 21, lambda: audit(uri, demands), tmp_path / "x", key_file)


def test_an_escrow_key_by_its_alias(bucket: str, kms: Any, kms_key: str) -> None:
    """An alias is resolved once; if KMS refuses to resolve it, the control is unknown."""
    alias = f"alias/{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    put(ClientSide(KMSKeyring(kms_key)), f"s3://{bucket}/x")
    demands = Demands(required_keys=(f"kms:{alias}",))
    assert only(audit(f"s3://{bucket}/", demands), 21).verdict is Verdict.PASS
    with refusing(kms=True):
        unseen = only(audit(f"s3://{bucket}/", demands), 21)
    assert unseen.verdict is Verdict.UNKNOWN
    assert unseen.missing_actions == ("kms:DescribeKey",)


def test_customer_keys(bucket: str) -> None:
    """S3CRYPT.22: one of the given keys opens each SSE-C object; without keys it is unknown."""
    uri = f"s3://{bucket}/"
    put(SSEC(CUSTOMER_KEY), f"{uri}right")
    put(SSEC(OTHER_KEY), f"{uri}wrong")
    demands = Demands(key_files=(bytes([7]) * 32, CUSTOMER_KEY))
    failed, passed = of(audit(uri, demands), 22)
    assert (failed.verdict, failed.examples) == (Verdict.FAIL, ("wrong",))
    assert (passed.verdict, passed.count) == (Verdict.PASS, 1)
    assert failed.fix is not None
    assert verdicts(audit(uri), 22) == {"unknown": 2}
    assert verdicts(audit(uri, Demands(key_files=(CUSTOMER_KEY, OTHER_KEY))), 22) == {"pass": 2}


# --- an unknown state never passes ---------------------------------------------------------------


def test_without_first_bytes_a_plain_object_may_be_a_message(bucket: str) -> None:
    """With HEAD alone a plain object is unknown: it may be a message of another tool."""
    put(SSES3(), f"s3://{bucket}/x")
    assert not of(audit(f"s3://{bucket}/"), 18)
    assert only(audit(f"s3://{bucket}/", look="head"), 18).verdict is Verdict.UNKNOWN


def test_nothing_may_be_seen(bucket: str) -> None:
    """Without any permission on objects, no control passes."""
    put(ClientSide(AES), f"s3://{bucket}/x")
    demands = Demands(frozenset({"client"}), frozenset({"x"}), ("aes:a/b",), True, True, 1)
    with refusing("GET", "HEAD"):
        found = audit(f"s3://{bucket}/", demands)
    assert {each.control.id for each in found} == {f"S3CRYPT.{n}" for n in range(14, 23)}
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}


def test_a_bucket_that_may_not_be_listed(bucket: str) -> None:
    """If the listing is refused, every control is unknown and names the missing action."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return (
            Answer(403, dict(DENIED.headers), DENIED.body)
            if asked.query.get("list-type")
            else forward()
        )

    covered: list[Coverage] = []
    with watched(spoil):
        found = audit(f"s3://{bucket}/", covered=covered.append)
    assert found
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert {each.missing_actions for each in found} == {("s3:ListBucket",)}
    assert str(covered[0]) == (
        f"s3://{bucket}/: 0 objects looked at; other objects could not be listed"
    )


def test_archived_objects_are_not_fetched(s3: Any, bucket: str) -> None:
    """HEAD shows the mode of an archived object; its format stays unknown."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"x", StorageClass="GLACIER")
    found = audit(f"s3://{bucket}/", Demands(modes=frozenset({"sse-s3"})))
    assert only(found, 14).verdict is Verdict.PASS
    assert "archived" in only(found, 18).seen


@pytest.mark.parametrize("body", [b"", b"x", b"\x02", b"{", b"\x02\x05x" + bytes(5000)])
def test_plain_objects_have_no_client_side_findings(s3: Any, bucket: str, body: bytes) -> None:
    """An object counts as a message only if its first bytes are a complete header."""
    s3.put_object(Bucket=bucket, Key="x", Body=body)
    found = audit(f"s3://{bucket}/")
    assert count_of(found, Verdict.FAIL) == 0
    assert not any(each.verdict is Verdict.PASS for each in of(found, 18))


def test_contradicting_metadata_is_unknown(s3: Any, bucket: str) -> None:
    """If metadata and header disagree about the header's length, every verdict is unknown."""
    put(ClientSide(AES), f"s3://{bucket}/x")
    head = s3.head_object(Bucket=bucket, Key="x")["Metadata"]
    s3.copy_object(
        Bucket=bucket,
        Key="x",
        CopySource=f"{bucket}/x",
        Metadata={**head, "s3crypt-header-length": "77"},
        MetadataDirective="REPLACE",
    )
    found = audit(f"s3://{bucket}/")
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("uri", "error"), [("s3://no-such-bucket-7/", StorageError), ("s3://b/x", ConfigError)]
)
def test_what_cannot_be_audited(uri: str, error: type[Exception]) -> None:
    """A bucket that does not exist and the URI of one object are the caller's errors."""
    with pytest.raises(error):
        audit(uri)


# --- no key is unwrapped -------------------------------------------------------------------------


def test_no_key_is_unwrapped(bucket: str, key: str) -> None:
    """The audit sends only reading requests, and asks KMS only to describe keys."""
    for number, mode in enumerate(
        [
            SSES3(),
            SSEKMS(key),
            SSEC(CUSTOMER_KEY),
            ClientSide(KMSKeyring(key)),
            ClientSide(KMSKeyring(key), key_location="metadata"),
        ]
    ):
        put(mode, f"s3://{bucket}/{number}")
    demands = Demands(
        frozenset({"client"}), frozenset({key}), (f"kms:{key}",), True, True, 9, (CUSTOMER_KEY,)
    )
    with watched() as relay:
        audit(f"s3://{bucket}/", demands)
    asked = [
        each.headers.get("x-amz-target", each.method)
        for each in relay.asked
        if b"GetCallerIdentity" not in each.body
    ]
    assert set(asked) == {"GET", "HEAD", "TrentService.DescribeKey"}
    assert asked.count("TrentService.DescribeKey") == 1


def test_no_unwrapping_is_imported() -> None:
    """The audit's modules import no keyring and no operation that unwraps."""
    from pathlib import Path  # noqa: PLC0415

    import s3crypt.audit  # noqa: PLC0415

    text = "".join(p.read_text() for p in Path(s3crypt.audit.__file__).parent.glob("*.py"))
    assert "s3crypt.keyrings" not in text
    assert ".unwrap" not in text
    assert '"decrypt"' not in text


# --- many objects --------------------------------------------------------------------------------


def test_equal_verdicts_are_one_finding(s3: Any, bucket: str, key: str, tmp_path: Path) -> None:
    """A finding keeps ten names as examples, counts every object, and its fix is for the prefix."""
    for number in range(MAX_EXAMPLES + 3):
        s3.put_object(Bucket=bucket, Key=f"p/{number:02}", Body=b"x")
    told: list[ObjectVerdict] = []
    uri = f"s3://{bucket}/p/"
    demands = Demands(modes=frozenset({"sse-kms"}), keys=frozenset({key}))
    found = audit(uri, demands, each=told.append)
    failed = only(found, 14)
    assert (failed.count, len(failed.examples)) == (MAX_EXAMPLES + 3, MAX_EXAMPLES)
    assert sorted(each.name for each in told) == [f"p/{n:02}" for n in range(MAX_EXAMPLES + 3)]
    assert failed.fix is not None
    assert failed.fix.text.startswith(f"s3crypt rotate -r {uri} ")
    mended(found, 14, lambda: audit(uri, demands), tmp_path / "x")


def test_a_fix_keeps_each_object_under_its_own_keys(bucket: str) -> None:
    """Objects that fail for one cause under different keys get separate fixes."""
    for number, name in enumerate("ab"):
        key = bytes([number]) * 32
        S3Crypt(ClientSide(AESKeyring("n", name, key))).put(b"x", f"s3://{bucket}/{name}")
    fix = only(audit(f"s3://{bucket}/", Demands(signed=True)), 19).fix
    assert fix is not None
    lines = fix.text.splitlines()
    assert ["aes:n/a=FILE" in line for line in lines] == [True, False]
    assert ["aes:n/b=FILE" in line for line in lines] == [False, True]


def test_no_line_is_about_many_objects_under_different_keys() -> None:
    """No fix covers a whole prefix whose objects are under different keys."""
    failed = Failed("S3CRYPT.19", "unsigned-message", ("a", "b"), "s3://acme/", (), is_whole=False)
    assert all(line.startswith("# ") for line in fix_of(failed, Demands()).text.splitlines())
    one = fix_of(replace(failed, abouts=("aes:n/a",)), Demands()).text
    assert one.startswith("s3crypt rotate -r s3://acme/ ")


def test_a_finding_does_not_depend_on_the_order_of_the_objects() -> None:
    """Findings are equal whatever the order in which threads read the objects."""
    findings: list[Finding] = []
    for names in (range(20), reversed(range(20))):
        tally = Tally()
        for number in names:
            about = f"aes:n/{number:02}"
            judgement = Judgement("S3CRYPT.19", Verdict.FAIL, "unsigned", "are not signed", about)
            tally.add(judgement, 1, [(f"{number:02}", None)])
        resource = Resource("objects", "arn:aws:s3:::acme/*", "123456789012", "us-east-1")
        findings += tally.findings(Scope(resource, "acme", "s3://acme/", Demands(signed=True)))
    assert findings[0] == findings[1]
    assert findings[0].examples == tuple(f"{number:02}" for number in range(MAX_EXAMPLES))


def test_a_finding_keeps_its_id(bucket: str) -> None:
    """A finding has the same id in the next run, whatever the number of objects."""
    demands = Demands(modes=frozenset({"sse-kms"}))
    put(SSES3(), f"s3://{bucket}/a")
    before = only(audit(f"s3://{bucket}/", demands), 14)
    put(SSES3(), f"s3://{bucket}/b")
    after = only(audit(f"s3://{bucket}/", demands), 14)
    assert before.id == after.id
    assert (before.count, after.count) == (1, 2)


def test_a_resumed_run_asks_for_nothing_again(bucket: str, key: str, tmp_path: Path) -> None:
    """A resumed run counts the journal's objects without a request, and looks at the rest."""
    put(SSEKMS(key), f"s3://{bucket}/a")
    put(ClientSide(AES), f"s3://{bucket}/b")
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal:
        before = audit(f"s3://{bucket}/", journal=journal)
    put(SSEKMS(key), f"s3://{bucket}/c")
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal, watched() as relay:
        after = audit(f"s3://{bucket}/", journal=journal)
    assert [each.path for each in relay.asked if each.path.count("/") > 1] == [f"/{bucket}/c"]
    assert verdicts(before, 16) == {"pass": 1}
    assert verdicts(after, 16) == {"pass": 2}
    assert of(before, 18) == of(after, 18)


def test_a_resumed_run_asks_again_for_what_was_refused(bucket: str, tmp_path: Path) -> None:
    """A journal keeps no refusal: with the permission, the next run sees the object."""
    put(ClientSide(AES), f"s3://{bucket}/a")
    with refusing("GET", "HEAD"), Journal.open(tmp_path / "journal", {"job": 1}) as journal:
        before = audit(f"s3://{bucket}/", journal=journal)
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal:
        after = audit(f"s3://{bucket}/", journal=journal)
    assert verdicts(before, 18) == {"unknown": 1}
    assert verdicts(after, 18) == {"pass": 1}


def test_an_object_that_comes_back_is_looked_at(s3: Any, bucket: str, tmp_path: Path) -> None:
    """A journal does not record a missing object, so a later run looks for it again."""
    demands = Demands(modes=frozenset({"sse-kms"}))
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    gone = Answer(
        404, {"content-type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>"
    )

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return gone if asked.path.strip("/").count("/") > 0 else forward()

    with (
        watched(spoil),
        Journal.open(tmp_path / "journal", {"job": 1}) as journal,
    ):
        before = audit(f"s3://{bucket}/", demands, journal=journal)
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal:
        after = audit(f"s3://{bucket}/", demands, journal=journal)
    assert verdicts(before, 14) == {}
    assert verdicts(after, 14) == {"fail": 1}


_AUDIT = """
import sys
sys.path.insert(0, sys.argv[3])
from object_audit_samples import audit
from s3crypt.jobs import Journal
with Journal.open(sys.argv[2], {"job": 1}) as journal:
    audit(sys.argv[1], journal=journal, jobs=2)
"""


def test_a_killed_run_is_resumed(s3: Any, bucket: str, tmp_path: Path) -> None:
    """After SIGKILL the next run audits the remaining objects; the findings are complete."""
    count, asked = 40, 0
    for number in range(count):
        s3.put_object(Bucket=bucket, Key=f"{number:03}", Body=b"x")
    demands = Demands(modes=frozenset({"sse-s3"}))
    process: list[subprocess.Popen[bytes]] = []

    def spoil(each: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal asked
        asked += each.path.count("/") > 1
        if asked == count // 2:
            process[0].send_signal(signal.SIGKILL)
        return forward()

    with watched(spoil):
        here = os.path.dirname(__file__)  # noqa: PTH120
        words = [sys.executable, "-c", _AUDIT, f"s3://{bucket}/", str(tmp_path / "journal"), here]
        process.append(subprocess.Popen(words))
        assert process[0].wait(60) == -signal.SIGKILL
    with Journal.open(tmp_path / "journal", {"job": 1}) as journal, watched() as relay:
        found = audit(f"s3://{bucket}/", demands, journal=journal)
    left = [each for each in relay.asked if each.path.count("/") > 1]
    assert count // 2 <= len(left) < count - 5
    assert verdicts(found, 14) == {"pass": count}


def test_a_sample_says_its_size(s3: Any, bucket: str) -> None:
    """A sample reports its size and the total; the same seed draws the same objects."""
    for number in range(30):
        s3.put_object(Bucket=bucket, Key=f"{number:03}", Body=b"x")
    demands = Demands(modes=frozenset({"sse-kms"}))
    first = only(audit(f"s3://{bucket}/", demands, sample=7, seed=5), 14)
    again = only(audit(f"s3://{bucket}/", demands, sample=7, seed=5), 14)
    assert (first.count, first.looked_at, first.sampled_from) == (7, 7, 30)
    assert sorted(first.examples) == sorted(again.examples)
    assert "a sample of 7 of 30, seed 5" in first.seen


def test_the_objects_of_a_control_are_not_the_sample(s3: Any, bucket: str) -> None:
    """The number of client-side objects in a sample is not reported as the sample's size."""
    put(ClientSide(AES), f"s3://{bucket}/client")
    for number in range(4):
        s3.put_object(Bucket=bucket, Key=f"{number:03}", Body=b"x")
    found = only(audit(f"s3://{bucket}/", sample=5), 18)
    now = datetime.now(UTC)
    run = Run("arn:aws:iam::123456789012:root", "123456789012", "us-east-1", (), now, now)
    assert (found.looked_at, found.sampled_from) == (1, 5)
    assert "a sample of 5 of 5" in found.seen
    assert "sample of 1" not in make_report(run, [found]).seen(found)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_sample_is_even(step: int) -> None:
    """The reservoir draws every item about equally often, whatever the size of a step."""
    size, total, runs = 20, 100, 2000
    drawn = [0] * total
    for seed in range(runs):
        reservoir: Reservoir[int] = Reservoir(size, seed=seed)
        for start in range(0, total, step):
            for place in reservoir.places(min(step, total - start)):
                reservoir.put(start + place)
        assert len(set(reservoir.items)) == size
        for item in reservoir.items:
            drawn[item] += 1
    # Binomial distribution: 400 of 2,000 on average, standard deviation 18. The bound of 90 is five
    # standard deviations, which chance does not reach.
    assert all(abs(count - runs * size / total) < 90 for count in drawn)
