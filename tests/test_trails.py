# SPDX-License-Identifier: Apache-2.0
"""CloudTrail's records: kinds of callers and events, where records come from, and bad files."""

from __future__ import annotations

import gzip
import io
import json
import random
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import trail_samples as samples
from trail_samples import (
    ACCOUNT,
    ALICE,
    AT_HOME,
    BOB,
    BUCKET,
    DAVE,
    FEDERATED,
    FOREIGN,
    KEY,
    NAME,
    NEW_KEY,
    PEOPLE,
    ROLE,
    ROOT,
    SERVICE,
    SESSION,
    USER,
    by_s3,
    deliver,
    kms,
    ours,
    packed,
    s3,
)

from s3crypt import ConfigError, LocalFileNotFoundError
from s3crypt.location import Location
from s3crypt.trails import Access, Question, Search, Trails, reading, unpacking
from s3crypt.trails import lookup as lookups

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OBJECT = f"arn:aws:s3:::{BUCKET}/{NAME}"
OF_BUCKET = f"arn:aws:s3:::{BUCKET}"
ABOUT_OBJECT = Question(location=Location(BUCKET, NAME))
ABOUT_KEY = Question(key=KEY)
Found = tuple[list[Access], Search]


def answers(search: Search) -> Found:
    """Run a search to its end. Return its accesses and the search."""
    return list(search), search


# --- Carriers ----------------------------------------------------------------------------------


class _Served(BaseHTTPRequestHandler):
    """A server that replies to LookupEvents with its records, 50 per page, newest first."""

    def do_POST(self) -> None:
        """Reply with one page of events."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        records: list[samples.Record] = getattr(self.server, "records", [])
        start = int(asked.get("NextToken", 0))
        events = [
            {
                "EventId": record.get("eventID", "none"),
                "EventTime": 1793527200,
                "CloudTrailEvent": json.dumps(record),
            }
            for record in records[start : start + 50]
        ]
        reply: dict[str, Any] = {"Events": events}
        if len(records) > start + 50:
            stuck = getattr(self.server, "is_stuck", False)
            reply["NextToken"] = "50" if stuck else str(start + 50)
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing about requests."""


@pytest.fixture
def cloudtrail(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Yield a LookupEvents server whose records the test sets, of any age."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Served)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", url)
    monkeypatch.setattr(lookups, "_SECONDS_BETWEEN", 0.0)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(
    params=["gzip", "members", "json", "pretty", "lines", "EventBridge", "LookupEvents file",
            "bucket", "LookupEvents"],
)  # fmt: skip
def carried(
    request: pytest.FixtureRequest, tmp_path: Path, bucket: str, s3: Any, cloudtrail: Any
) -> Any:
    """Return a function that searches records, which come by one of the supported ways."""

    def search(records: Sequence[samples.Record], question: Question) -> Found:
        carrier = str(request.param)
        if carrier == "LookupEvents":
            cloudtrail.records = records
            return answers(Trails().search(question))
        if carrier == "bucket":
            name = f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/2026/11/01/{samples.event_name()}"
            s3.put_object(Bucket=bucket, Key=f"trail/{name}", Body=packed(records))
            return answers(Trails().search(question, [f"s3://{bucket}/trail"]))
        path = tmp_path / ("records.json.gz" if carrier in ("gzip", "members") else "records.json")
        path.write_bytes(_content(carrier, records))
        return answers(Trails().search(question, [path]))

    return search


def _content(carrier: str, records: Sequence[samples.Record]) -> bytes:
    whole = {"Records": list(records)}
    if carrier == "gzip":
        return packed(records)
    if carrier == "members":
        text = json.dumps(whole).encode()
        return gzip.compress(text[:700]) + gzip.compress(text[700:]) + b"\0" * 512
    if carrier == "pretty":
        return b"\xef\xbb\xbf" + json.dumps(whole, indent=2).encode() + b"\n"
    if carrier in ("lines", "EventBridge"):
        kind = {"version": "0", "detail-type": "AWS API Call via CloudTrail"}
        lines = records if carrier == "lines" else [{**kind, "detail": each} for each in records]
        return "\n".join(json.dumps(each) for each in lines).encode()
    if carrier == "LookupEvents file":
        events = [{"EventId": "x", "CloudTrailEvent": json.dumps(each)} for each in records]
        return json.dumps({"NextToken": "x", "Events": events, "More": {"a": [1]}}).encode()
    return json.dumps(whole, ensure_ascii=False).encode()


def test_every_carrier_brings_the_same(carried: Any) -> None:
    """A KMS record of a client-side object is found with all fields, from each kind of source."""
    record = ours(bucket=BUCKET)
    records = [samples.AGGREGATED, record, samples.INSIGHT, record, kms(keys=[NEW_KEY])]
    found, search = carried(records, ABOUT_KEY)
    (access,) = found
    assert access.time == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert (access.principal.name, access.principal.issuer) == (SESSION, ROLE)
    assert (access.address, access.actions, access.keys) == (
        "198.51.100.7", ("kms:Decrypt",), (KEY,),
    )  # fmt: skip
    assert (access.bucket, access.name, access.outcome) == (BUCKET, NAME, "allowed")
    assert (access.level, access.is_joined) == ("object", False)
    assert access.event_ids == (record["eventID"],)
    tally = search.tally
    assert (tally.records, tally.summaries, tally.duplicates) == (5, 2, 1)
    assert not tally.gaps


def searched(folder: Path, records: Sequence[Any], question: Question = ABOUT_KEY) -> Found:
    """Write the records into one trail file, search it, and return the result."""
    return answers(Trails().search(question, [deliver(folder, records)]))


# --- Callers and events ------------------------------------------------------------------------

WHO: list[tuple[str, samples.Record, str, str | None]] = [
    ("role", ALICE, SESSION, ROLE),
    ("user", BOB, USER, None),
    ("federated", FEDERATED, f"arn:aws:sts::{ACCOUNT}:federated-user/carol", USER),
    ("service", SERVICE, "cloudtrail.amazonaws.com", None),
    ("root", ROOT, f"arn:aws:iam::{ACCOUNT}:root", None),
    ("another account", FOREIGN, "210987654321 AROAFOREIGN:dave", None),
    ("identity center", PEOPLE, f"{ACCOUNT} 94482488-3041-7026", None),
    ("anonymous", {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"},
     "anonymous", None),
    ("no type", {"accountId": ACCOUNT, "invokedBy": "kms.amazonaws.com"}, ACCOUNT, None),
    ("nothing", {}, "unknown", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "name", "issuer"), [each[1:] for each in WHO], ids=[each[0] for each in WHO]
)
def test_a_caller_of_each_kind(
    tmp_path: Path, who: samples.Record, name: str, issuer: str | None
) -> None:
    """A caller is named by its ARN, or by other fields of the record if it has no ARN."""
    (access,), _ = searched(tmp_path, [kms(who=who)])
    assert (access.principal.name, access.principal.issuer) == (name, issuer)


ERRORS = [
    (None, "allowed"),
    ("AccessDenied", "denied"),
    ("AccessDeniedException", "denied"),
    ("VpceAccessDenied", "denied"),
    ("KMSInvalidStateException", "failed"),
    ("DryRunOperationException", "failed"),
]


@pytest.mark.parametrize(("code", "outcome"), ERRORS)
def test_an_outcome(tmp_path: Path, code: str | None, outcome: str) -> None:
    """The outcome is allowed without an error, denied for a denial, and else failed."""
    more: samples.Record = {"errorCode": code, "errorMessage": "..."} if code else {}
    (access,), _ = searched(tmp_path, [kms(**more)])
    assert (access.outcome, access.error) == (outcome, code)


@pytest.mark.parametrize("told", [{"errorCode": 403}, {"errorCode": ["a", "b"]},
                                  {"errorMessage": "no"}])  # fmt: skip
def test_an_error_of_another_form_is_no_success(tmp_path: Path, told: samples.Record) -> None:
    """An error in an unexpected form counts as failed, never as allowed."""
    ((access,), _) = searched(tmp_path, [kms(**told)])
    assert access.outcome == "failed"


ODD: list[samples.Record] = [
    {"sharedEventID": ["x"]},
    {"recipientAccountId": ["x"]},
    {"userIdentity": {"arn": 5, "accountId": {}, "principalId": []}},
    {"requestParameters": [1], "responseElements": "x"},
    {"sourceIPAddress": {"a": 1}, "errorMessage": None},
]


@pytest.mark.parametrize("told", ODD)
def test_fields_of_unexpected_types_count_as_absent(tmp_path: Path, told: samples.Record) -> None:
    """A field of an unexpected type counts as absent; the record's other fields suffice."""
    found, _ = searched(tmp_path, [kms(**told), kms(**told)])
    assert [access.keys for access in found] == [(KEY,)] * 2


def test_a_denied_use_names_its_key_in_the_message(tmp_path: Path) -> None:
    """A denied KMS call is found by the key in its error message, if it has no other fields."""
    said = f"User: {SESSION} is not authorized to perform: kms:Decrypt on resource: {KEY} because"
    record = kms(
        keys=(), requestParameters=None, resources=None,
        errorCode="AccessDenied", errorMessage=said,
    )  # fmt: skip
    (access,), _ = searched(tmp_path, [record])
    assert (access.outcome, access.keys, access.level) == ("denied", (KEY,), "key")


def test_a_reencryption_has_two_keys(tmp_path: Path) -> None:
    """A ReEncrypt has two keys, the source's first; a search for either one finds it."""
    asked = {
        "sourceEncryptionContext": {"s3crypt:key": NAME},
        "destinationEncryptionContext": {"s3crypt:key": NAME},
        "destinationKeyId": NEW_KEY,
    }
    record = kms("ReEncrypt", keys=[KEY, NEW_KEY], requestParameters=asked)
    for key in (KEY, NEW_KEY.rpartition("/")[2]):
        (access,), _ = searched(tmp_path, [record], Question(key=key))
        assert (access.keys, access.name) == ((KEY, NEW_KEY), NAME)


def test_lower_case_arns_of_resources(tmp_path: Path) -> None:
    """A resource whose ARN is in the field `arn`, as in older records, is found."""
    record = kms(resources=[{"arn": KEY, "accountId": ACCOUNT}])
    assert len(searched(tmp_path, [record])[0]) == 1


def test_a_change_of_the_key_is_told_and_a_look_at_it_is_not(tmp_path: Path) -> None:
    """A search by key returns DisableKey, which changes the key, but not DescribeKey."""
    records = [kms("DisableKey", readOnly=False), kms("DescribeKey", readOnly="true")]
    found, _ = searched(tmp_path, records)
    assert [access.actions for access in found] == [("kms:DisableKey",)]


CONTEXTS = [
    (by_s3(ALICE, OBJECT), (BUCKET, NAME, "object")),
    (by_s3(ALICE, OF_BUCKET), (BUCKET, None, "bucket")),
    (ours(), (None, NAME, "object")),
    (ours(bucket=BUCKET), (BUCKET, NAME, "object")),
    (kms(context={"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}), (None, None, "key")),
    (kms(context={"aws:s3:arn": "arn:aws:s3express:us-east-1:1:bucket/a--use1-az1--x-s3"}),
     ("a--use1-az1--x-s3", None, "bucket")),
    (kms(context={"aws:s3:arn": "no arn"}), (None, None, "key")),
]  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), CONTEXTS)
def test_a_context_says_what_was_opened(
    tmp_path: Path, record: samples.Record, expected: tuple[str | None, ...]
) -> None:
    """The encryption context of a KMS record names the object or, with a bucket key, the bucket."""
    (access,), _ = searched(tmp_path, [record])
    assert (access.bucket, access.name, access.level) == expected


SOURCE = f"{BUCKET}/2026/q3%20%C3%A9.parquet"
OF_OBJECT = [
    (s3(), ("s3:GetObject", NAME, "object")),
    (s3("PutObject", BOB, readOnly=False), ("s3:PutObject", NAME, "object")),
    (s3(bucket="alias-s3alias", resources=[{"ARN": OBJECT}]), ("s3:GetObject", NAME, "object")),
    (s3("CopyObject", key="copy", asked={"x-amz-copy-source": SOURCE}),
     ("s3:CopyObject", NAME, "object")),
    (s3("DeleteObjects", key=None, resources=[{"ARNPrefix": f"{OF_BUCKET}/"}]),
     ("s3:DeleteObjects", None, "bucket")),
    (by_s3(ALICE, OBJECT), ("kms:Decrypt", NAME, "object")),
    (by_s3(ALICE, OF_BUCKET), ("kms:Decrypt", None, "bucket")),
    (ours(), ("kms:Decrypt", NAME, "object")),
]  # fmt: skip
NOT_OF_OBJECT = [
    s3(key="2026/q3"),
    s3(bucket="acme-other"),
    s3("ListObjects", key=None),
    s3("DeleteObjects", key=None, bucket="acme-other"),
    by_s3(ALICE, f"{OBJECT}2"),
    by_s3(ALICE, "arn:aws:s3:::acme-dat"),
    ours(key="q3"),
    ours(bucket="acme-other"),
    samples.call("ec2", "RunInstances", BOB),
]


@pytest.mark.parametrize(("record", "expected"), OF_OBJECT)
def test_an_event_about_the_object(
    tmp_path: Path, record: samples.Record, expected: tuple[str | None, ...]
) -> None:
    """A search by object finds records of the object, of copies from it, and of its bucket."""
    (access,), _ = searched(tmp_path, [record], ABOUT_OBJECT)
    assert (access.actions[0], access.name, access.level) == expected


@pytest.mark.parametrize("record", NOT_OF_OBJECT)
def test_an_event_about_another_object(tmp_path: Path, record: samples.Record) -> None:
    """A search by object does not return a record about another object."""
    assert searched(tmp_path, [record], ABOUT_OBJECT)[0] == []


PRINCIPALS = [
    (SESSION, {"alice"}), (ROLE, {"alice"}), (USER, {"bob"}), ("AIDAEXAMPLE", {"bob"}),
    ("cloudtrail.amazonaws.com", {"cloudtrail"}), (f"{USER}by", set()),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), PRINCIPALS)
def test_what_a_principal_did(tmp_path: Path, asked: str, expected: set[str]) -> None:
    """A search by a role's ARN finds all its sessions, by a session's ARN only this session."""
    records = [s3(who=ALICE), kms(who=BOB), by_s3(SERVICE, OBJECT), kms(who=SERVICE)]
    records[2]["userIdentity"] = ROOT
    found, _ = searched(tmp_path, records, Question(principal=asked))
    names = {access.principal.name for access in found}
    assert {name.partition(".")[0].rpartition("/")[2] for name in names} == expected


def test_a_foreign_caller_is_hidden_in_the_owners_record(tmp_path: Path) -> None:
    """A record that hides a foreign caller's ARN is not returned; the limits mention it."""
    found, search = searched(tmp_path, [kms(who=FOREIGN)], Question(principal=DAVE))
    assert (found, search.tally.nameless) == ([], 1)
    assert any("may belong to the answer" in line for line in search.limits)


def test_one_request_in_the_records_of_two_accounts(tmp_path: Path) -> None:
    """If two accounts recorded one request, only the record of the caller's account counts."""
    owner = {**by_s3(FOREIGN, OBJECT), "sharedEventID": "one"}
    caller = {
        **by_s3(AT_HOME, OBJECT),
        "sharedEventID": "one",
        "recipientAccountId": "210987654321",
    }
    for records in ([owner, caller], [caller, owner]):
        (access,), _ = searched(tmp_path, records)
        assert access.principal.name == DAVE


def test_the_time_that_is_asked_for(tmp_path: Path) -> None:
    """The period of a search includes both ends; times with an offset are converted to UTC."""
    records = [kms(time=f"10:0{minute}:00") for minute in range(6)]
    question = Question(
        key=KEY,
        since=datetime.fromisoformat("2026-11-01T11:01:00+01:00"),
        until=datetime(2026, 11, 1, 10, 3, tzinfo=UTC),
    )
    found, _ = searched(tmp_path, records, question)
    assert [access.time.minute for access in found] == [1, 2, 3]


def test_the_ends_of_the_calendar_are_no_bounds(tmp_path: Path) -> None:
    """A file with an impossible time in its name is read for any period."""
    (tmp_path / samples.event_name("20261399T9999")).write_bytes(packed([kms()]))
    for since in (1, 999):
        ends = (datetime(since, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        question = Question(key=KEY, since=ends[0], until=ends[1])
        assert len(answers(Trails().search(question, [tmp_path]))[0]) == 1


def test_a_bucket_narrows_a_key(tmp_path: Path) -> None:
    """A search by key and bucket omits records of another bucket, but not of an unknown bucket."""
    records = [by_s3(ALICE, OBJECT), ours(), by_s3(ALICE, "arn:aws:s3:::acme-other/x")]
    found, _ = searched(tmp_path, records, Question(key=KEY, bucket=BUCKET))
    assert [access.bucket for access in found] == [BUCKET, None]


def test_a_question_is_one() -> None:
    """A question must name exactly one of object, key and principal."""
    for given in ({}, {"key": KEY, "principal": ROLE}, {"location": Location(BUCKET, "")}):
        with pytest.raises(ConfigError):
            Question(**given)
    with pytest.raises(ConfigError, match="ends before"):
        Question(
            key=KEY, since=datetime.max.replace(tzinfo=UTC), until=datetime.min.replace(tzinfo=UTC)
        )


# --- Joining -----------------------------------------------------------------------------------


def test_the_bucket_of_a_client_side_object_comes_from_s3(tmp_path: Path) -> None:
    """A KMS record and S3's record of one request are joined: the bucket comes from S3."""
    found, search = searched(tmp_path, [ours(time="10:00:01"), s3(time="10:00:00")])
    (access,) = found
    assert access.actions == ("s3:GetObject", "kms:Decrypt")
    assert (access.bucket, access.keys, access.is_joined) == (BUCKET, (KEY,), True)
    assert search.tally.joined.joined == 1


NOT_JOINED = [
    ("61 seconds", s3(time="10:01:01")),
    ("another caller", s3(who=BOB)),
    ("another name", s3(key="x")),
    ("a write", s3("PutObject")),
]


@pytest.mark.parametrize(("_", "record"), NOT_JOINED, ids=[each[0] for each in NOT_JOINED])
def test_what_is_not_joined(tmp_path: Path, _: str, record: samples.Record) -> None:
    """A KMS record without a matching record of S3 is not joined, so its bucket is unknown."""
    found, search = searched(tmp_path, [record, ours()])
    assert [(access.bucket, access.is_joined) for access in found] == [(None, False)]
    assert search.tally.joined.without_bucket == 1


def test_two_buckets_with_the_same_name_are_not_guessed_between(tmp_path: Path) -> None:
    """If S3's records of two buckets match, the bucket stays unknown; both reads are returned."""
    records = [s3(), s3(bucket="acme-other"), ours()]
    found, search = searched(tmp_path, records, ABOUT_OBJECT)
    assert [(access.bucket, access.is_joined) for access in found] == [
        (None, False),
        (BUCKET, False),
    ]
    assert search.tally.joined.ambiguous == 1


def test_a_second_use_is_not_joined_with_the_same_request(tmp_path: Path) -> None:
    """Of two KMS records, only one is joined with a request.

    The other may be of another bucket.
    """
    found, search = searched(tmp_path, [s3(), ours(time="10:00:01"), ours(time="10:00:02")])
    assert [(access.bucket, access.is_joined) for access in found] == [
        (BUCKET, True), (None, False),
    ]  # fmt: skip
    assert search.tally.joined.without_bucket == 1


def test_keys_of_one_write_are_joined_with_it(tmp_path: Path) -> None:
    """All KMS records of one write under several keys are joined with the write."""
    uses = [ours(name="GenerateDataKey"), ours(name="Encrypt")]
    found, _ = searched(tmp_path, [s3("PutObject"), *uses])
    assert [(access.bucket, access.is_joined) for access in found] == [(BUCKET, True)] * 2


def test_a_dry_run_is_not_joined(tmp_path: Path) -> None:
    """The KMS record of a dry run is not joined, because it decrypted nothing."""
    dry = {**ours(), "errorCode": "DryRunOperationException"}
    found, _ = searched(tmp_path, [dry, s3(), ours(time="10:00:03")])
    assert [(access.outcome, access.error, access.is_joined) for access in found] == [
        ("failed", "DryRunOperationException", False), ("allowed", None, True),
    ]  # fmt: skip


DENIED: samples.Record = {"errorCode": "AccessDenied"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (by_s3(ALICE, OBJECT, time="10:00:01"), by_s3(ALICE, OBJECT, time="10:00:02")),
        (ours(time="10:00:01"), ours(time="10:00:02")),
    ],
    ids=["S3's", "the client's"],
)
def test_a_refusal_is_not_joined_with_a_success(
    tmp_path: Path, first: samples.Record, second: samples.Record
) -> None:
    """A failed read and its retry are joined separately, each with its own outcome."""
    of_client = "invokedBy" not in first["userIdentity"]
    # If the client called KMS itself, S3's record is a success; if S3 called KMS, S3 refused too.
    records = [s3(time="10:00:01", **({} if of_client else DENIED)), s3(time="10:00:01")]
    refused = [s3(time="10:00:02", **DENIED)] if of_client else []
    found, _ = searched(tmp_path, [{**first, **DENIED}, second, *records, *refused])
    assert sorted(access.outcome for access in found) == ["allowed", "denied"]
    assert all(access.is_joined for access in found)


def test_a_bucket_key_names_no_object(tmp_path: Path) -> None:
    """With a bucket key, the KMS record has the level "bucket"; S3's record names the object."""
    found, _ = searched(tmp_path, [s3(), by_s3(ALICE, OF_BUCKET)], ABOUT_OBJECT)
    assert [(access.level, access.is_joined) for access in found] == [
        ("bucket", False), ("object", False),
    ]  # fmt: skip


def test_ranges_of_one_read_are_accesses_of_their_own(tmp_path: Path) -> None:
    """If three range reads needed one KMS call, one read is joined, and all three are returned."""
    records = [s3(time=f"10:00:0{second}") for second in range(3)]
    found, _ = searched(tmp_path, [*records, ours()], ABOUT_OBJECT)
    assert sorted(access.is_joined for access in found) == [False, False, True]


def test_a_copy_reads_and_writes(tmp_path: Path) -> None:
    """The KMS records of a copy's source and of its target are both joined with the copy."""
    copy = s3("CopyObject", key="copy", asked={"x-amz-copy-source": f"/{BUCKET}/a?versionId=1"})
    uses = [
        by_s3(ALICE, f"arn:aws:s3:::{BUCKET}/a"),
        by_s3(ALICE, f"arn:aws:s3:::{BUCKET}/copy", "GenerateDataKey"),
    ]
    found, _ = searched(tmp_path, [*uses, copy])
    assert [(access.name, access.is_joined) for access in found] == [("a", True), ("copy", True)]


def test_records_that_are_too_far_apart_in_the_files(tmp_path: Path) -> None:
    """Records too far apart in the files are not joined, because few records are kept in memory."""
    between = [kms(time="09:00:00") for _ in range(30)]
    records = [ours(), *between, s3()]
    path = deliver(tmp_path, records)
    for others, expected in ((29, False), (31, True)):
        trail = reading.Reading(ABOUT_KEY, others=others)
        found = [
            access
            for record in records
            for access in trail.take(record, str(path))
        ]  # fmt: skip
        found += trail.end()
        assert any(access.is_joined for access in found) is expected


def test_shuffled_records_are_joined_alike(tmp_path: Path) -> None:
    """Records are joined whatever their order, within a file and over several files."""
    records = [
        record
        for number in range(200)
        for record in (
            s3(key=f"{number}", time=f"10:{number % 60:02}:00"),
            ours(key=f"{number}", time=f"10:{number % 60:02}:01"),
        )
    ]
    random.Random(7).shuffle(records)
    for number in range(4):
        deliver(tmp_path, records[number::4])
    found, search = answers(Trails().search(ABOUT_KEY, [tmp_path]))
    assert (len(found), search.tally.joined.joined) == (200, 200)


# --- Files -------------------------------------------------------------------------------------

GOOD = packed([kms(), kms()])
MALFORMED: list[samples.Record] = [
    {"eventTime": None},
    {"eventTime": "2026-11-01"},
    {"eventTime": "2026-13-01T10:00:00Z"},
    {"eventTime": "0001-01-01T00:00:00+23:00"},
    {"eventTime": "2026\x1b[2J"},
    {"eventID": None},
    {"eventID": ["x"]},
    {"eventSource": ["kms.amazonaws.com"]},
]
BAD: list[tuple[str, bytes, int, str]] = [
    ("empty", b"", 0, "breaks off"),
    ("truncated gzip", GOOD[:-20], 1, "breaks off"),
    ("truncated JSON", gzip.decompress(GOOD)[:-30], 1, "breaks off"),
    ("damaged gzip", GOOD[:40] + b"\xff" + GOOD[41:], 0, "breaks off"),
    ("no JSON", b"\x00\x01\x02", 0, "breaks off"),
    ("not UTF-8", b'{"Records": ["\xff"]}', 0, "breaks off"),
    ("text after", json.dumps({"Records": [kms()]}).encode() + b" x", 1, "breaks off"),
    ("nested", b'{"Records": [' + b"[" * 200_000, 0, "breaks off"),
    ("a long value", b'{"Records": ["' + b"x" * 9_000_000 + b'"]}', 0, "no record"),
    ("digest", json.dumps({"digestS3Object": "x", "logFiles": []}).encode(), 0, "another form"),
    ("other records", json.dumps({"Records": [1, None, {"a": 1}, kms()]}).encode(), 1,
     "another form"),
    ("no time", json.dumps({"Records": [kms(eventTime="soon"), kms()]}).encode(), 1,
     "another form"),
    *(
        (f"{told}", json.dumps({"Records": [kms(**told), kms()]}).encode(), 1, "another form")
        for told in MALFORMED
    ),
    ("version 2", json.dumps({"Records": [kms(eventVersion="2.0"), kms()]}).encode(), 1,
     "another event version"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "count", "cause"), [each[1:] for each in BAD], ids=[each[0] for each in BAD]
)
def test_a_bad_file_is_said_and_its_good_records_are_kept(
    tmp_path: Path, content: bytes, count: int, cause: str
) -> None:
    """From a bad file, the good records before the damage count, and the next file is read."""
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "b.json").write_bytes(packed([kms(), kms()]))
    records = Trails().search(ABOUT_KEY, [tmp_path])
    found = list(records)
    (gap,) = records.tally.gaps.values()
    assert cause in gap.cause
    assert gap.examples == [str(tmp_path / "a.json")]
    assert len(found) == count + 2


def test_a_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that unpacks to more than the limit is a gap; records before the limit count."""
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 2**21)
    text = json.dumps({"Records": [kms()]}).encode()
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text + b" " * 2**22))
    found, search = answers(Trails().search(ABOUT_KEY, [tmp_path]))
    (gap,) = search.tally.gaps.values()
    assert len(found) == 1
    assert "256 MiB" in gap.cause


def test_short_members_of_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip file of many one-byte members is read as one; too many empty members are refused."""
    content = json.dumps({"Records": [{"a": "x" * 500}]}).encode()
    members = b"".join(gzip.compress(content[at : at + 1]) for at in range(len(content)))
    assert list(unpacking.unpacked(io.BytesIO(members))) == [content]
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 2**16)
    with pytest.raises(unpacking.BrokenFileError, match="too long"):
        list(unpacking.unpacked(io.BytesIO(gzip.compress(b"") * 2**13)))


@pytest.mark.slow
def test_a_bomb(tmp_path: Path) -> None:
    """A file of 1 MB that unpacks to 1 GiB is unpacked only up to the limit."""
    packer, path = gzip.compress(b" " * 2**24), tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"Records": [kms()]}).encode()) + packer * 64)
    found, search = answers(Trails().search(ABOUT_KEY, [path]))
    assert (len(found), len(search.tally.gaps)) == (1, 1)


@pytest.mark.slow
def test_a_million_records_in_one_file(tmp_path: Path) -> None:
    """A file with a million records is read record by record."""
    short = '{"eventVersion":"1.11","eventName":"x","eventSource":"ec2.amazonaws.com"}'
    path = tmp_path / "a.json.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b'{"Records":[')
        for _ in range(100):
            file.write((f"{short}," * 10_000).encode())
        file.write(f"{json.dumps(kms())}]}}".encode())
    found, search = answers(Trails().search(ABOUT_KEY, [path]))
    assert (len(found), search.tally.records) == (1, 1_000_001)


def test_many_bad_files_take_no_memory(tmp_path: Path) -> None:
    """Of many bad files all are counted, but only three are named."""
    for number in range(50):
        (tmp_path / f"{number}.json").write_bytes(b"{")
    _, search = answers(Trails().search(ABOUT_KEY, [tmp_path]))
    (gap,) = search.tally.gaps.values()
    assert (gap.count, len(gap.examples)) == (50, 3)


def test_what_is_no_trail_file_is_not_read(tmp_path: Path) -> None:
    """Digest files and files of other kinds are not read."""
    (tmp_path / f"{ACCOUNT}_CloudTrail-Digest_us-east-1_x.json.gz").write_bytes(b"x")
    (tmp_path / "readme.txt").write_bytes(b"x")
    _, search = answers(Trails().search(ABOUT_KEY, [tmp_path]))
    assert search.tally.files == 0


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    """A path that does not exist is an error, not an empty answer."""
    with pytest.raises(LocalFileNotFoundError):
        list(Trails().search(ABOUT_KEY, [tmp_path / "none"]))


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A file that cannot be opened is a gap.

    Root may read any file, so the test uses a broken link.
    """
    (tmp_path / "a.json").symlink_to(tmp_path / "none")
    deliver(tmp_path, [kms()])
    found, search = answers(Trails().search(ABOUT_KEY, [tmp_path]))
    assert (len(found), len(search.tally.gaps)) == (1, 1)


# --- The bucket of a trail ---------------------------------------------------------------------


def store(s3: Any, bucket: str, day: str, records: Sequence[Any], **of: str) -> str:
    """Store a trail file under CloudTrail's name for it. Return the name."""
    account, region = of.get("account", ACCOUNT), of.get("region", "us-east-1")
    file = samples.event_name(f"{day.replace('/', '')}T1005", region, account)
    org = f"{of['org']}/" if "org" in of else ""
    name = f"logs/AWSLogs/{org}{account}/CloudTrail/{region}/{day}/{file}"
    s3.put_object(Bucket=bucket, Key=name, Body=packed(records))
    return name


def test_only_the_days_that_are_asked_for_are_fetched(
    s3: Any, bucket: str, requests_log: Any
) -> None:
    """Only files of the days in question, and of the next day for late files, are fetched."""
    days = [f"2026/{month:02}/{day:02}" for month in (10, 11) for day in range(1, 29)]
    for day in days:
        store(s3, bucket, day, [kms()])
    requests_log.clear()
    question = Question(
        key=KEY,
        since=datetime(2026, 11, 1, 9, tzinfo=UTC),
        until=datetime(2026, 11, 1, 12, tzinfo=UTC),
    )
    found, search = answers(Trails().search(question, [f"s3://{bucket}/logs/"]))
    fetched = [each for each in requests_log.list() if each["path"].endswith(".json.gz")]
    assert len(found) == search.tally.files == len(fetched) == 2


PLACES = ["", "/logs", "/logs/", "/logs/AWSLogs/", f"/logs/AWSLogs/o-abcdefghij/{ACCOUNT}",
          f"/logs/AWSLogs/o-abcdefghij/{ACCOUNT}/CloudTrail/us-east-1/2026/11/01/"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_prefix_anywhere_in_the_layout(s3: Any, bucket: str, place: str) -> None:
    """A search works from the prefix of the trail, of an account or of a day."""
    store(s3, bucket, "2026/11/01", [kms()], org="o-abcdefghij")
    digest = (
        f"{ACCOUNT}/CloudTrail-Digest/us-east-1/2026/11/01/{ACCOUNT}_CloudTrail-Digest_x.json.gz"
    )
    s3.put_object(Bucket=bucket, Key=f"logs/AWSLogs/o-abcdefghij/{digest}", Body=b"x")
    found, search = answers(Trails().search(ABOUT_KEY, [f"s3://{bucket}{place}"]))
    assert (len(found), search.tally.gaps) == (1, {})


def test_accounts_and_regions(s3: Any, bucket: str) -> None:
    """A search of a bucket reads the files of all accounts and Regions."""
    for account in (ACCOUNT, "210987654321"):
        for region in ("us-east-1", "eu-west-1"):
            store(s3, bucket, "2026/11/01", [kms()], account=account, region=region)
    assert len(answers(Trails().search(ABOUT_KEY, [f"s3://{bucket}/logs"]))[0]) == 4


@pytest.mark.usefixtures("far_service")
def test_a_service_far_away(s3: Any, bucket: str) -> None:
    """Files are fetched in parallel, but read in order."""
    days = [f"2026/11/{day:02}" for day in range(1, 21)]
    for day in days:
        store(s3, bucket, day, [kms(eventTime=f"{day.replace('/', '-')}T10:00:00Z")])
    found, _ = answers(Trails().search(ABOUT_KEY, [f"s3://{bucket}"]))
    assert [access.time.day for access in found] == list(range(1, 21))


def test_a_bucket_that_may_not_be_read() -> None:
    """A bucket that cannot be listed is a gap, whose hint names the permission."""
    _, search = answers(Trails().search(ABOUT_KEY, ["s3://no-such-bucket-of-trails"]))
    (gap,) = search.tally.gaps.values()
    assert "could not be read" in gap.cause
    assert gap.hint
    assert "s3:ListBucket" in gap.hint


def test_a_file_that_s3_does_not_give(s3: Any, bucket: str) -> None:
    """An archived trail file is a gap, and the next file is read."""
    s3.put_object(Bucket=bucket, Key="a.json.gz", Body=GOOD, StorageClass="GLACIER")
    s3.put_object(Bucket=bucket, Key="b.json.gz", Body=GOOD)
    found, search = answers(Trails().search(ABOUT_KEY, [f"s3://{bucket}"]))
    assert len(found) == 2
    (gap,) = search.tally.gaps.values()
    assert gap.examples == [f"s3://{bucket}/a.json.gz"]


# --- LookupEvents ------------------------------------------------------------------------------


def test_pages_of_lookup_events(cloudtrail: Any) -> None:
    """All pages of LookupEvents are read."""
    cloudtrail.records = [kms() for _ in range(120)]
    found, search = answers(Trails().search(ABOUT_KEY))
    assert len(found) == search.tally.records == 120
    assert any("no S3 data events" in line for line in search.limits)


def test_pages_of_lookup_events_that_do_not_end(cloudtrail: Any) -> None:
    """If LookupEvents repeats a page, the search ends with a gap."""
    cloudtrail.is_stuck, cloudtrail.records = True, [kms() for _ in range(200)]
    found, search = answers(Trails().search(ABOUT_KEY))
    assert len(found) == 100
    assert "break off" in next(iter(search.tally.gaps))
    assert any("resources" in line for line in search.limits)


def test_data_events_of_other_buckets_are_no_answer(tmp_path: Path) -> None:
    """If no data event of the bucket was found, the limits say so."""
    for bucket, is_said in (("acme-other", True), (BUCKET, False)):
        _, search = searched(tmp_path, [s3(bucket=bucket, key="k"), kms()], ABOUT_OBJECT)
        assert any(f"no S3 data events of {BUCKET}" in line for line in search.limits) is is_said


def test_two_requests_a_second(cloudtrail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to LookupEvents are half a second apart."""
    pauses: list[float] = []
    monkeypatch.setattr(lookups, "_SECONDS_BETWEEN", 0.5)
    monkeypatch.setattr(lookups, "pause", pauses.append)
    cloudtrail.records = [kms() for _ in range(120)]
    list(Trails().search(ABOUT_KEY))
    assert len(pauses) == 3
    assert pauses[0] == 0.0
    assert all(0.2 < each <= 0.5 for each in pauses[1:])


def test_what_lookup_events_has_forgotten(cloudtrail: Any) -> None:
    """A question about a time over 90 days ago has a gap: LookupEvents keeps no older events."""
    cloudtrail.records = []
    question = Question(key=KEY, since=datetime(2020, 1, 1, tzinfo=UTC))
    _, search = answers(Trails().search(question))
    assert "90 days" in next(iter(search.tally.gaps))


def test_lookup_events_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """If LookupEvents cannot be reached, the search has a gap."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", "http://127.0.0.1:1")
    _, search = answers(Trails().search(ABOUT_KEY, []))
    assert search.tally.gaps


def test_an_alias_is_resolved(kms_key: str, tmp_path: Path) -> None:
    """A question about an alias searches for the key that DescribeKey returns."""
    name = f"alias/who-{kms_key[-12:]}"
    boto3.client("kms").create_alias(AliasName=name, TargetKeyId=kms_key)
    found, search = searched(tmp_path, [kms(keys=[kms_key])], Question(key=name))
    assert (len(found), search.question.key) == (1, kms_key)
