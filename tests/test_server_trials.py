# SPDX-License-Identifier: Apache-2.0
"""`s3crypt doctor --server`: tries a service's abilities on scratch objects, then removes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from doctor_samples import XML, through
from relay import Answer
from s3crypt_cli.main import run

from s3crypt import ConfigError, StorageError
from s3crypt.doctor import Doctor, Verdict
from s3crypt.doctor.server import TRIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay import Asked

PAGE = Path(__file__).parents[1] / "docs" / "doctor.md"
SANDBOX = "the sandbox"
_CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match")


def table() -> dict[str, dict[str, str]]:
    """Return the cells of the documentation's table, by trial and then by server."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    start = next(number for number, row in enumerate(rows) if row[0] == "trial")
    servers = rows[start][1:]
    return {trial: dict(zip(servers, cells, strict=True)) for trial, *cells in rows[start + 2 :]}


def verdicts(bucket: str) -> dict[str, str]:
    """Return the verdict of each trial in this bucket."""
    return {each.trial: str(each.verdict) for each in Doctor().try_server(f"s3://{bucket}/")}


def is_empty(s3: Any, bucket: str) -> bool:
    """Return whether a bucket contains no version, delete marker or upload."""
    found = s3.list_object_versions(Bucket=bucket)
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    return not (found.get("Versions") or found.get("DeleteMarkers") or uploads)


def test_the_table_has_every_trial_and_only_verdicts() -> None:
    """The table has each trial of the code, and only known verdicts."""
    cells = table()
    assert list(cells) == list(TRIALS)
    assert {cell for row in cells.values() for cell in row.values()} <= set(Verdict)


def test_the_sandbox_keeps_what_the_table_says(s3: Any, versioned_bucket: str) -> None:
    """The sandbox gets the table's verdicts, and no version of a scratch object is left."""
    expected = {trial: row[SANDBOX] for trial, row in table().items()}
    assert verdicts(versioned_bucket) == expected
    assert is_empty(s3, versioned_bucket)


def test_a_server_that_ignores_conditions_is_found_out(
    s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ignores conditions but replies 200 gets the verdict "no"."""

    def ignoring(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        for name in _CONDITIONS:
            asked.headers.pop(name, None)
        return forward()

    with through(ignoring, monkeypatch):
        found = verdicts(bucket)
    refused = {trial for trial, verdict in found.items() if verdict == "no"}
    assert refused == {trial for trial in TRIALS if trial.startswith("If-")}
    assert is_empty(s3, bucket)


def test_a_server_that_says_no_encryption_is_found_out(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose replies do not confirm encryption gets "no"; the note lists these replies."""

    def silent(_asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        for name in [name for name in answer.headers if "server-side-encryption" in name]:
            del answer.headers[name]
        return answer

    with through(silent, monkeypatch):
        found = {each.trial: each for each in Doctor().try_server(f"s3://{bucket}/")}
    for trial in ("SSE-S3 in every reply", "SSE-C in every reply"):
        assert found[trial].verdict == "no"
        assert found[trial].note.endswith("put, HEAD, GET, upload, part, copy")


def test_what_a_server_refuses_is_not_supported(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by the server gives "not supported", with its status and code in the note."""

    def without_tags(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "x-amz-tagging" in asked.headers:
            body = b"<Error><Code>NotImplemented</Code><Message>no</Message></Error>"
            return Answer(501, {"content-type": "application/xml"}, body)
        return forward()

    with through(without_tags, monkeypatch):
        found = {each.trial: each for each in Doctor().try_server(f"s3://{bucket}/")}
    assert (found["tags"].verdict, found["tags"].note) == ("not supported", "501 NotImplemented")


def test_an_interrupt_leaves_nothing(s3: Any, versioned_bucket: str) -> None:
    """An interrupt removes the scratch objects of all trials so far."""
    trials = Doctor().try_server(f"s3://{versioned_bucket}/tmp/")
    for _ in range(len(TRIALS) // 2):
        next(trials)
    assert not is_empty(s3, versioned_bucket)
    with pytest.raises(KeyboardInterrupt):
        trials.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert is_empty(s3, versioned_bucket)


@pytest.mark.parametrize("kept", ["upload", "version"])
def test_what_an_interrupt_or_a_refusal_hides_is_removed_or_named(
    kept: str, s3: Any, versioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt, an upload whose reply was lost is removed.

    If the caller has no permission to list the scratch versions, a note names them.
    """

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if kept == "version" and "versions" in asked.query:
            return Answer(403, dict(XML), b"<Error><Code>AccessDenied</Code></Error>")
        answer = forward()
        is_upload = asked.method == "POST" and "uploads" in asked.query
        return Answer(500, {}, b"") if kept == "upload" and is_upload else answer

    with through(spoil, monkeypatch):
        trials = Doctor().try_server(f"s3://{versioned_bucket}/")
        for _ in range(7):
            next(trials)
        with pytest.raises(KeyboardInterrupt) as caught:
            trials.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    notes = getattr(caught.value, "__notes__", [])
    if kept == "upload":
        assert is_empty(s3, versioned_bucket)
        assert notes == []
    else:
        assert f"left behind below s3://{versioned_bucket}/s3crypt-doctor-" in notes[0]


def test_without_the_permission_nothing_is_known(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without write permission, the verdict is "not known": the service may support the trial."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "PUT":
            return Answer(403, dict(XML), b"<Error><Code>AccessDenied</Code></Error>")
        return forward()

    with through(spoil, monkeypatch):
        found = verdicts(bucket)
    assert set(found.values()) == {"not known"}


def test_an_object_that_cannot_be_removed_is_named(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a scratch object cannot be removed, the error's hint is the command that removes it."""

    def keeping(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "DELETE" and "uploadId" not in asked.query:
            body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            return Answer(403, {"content-type": "application/xml"}, body)
        return forward()

    with (
        through(keeping, monkeypatch),
        pytest.raises(StorageError, match="could not be removed") as caught,
    ):
        verdicts(bucket)
    assert f"s3crypt rm -r s3://{bucket}/s3crypt-doctor-" in str(caught.value.hint)


def test_a_bucket_that_locks_objects_is_refused(s3: Any, versioned_bucket: str) -> None:
    """A bucket with Object Lock is refused before anything is written."""
    s3.put_object_lock_configuration(
        Bucket=versioned_bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    with pytest.raises(ConfigError, match="Object Lock"):
        verdicts(versioned_bucket)
    assert is_empty(s3, versioned_bucket)


def test_the_command_says_that_it_writes(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the place of the scratch objects on stderr, and a line per trial."""
    assert run(("doctor", f"s3://{bucket}/", "--server")) == 0
    said = capsys.readouterr()
    assert said.err == f"Test objects are written below s3://{bucket}/, and removed afterwards.\n"
    lines = said.out.splitlines()
    assert [line for line in lines if line.startswith("yes            If-None-Match on put")]
    assert lines[-1] == "No fault was found."


def test_the_command_prints_trials_as_json(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, the command prints one JSON object per trial."""
    assert run(("doctor", f"s3://{bucket}/", "--server", "--json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["trial"] for line in lines if "trial" in line] == list(TRIALS)


def test_a_server_is_tried_in_a_bucket_alone() -> None:
    """`--server` without a URI is refused."""
    assert run(("doctor", "--server")) == 2
