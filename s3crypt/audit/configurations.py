# SPDX-License-Identifier: Apache-2.0
"""The audit of the configuration, resource by resource, in parallel and resumable.

The audit yields findings and does not keep them in memory. Only the names of the buckets, their
default keys and their Regions are kept.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast

from s3crypt.aws_errors import ends_everything
from s3crypt.errors import ObjectNotFoundError, S3CryptError
from s3crypt.jobs.journal import Journal
from s3crypt.jobs.window import run
from s3crypt.unseen import Unseen

from .account_controls import (
    judge_policy,
    judge_public_access,
    judge_recording,
    judge_trail,
)
from .bucket_controls import judge_bucket, unseen_bucket
from .controls import CONTROLS
from .key_controls import judge_key, unseen_key
from .looking import Look, unseen_by
from .services import Services
from .values import Finding, Fix, Resource, Verdict

# For each bucket, eight settings are read in parallel: four buckets make up to 32 requests at once.
_BUCKETS_AT_ONCE = 4
_KEYS_AT_ONCE = 8
_AHEAD = 64
_JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class _Judged:
    """The result of the audit of one bucket or key.

    Attributes:
        findings: The findings about the bucket or key.
        region: The Region of a bucket; None for a key.
        key: The ARN of a bucket's default key, if AWS does not manage the key.
    """

    findings: tuple[Finding, ...]
    region: str | None = None
    key: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no finding is unknown. A resumed audit does not read such a resource again."""
        return all(each.verdict is not Verdict.UNKNOWN for each in self.findings)

    def to_json(self) -> str:
        """Return the JSON text that the journal stores for this result."""
        findings = [to_record(each) for each in self.findings]
        return json.dumps({"findings": findings, "region": self.region, "key": self.key})

    @classmethod
    def of(cls, text: str) -> "_Judged | None":
        """Return the result from a journal's text, or None if this version cannot read the text."""
        try:
            found = json.loads(text)
            return cls(tuple(map(from_record, found["findings"])), found["region"], found["key"])
        except (KeyError, TypeError, ValueError):
            return None


Work: TypeAlias = Callable[[str], _Judged]


class Configurations:
    """One audit of the configuration.

    Args:
        services: The clients for the requests.
        names: The names of the buckets to audit. With `whole`, all other buckets of the account are
            also audited.
        whole: Whether to audit the whole account: its settings, all buckets, keys, trails and IAM
            policies.
        journal: The journal that the audit reads results from and writes results to, or None.
    """

    def __init__(
        self, services: Services, names: Sequence[str], *, whole: bool, journal: Journal | None
    ) -> None:
        self._look = Look(services)
        self._region = services.region
        self._names = tuple(dict.fromkeys(names))
        self._whole = whole
        self._journal = journal
        self._regions = {self._region} if whole else set[str]()
        self._keys: dict[str, None] = {}
        self._new_trail: str | None = None

    def findings(self) -> Iterator[Finding]:
        """Yield the findings. All findings about a bucket or a key are consecutive.

        Raises:
            ObjectNotFoundError: One of the named buckets does not exist.
            S3CryptError: An error occurred that would also make every other request fail, or the
                journal cannot be written.
        """
        names = self._names
        if self._whole:
            listed = self._look.bucket_names()
            if isinstance(listed, Unseen):
                yield from unseen_bucket(self._look.account, listed)
            else:
                names = tuple(dict.fromkeys((*names, *listed)))
            yield from self._of_account()
        yield from self._of_buckets(names)
        if self._whole:
            yield from self._of_trails()
        yield from self._of_keys()

    def _of_account(self) -> Iterator[Finding]:
        look = self._look
        yield judge_public_access(look.account, look.public_access())
        try:
            yield from map(judge_policy, look.policies())
        except S3CryptError as error:
            unseen = unseen_by(error, "iam:GetAccountAuthorizationDetails")
            yield from (look.account.unknown(control, unseen) for control in ("KMS.1", "KMS.2"))

    def _of_trails(self) -> Iterator[Finding]:
        look, trails = self._look, self._look.trails()
        yield from judge_recording(look.account, trails, self._new_trail)
        if isinstance(trails, Unseen):
            yield look.account.unknown("CloudTrail.2", trails)
        else:
            yield from (judge_trail(look.trail_as_resource(each), each) for each in trails)

    def _of_buckets(self, names: Sequence[str]) -> Iterator[Finding]:
        for judged in self._each("bucket", names, self._bucket, _BUCKETS_AT_ONCE):
            if judged.region is not None and self._whole:
                self._regions.add(judged.region)
                name = judged.findings[0].resource.arn.rpartition(":")[2]
                line = f"s3crypt bucket harden {name} --trail --region {judged.region}"
                self._new_trail = self._new_trail or line
            if judged.key is not None:
                self._keys[judged.key] = None
            yield from judged.findings

    def _bucket(self, name: str) -> _Judged:
        try:
            seen = self._look.bucket(name)
        except ObjectNotFoundError:
            if name in self._names:
                raise
            # The bucket was deleted after the listing.
            return _Judged(())
        except S3CryptError as error:
            unseen = unseen_by(error, "")
            judged = self._look.bucket_as_resource(name, self._region)
            return _Judged(tuple(unseen_bucket(judged, unseen)))
        key = seen.default_key
        is_named = key is not None and key.arn.startswith("arn:") and key.manager != "AWS"
        arn = key.arn if key is not None and is_named else None
        return _Judged(tuple(judge_bucket(seen)), seen.configuration.region, arn)

    def _of_keys(self) -> Iterator[Finding]:
        try:
            for judged in self._each("key", self._key_arns(), self._key, _KEYS_AT_ONCE):
                yield from judged.findings
        except _ListingRefusedError as refused:
            yield from unseen_key(self._look.account, refused.unseen)

    def _key_arns(self) -> Iterator[str]:
        """Yield the ARNs of the keys to audit, each once.

        These are all keys that KMS lists in the audited Regions, then the default keys of buckets
        that KMS did not list. KMS lists a key of another account only if RAM shares the key.
        """
        left = dict(self._keys)
        try:
            for region in sorted(self._regions):
                for arn in self._look.key_arns(region):
                    left.pop(arn, None)
                    yield arn
        except S3CryptError as error:
            yield from left
            raise _ListingRefusedError(unseen_by(error, "kms:ListKeys")) from error
        yield from left

    def _key(self, arn: str) -> _Judged:
        seen = self._look.key(arn)
        if seen is None:
            return _Judged(())
        if isinstance(seen, Unseen):
            return _Judged(tuple(unseen_key(self._look.key_as_resource(arn), seen)))
        return _Judged(tuple(judge_key(seen)))

    def _each(
        self, kind: str, items: Sequence[str] | Iterator[str], work: Work, most: int
    ) -> Iterator[_Judged]:
        """Yield the result of each item. A result in the journal is reused."""
        noted = self._noting(kind, work)
        outcomes = run(items, noted, most=most, stops_at=ends_everything, ahead=_AHEAD)
        with ExitStack() as stack:
            stack.callback(outcomes.close)
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                if outcome.result is None:
                    raise AssertionError("unreachable: work without an error has a result")
                yield outcome.result

    def _noting(self, kind: str, work: Work) -> Work:
        """Return `work` with the journal.

        Stored results are reused. New results are stored if they have no unknown finding.
        """
        journal = self._journal
        if journal is None:
            return work

        def noting(item: str) -> _Judged:
            key = f"{kind}:{item}"
            detail = journal.detail_of(key)
            noted = None if detail is None else _Judged.of(detail)
            if noted is not None:
                return noted
            judged = work(item)
            if judged.findings and judged.is_whole:
                journal.note(key, _JUDGED, judged.to_json())
            return judged

        return noting


class _ListingRefusedError(Exception):
    """The keys of a Region cannot be listed.

    Attributes:
        unseen: The reason, and the IAM action that lists keys.
    """

    def __init__(self, unseen: Unseen) -> None:
        super().__init__(unseen.reason)
        self.unseen = unseen


def to_record(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values. Fields with their default value are left out."""
    record: dict[str, Any] = {
        "control": finding.control.id,
        "resource": asdict(finding.resource),
        "verdict": finding.verdict.value,
        "seen": finding.seen,
        "cause": finding.cause,
        "since": finding.since.isoformat() if finding.since else None,
        "fix": asdict(finding.fix) if finding.fix else None,
        "count": finding.count,
        "looked_at": finding.looked_at,
        "sampled_from": finding.sampled_from,
        "examples": list(finding.examples),
        "is_claimed": finding.is_claimed,
        "missing_actions": list(finding.missing_actions),
    }
    # `sampled_from` is 0 for a sample from an unknown number of objects. Its default is None.
    return {
        name: value
        for name, value in record.items()
        if value not in (None, "", [], False) or (name == "sampled_from" and value is not None)
    }


def from_record(record: Mapping[str, Any]) -> Finding:
    """Return the finding of a record.

    Raises:
        KeyError: The control is unknown, or the record lacks a field of findings.
        ValueError: A field has a value that is not valid in a finding.
    """
    resource = record["resource"]
    fix, since = record.get("fix"), record.get("since")
    return Finding(
        control=CONTROLS[record["control"]],
        resource=Resource(**resource),
        verdict=Verdict(record["verdict"]),
        seen=str(record.get("seen", "")),
        cause=str(record.get("cause", "")),
        since=datetime.fromisoformat(since) if since else None,
        fix=Fix(**fix) if fix else None,
        count=int(record.get("count", 0)),
        looked_at=int(record.get("looked_at", 0)),
        sampled_from=cast("int | None", record.get("sampled_from")),
        examples=tuple(record.get("examples", ())),
        is_claimed=bool(record.get("is_claimed")),
        missing_actions=tuple(record.get("missing_actions", ())),
    )
