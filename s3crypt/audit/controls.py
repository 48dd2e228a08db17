# SPDX-License-Identifier: Apache-2.0
"""The table of all controls: Security Hub's, and s3crypt's own, whose ids are `S3CRYPT.n`.

A control lists a requirement of a standard only if one of the sources below maps the control to the
requirement. `Judged` creates findings about a resource from the ids of controls. This module judges
nothing.

The sources:

- Security Hub's pages: https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html
  and https://docs.aws.amazon.com/securityhub/latest/userguide/kms-controls.html.
- The files `prowler/compliance/aws/*_aws.json` of Prowler 5.46.0, by the name of its check.
  `tests/servers/controls.py` compares the table with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from s3crypt.unseen import Unseen

from .values import Control, Finding, Fix, Requirement, Resource, Severity, Verdict

HUB = "AWS Security Hub user guide"
PROWLER = "Prowler 5.46.0"

CIS_3, CIS_5 = "CIS AWS Foundations 3.0", "CIS AWS Foundations 5.0"
CIS_6, CIS_7 = "CIS AWS Foundations 6.0", "CIS AWS Foundations 7.0"
ISO, NIST, PCI = "ISO 27001:2022", "NIST 800-53 r5", "PCI DSS 4.0.1"
STANDARDS = (CIS_3, CIS_5, CIS_6, CIS_7, PCI, ISO, NIST)
"""The standards to which controls refer, in the order in which a report names them."""

_Numbers: TypeAlias = Mapping[str, str]
"""The requirements that a source maps to one control: standard -> numbers, joined by spaces."""

LOW, MEDIUM, HIGH, CRITICAL = Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL
_PUBLIC = "AC-3 AC-3(7) AC-4 AC-4(21) AC-6 AC-21 SC-7 SC-7(3) SC-7(4) SC-7(9) SC-7(11) SC-7(16) "
_PUBLIC += "SC-7(20) SC-7(21)"
_DECRYPTION = "AC-2 AC-2(1) AC-3 AC-3(7) AC-3(15) AC-5 AC-6 AC-6(3)"
_EVENTS = "AC-2(4) AC-6(9) AU-2(b) AU-10 AU-12(a) AU-12(c) SI-4(20) SI-7(8)"


def _required(source: str, numbers: _Numbers) -> Iterator[Requirement]:
    for standard, listed in numbers.items():
        for number in listed.split():
            yield Requirement(standard, number, source)


def _hub(  # noqa: PLR0913 - a row of the table
    control_id: str,
    title: str,
    severity: Severity,
    why: str,
    rule: str,
    check: str | None = None,
    *,
    hub: _Numbers | None = None,
    prowler: _Numbers | None = None,
) -> Control:
    """Return a control of Security Hub, with the requirements that each source maps to it."""
    found = (*_required(HUB, hub or {}), *_required(PROWLER, prowler or {}))
    ordered = sorted(found, key=lambda each: STANDARDS.index(each.standard))
    return Control(control_id, title, severity, why, rule, check, tuple(ordered))


def _ours(number: int, title: str, severity: Severity, why: str) -> Control:
    return Control(f"S3CRYPT.{number}", title, severity, why)


_TABLE = (
    _hub(
        "S3.1",
        "The account blocks public access to all of its buckets",
        MEDIUM,
        "A bucket that is made public by mistake is then open to everyone.",
        "s3-account-level-public-access-blocks-periodic",
        "s3_account_level_public_access_blocks",
        hub={CIS_3: "2.1.4", CIS_5: "2.1.4", PCI: "1.4.4", NIST: _PUBLIC},
        prowler={CIS_6: "3.1.4", CIS_7: "3.1.4", ISO: "A.8.1"},
    ),
    _hub(
        "S3.5",
        "The bucket's policy refuses every request without TLS",
        MEDIUM,
        "Objects and signed requests can be read on the network, and requests can be replayed.",
        "s3-bucket-ssl-requests-only",
        "s3_bucket_secure_transport_policy",
        hub={
            CIS_3: "2.1.1",
            CIS_5: "2.1.1",
            PCI: "4.2.1",
            NIST: "AC-4 AC-17(2) IA-5(1) SC-7(4) SC-8 SC-8(1) SC-8(2) SC-12(3) SC-13 SC-23 "
            "SC-23(3) SI-7(6)",
        },
        prowler={CIS_6: "3.1.1", CIS_7: "3.1.1"},
    ),
    _hub(
        "S3.6",
        "The bucket's policy lets no other account administer the bucket",
        HIGH,
        "Another account could change the policy, the access lists or the encryption of the "
        "bucket.",
        "s3-bucket-blacklisted-actions-prohibited",
        "s3_bucket_cross_account_access",
        hub={NIST: "CA-9(1) CM-2"},
    ),
    _hub(
        "S3.8",
        "The bucket blocks public access",
        HIGH,
        "A policy or an access list can make the bucket public.",
        "s3-bucket-level-public-access-prohibited",
        "s3_bucket_level_public_access_block",
        hub={CIS_5: "2.1.4", CIS_3: "2.1.4", PCI: "1.4.4", NIST: _PUBLIC},
        prowler={CIS_6: "3.1.4", CIS_7: "3.1.4"},
    ),
    _hub(
        "S3.9",
        "S3 delivers the bucket's access log",
        MEDIUM,
        "After an incident, there is no record of the requests to the bucket.",
        "s3-bucket-logging-enabled",
        "s3_bucket_server_access_logging_enabled",
        hub={
            PCI: "10.2.1",
            NIST: "AC-2(4) AC-4(26) AC-6(9) AU-2 AU-3 AU-6(3) AU-6(4) AU-10 AU-12 CA-7 SC-7(9) "
            "SI-3(8) SI-4(20) SI-7(8)",
        },
        prowler={ISO: "A.8.15"},
    ),
    _hub(
        "S3.14",
        "The bucket keeps every version of its objects",
        LOW,
        "An object that is overwritten or deleted, by mistake or on purpose, is lost.",
        "s3-bucket-versioning-enabled",
        "s3_bucket_object_versioning",
        hub={
            NIST: "AU-9(2) CP-6 CP-6(1) CP-6(2) CP-9 CP-10 SC-5(2) SI-12 SI-13(5)",
        },
        prowler={ISO: "A.8.3 A.8.10"},
    ),
    _hub(
        "S3.15",
        "The bucket has Object Lock",
        MEDIUM,
        "A principal that may delete versions can delete all of them.",
        "s3-bucket-default-lock-enabled",
        "s3_bucket_object_lock",
        hub={PCI: "10.5.1", NIST: "CP-6(2)"},
    ),
    _hub(
        "S3.17",
        "The bucket's default encryption is under a KMS key",
        MEDIUM,
        "Every principal that may get an object can read it: no key policy limits this.",
        "s3-default-encryption-kms",
        "s3_bucket_kms_encryption",
        hub={
            PCI: "3.5.1",
            NIST: "AU-9 CA-9(1) CM-3(6) SC-7(10) SC-12(2) SC-13 SC-28 SC-28(1) SI-7(6)",
        },
        prowler={ISO: "A.8.11 A.8.24"},
    ),
    _hub(
        "S3.20",
        "Deleting a version requires the root user's MFA",
        LOW,
        "With stolen credentials of the bucket's owner, versions can be deleted.",
        "s3-bucket-mfa-delete-enabled",
        "s3_bucket_no_mfa_delete",
        hub={CIS_3: "2.1.2", CIS_5: "2.1.2", NIST: "CA-9(1) CM-2 CM-2(2) CM-3 SC-5(2)"},
        prowler={CIS_6: "3.1.2", CIS_7: "3.1.2"},
    ),
    _hub(
        "S3.22",
        "A multi-Region trail records the write events of all objects",
        MEDIUM,
        "There is no record of who wrote or deleted an object.",
        "cloudtrail-all-write-s3-data-event-check",
        "cloudtrail_s3_dataevents_write_enabled",
        hub={CIS_3: "3.8", CIS_5: "3.8", PCI: "10.2.1"},
        prowler={CIS_6: "4.8", CIS_7: "4.8", ISO: "A.8.15 A.8.16", NIST: _EVENTS},
    ),
    _hub(
        "S3.23",
        "A multi-Region trail records the read events of all objects",
        MEDIUM,
        "There is no record of who read an object.",
        "cloudtrail-all-read-s3-data-event-check",
        "cloudtrail_s3_dataevents_read_enabled",
        hub={CIS_3: "3.9", CIS_5: "3.9", PCI: "10.2.1"},
        prowler={CIS_6: "4.9", CIS_7: "4.9", ISO: "A.8.15 A.8.16", NIST: _EVENTS},
    ),
    _hub(
        "KMS.1",
        "No customer managed IAM policy allows decryption under all keys",
        MEDIUM,
        "A principal with the policy can read all data under keys whose key policy trusts IAM.",
        "iam-customer-policy-blocked-kms-actions",
        hub={NIST: _DECRYPTION},
    ),
    _hub(
        "KMS.2",
        "No inline IAM policy allows decryption under all keys",
        MEDIUM,
        "The identity can read all data under keys whose key policy trusts IAM.",
        "iam-inline-policy-blocked-kms-actions",
        hub={NIST: _DECRYPTION},
    ),
    _hub(
        "KMS.3",
        "The key is not scheduled for deletion",
        CRITICAL,
        "All data that is encrypted under the key is lost on the day of its deletion.",
        "kms-cmk-not-scheduled-for-deletion-2",
        "kms_cmk_not_deleted_unintentionally",
        hub={NIST: "SC-12 SC-12(2)"},
        prowler={ISO: "A.8.11 A.8.24"},
    ),
    _hub(
        "KMS.4",
        "KMS rotates the key automatically",
        MEDIUM,
        "The same key material protects all data, so its loss or theft affects all data.",
        "cmk-backing-key-rotation-enabled",
        "kms_cmk_rotation_enabled",
        hub={CIS_3: "3.6", CIS_5: "3.6", PCI: "3.7.4", NIST: "SC-12 SC-12(2) SC-28(3)"},
        prowler={CIS_6: "4.6", CIS_7: "4.6", ISO: "A.8.5 A.8.11 A.8.24"},
    ),
    _hub(
        "KMS.5",
        "The key's policy is not open to everyone",
        CRITICAL,
        "Every AWS account can use the key.",
        "kms-key-policy-no-public-access",
        "kms_key_not_publicly_accessible",
        prowler={CIS_7: "2.21", ISO: "A.8.1"},
    ),
    _hub(
        "CloudTrail.2",
        "The trail's files are under a KMS key",
        MEDIUM,
        "Every principal that may get objects of the trail's bucket can read the records.",
        "cloud-trail-encryption-enabled",
        "cloudtrail_kms_encryption_enabled",
        prowler={
            CIS_3: "3.5",
            CIS_5: "3.5",
            CIS_6: "4.5",
            CIS_7: "4.5",
            ISO: "A.8.11 A.8.15 A.8.16 A.8.24",
            NIST: "AU-9(3) CP-9(d) SC-8(3) SC-8(4) SC-13(a) SC-28(1)",
        },
    ),
    _ours(
        1,
        "The bucket refuses objects under customer keys (SSE-C)",
        MEDIUM,
        "With stolen credentials, an attacker can re-encrypt all objects under a key that only "
        "the attacker has.",
    ),
    _ours(
        2,
        "The bucket uses a Bucket Key under SSE-KMS",
        LOW,
        "Each object costs requests to KMS, and the whole account shares the quota of KMS "
        "requests.",
    ),
    _ours(
        3,
        "The bucket's default key is one of the account's own",
        MEDIUM,
        "The policy of aws/s3 cannot be changed, so it cannot deny the key's use to a principal "
        "of the account.",
    ),
    _ours(
        4,
        "The bucket's policy denies puts under keys other than the default key",
        MEDIUM,
        "A writer can put objects under another owner's key, and that owner can then disable it.",
    ),
    _ours(
        5,
        "The bucket aborts incomplete uploads",
        LOW,
        "Parts of uploads that were never completed stay stored and paid for, and listings do not "
        "show them.",
    ),
    _ours(
        6,
        "Replicas have the mode and the key owner of their originals",
        HIGH,
        "Replicas are missing, or are under a key that the objects' owner did not choose.",
    ),
    _ours(
        7,
        "The key can be used",
        HIGH,
        "No data under the key can be read until the key is enabled.",
    ),
    _ours(
        8,
        "The key is not about to be deleted",
        HIGH,
        "No data under the key can be read now, and after the deletion it is lost.",
    ),
    _ours(
        9,
        "The key's imported material does not expire within 30 days",
        HIGH,
        "KMS deletes the material on that day; without a copy of the material, all data under it "
        "is lost.",
    ),
    _ours(
        10,
        "The key is in use",
        LOW,
        "An unneeded key costs money, and anyone with access to it can use it.",
    ),
    _ours(
        11,
        "The key belongs to this account and is not shared by another account",
        MEDIUM,
        "The other account can disable or delete the key, or end the sharing.",
    ),
    _ours(
        12,
        "Every grant of the key that allows decryption has a constraint",
        MEDIUM,
        "The grantee can decrypt all data under the key, whatever its encryption context.",
    ),
    _ours(
        13,
        "Every grant of the key to a service names the resource that the service works for",
        HIGH,
        "The service could use the key for a resource that is not yours.",
    ),
    _ours(
        14,
        "Objects are in an approved mode",
        HIGH,
        "Objects have weaker or other protection than was approved.",
    ),
    _ours(
        15,
        "Objects are under an approved key",
        HIGH,
        "The owner of another key decides who can read the objects, and can make them unreadable.",
    ),
    _ours(
        16,
        "Objects are under keys that can be used and are not about to be deleted",
        CRITICAL,
        "The objects cannot be read, and are lost once the key is deleted.",
    ),
    _ours(
        17,
        "Objects are under key material that is young enough",
        MEDIUM,
        "Leaked material opens every object whose data key it wrapped, even after the key was "
        "rotated.",
    ),
    _ours(
        18,
        "Client-side objects have key commitment",
        HIGH,
        "A writer can craft an object that decrypts to different contents under different keys "
        "(CVE-2025-14763).",
    ),
    _ours(
        19,
        "Client-side objects are signed if signatures are demanded",
        HIGH,
        "Every reader who has the key can also forge the objects.",
    ),
    _ours(
        20,
        "Client-side objects are bound to their names",
        MEDIUM,
        "Two objects of the bucket can be swapped, and no read detects it.",
    ),
    _ours(
        21,
        "Client-side objects have the demanded escrow key",
        HIGH,
        "The objects are lost if their only key is lost.",
    ),
    _ours(
        22,
        "Objects under customer keys (SSE-C) open with a key that is kept",
        CRITICAL,
        "None of the kept keys opens the objects, so they cannot be read.",
    ),
)

CONTROLS: Mapping[str, Control] = {each.id: each for each in _TABLE}
"""Every control by its id. Security Hub's controls come first."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Creates the findings about one resource.

    Attributes:
        resource: The resource.
    """

    resource: Resource

    def passes(self, control: str, seen: str, *, cause: str = "") -> Finding:
        """Return a finding with the verdict pass."""
        return Finding(CONTROLS[control], self.resource, Verdict.PASS, seen, cause)

    def fails(
        self,
        control: str,
        seen: str,
        *,
        fix: str | None = None,
        since: datetime | None = None,
        cause: str = "",
    ) -> Finding:
        """Return a finding with the verdict fail. `fix` is the shell command that fixes it."""
        mended = None if fix is None else Fix("command", fix)
        return Finding(
            CONTROLS[control], self.resource, Verdict.FAIL, seen, cause, since=since, fix=mended
        )

    def unknown(self, control: str, unseen: Unseen, *, cause: str = "") -> Finding:
        """Return a finding with the verdict unknown, because a property could not be read."""
        actions = (unseen.action,) if unseen.is_refused and unseen.action else ()
        return Finding(
            CONTROLS[control],
            self.resource,
            Verdict.UNKNOWN,
            unseen.reason,
            cause,
            missing_actions=actions,
        )
