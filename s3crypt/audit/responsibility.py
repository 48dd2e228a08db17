# SPDX-License-Identifier: Apache-2.0
"""The shared-responsibility table of docs/responsibility.md, with the verdicts of an audit.

A row is a duty in a mode, its owner, and the controls that show whether the owner meets the duty. A
duty without controls has no verdict. This module makes no request.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .values import Finding, Verdict

Owner: TypeAlias = Literal["AWS", "you", "s3crypt"]

ALL_MODES = "every mode"


@dataclass(frozen=True, slots=True)
class Duty:
    """One duty of one owner.

    Attributes:
        duty: The duty's name in the table, such as `key custody`.
        mode: The mode's name, or `every mode`.
        owner: The party that is responsible for the duty.
        what: The owner's task, in a few words.
        controls: The ids of the controls that show whether the owner meets the duty.
    """

    duty: str
    mode: str
    owner: Owner
    what: str
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A duty, and the verdict of an audit on it.

    Attributes:
        duty: The duty.
        verdict: Fail if a finding of the duty's controls failed; else unknown if a finding was
            unknown; else pass. None if no control of the duty was judged.
        passed, failed, unknown: The number of findings of the duty's controls, by verdict.
        judged: The controls of the duty that were judged. The duty's other controls do not apply,
            or their resources were not audited.
    """

    duty: Duty
    verdict: Verdict | None
    passed: int = 0
    failed: int = 0
    unknown: int = 0
    judged: tuple[str, ...] = ()


_KMS_KEYS = ("KMS.3", "KMS.4", "KMS.5", "S3CRYPT.7", "S3CRYPT.8", "S3CRYPT.9")
_KEY_ACCESS = ("KMS.1", "KMS.2", "KMS.5", "S3CRYPT.11", "S3CRYPT.12", "S3CRYPT.13")
_DATA_EVENTS = ("S3.22", "S3.23")

DUTIES: tuple[Duty, ...] = (
    Duty("physical", ALL_MODES, "AWS", "buildings, disks and their disposal"),
    Duty("physical", ALL_MODES, "you", "the machine on which s3crypt runs"),
    Duty("at rest", ALL_MODES, "AWS", "AES-256 for every new object"),
    Duty("at rest", ALL_MODES, "you", "the choice of the mode", ("S3.17", "S3CRYPT.14")),
    Duty(
        "at rest", ALL_MODES, "s3crypt", "the check that each reply confirms the mode and the key"
    ),
    Duty("in transit", ALL_MODES, "AWS", "TLS at every endpoint"),
    Duty("in transit", ALL_MODES, "you", "the refusal of requests without TLS", ("S3.5",)),
    Duty("in transit", ALL_MODES, "s3crypt", "HTTPS, unless an endpoint says otherwise"),
    Duty("access", ALL_MODES, "AWS", "the decision about each request, by your policies"),
    Duty(
        "access",
        ALL_MODES,
        "you",
        "the policies, the roles, and who may assume them",
        ("S3.1", "S3.6", "S3.8", "KMS.1", "KMS.2", "KMS.5"),
    ),
    Duty("logging", ALL_MODES, "AWS", "events about keys and buckets"),
    Duty(
        "logging",
        ALL_MODES,
        "you",
        "a trail with data events, the log bucket, and who reads it",
        ("S3.9", *_DATA_EVENTS, "CloudTrail.2"),
    ),
    Duty("recovery", ALL_MODES, "AWS", "durability within a Region"),
    Duty(
        "recovery",
        ALL_MODES,
        "you",
        "versions, replicas, locks and copies of the keys",
        ("S3.14", "S3.15", "S3.20", "S3CRYPT.6"),
    ),
    Duty("recovery", ALL_MODES, "s3crypt", "uploads that are completed or aborted", ("S3CRYPT.5",)),
    Duty("key custody", "sse-s3", "AWS", "the keys"),
    Duty("logging", "sse-s3", "you", "the requests to S3", _DATA_EVENTS),
    Duty("key custody", "sse-kms", "AWS", "the key material, in KMS's HSMs"),
    Duty(
        "key custody",
        "sse-kms",
        "you",
        "the key's policy, rotation and deletion",
        (*_KMS_KEYS, "S3CRYPT.3"),
    ),
    Duty("access", "sse-kms", "you", "who may use the key", (*_KEY_ACCESS, "S3CRYPT.4")),
    Duty(
        "recovery",
        "sse-kms",
        "you",
        "the key, for as long as its data is needed",
        ("KMS.3", "S3CRYPT.8", "S3CRYPT.16"),
    ),
    Duty("key custody", "dsse-kms", "you", "the key's policy, rotation and deletion", _KMS_KEYS),
    Duty("access", "dsse-kms", "you", "who may use the key", _KEY_ACCESS),
    Duty("key custody", "sse-c", "you", "the key files", ("S3CRYPT.22",)),
    Duty("in transit", "sse-c", "you", "the key travels with each request", ("S3.5",)),
    Duty("access", "sse-c", "you", "whether the mode is allowed at all", ("S3CRYPT.1",)),
    Duty("logging", "sse-c", "you", "the requests to S3", _DATA_EVENTS),
    Duty(
        "at rest",
        "client",
        "s3crypt",
        "encryption before a byte leaves the process",
        ("S3CRYPT.18", "S3CRYPT.19", "S3CRYPT.20"),
    ),
    Duty("key custody", "client", "you", "the wrapping keys", (*_KMS_KEYS, "S3CRYPT.17")),
    Duty("access", "client", "you", "who may use the wrapping keys", _KEY_ACCESS),
    Duty(
        "recovery",
        "client",
        "you",
        "a second key that opens the data",
        ("S3CRYPT.16", "S3CRYPT.21"),
    ),
)
"""The duties in docs/responsibility.md, in the same order."""


def fill(findings: Iterable[Finding]) -> tuple[Row, ...]:
    """Return one row per duty, with the verdict that follows from the findings."""
    counts: dict[str, dict[Verdict, int]] = {}
    for each in findings:
        of_control = counts.setdefault(each.control.id, dict.fromkeys(Verdict, 0))
        of_control[each.verdict] += 1
    return tuple(_rows(counts))


def _rows(counts: Mapping[str, Mapping[Verdict, int]]) -> Iterator[Row]:
    for duty in DUTIES:
        judged = tuple(control for control in duty.controls if control in counts)
        found = [counts[control] for control in judged]
        passed, failed, unknown = (
            sum(each[verdict] for each in found)
            for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN)
        )
        verdict = None
        if found:
            is_open = Verdict.UNKNOWN if unknown else Verdict.PASS
            verdict = Verdict.FAIL if failed else is_open
        yield Row(duty, verdict, passed, failed, unknown, judged)
