# SPDX-License-Identifier: Apache-2.0
"""The decisions that `s3crypt.*` loggers report, their levels, and data that is never logged."""

from __future__ import annotations

import base64
import logging
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from relay import Answer, Asked, relaying
from samples import MODES, PART, aes, connect, make_mode, payload, uploads

from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    ClientSide,
    KMSKeyring,
    MultiKeyring,
    S3Crypt,
    StorageError,
)
from s3crypt.errors import S3CryptError
from s3crypt.local.workers import each

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3crypt import Mode
    from s3crypt.sandbox import Running

    Log = Callable[[], list[tuple[str, str, str]]]

OVERLOADED = b"<Error><Code>SlowDown</Code></Error>"
DENIED = b"<Error><Code>AccessDenied</Code></Error>"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Return a function that lists the level, logger below `s3crypt` and message of each record."""
    caplog.set_level(logging.DEBUG, "s3crypt")

    def told() -> list[tuple[str, str, str]]:
        ours = [record for record in caplog.records if record.name.startswith("s3crypt.")]
        return [
            (record.levelname, record.name.removeprefix("s3crypt."), record.getMessage())
            for record in ours
        ]

    return told


# --- Quiet -----------------------------------------------------------------------------------


def test_a_program_without_logging_sees_nothing() -> None:
    """Without a logging configuration nothing is printed.

    Python would print the warnings of a logger without a handler.
    """
    code = "from s3crypt import requests; requests._log.warning('s3crypt is not quiet')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("name", MODES)
def test_what_goes_as_it_should_is_not_logged(
    name: str, bucket: str, kms_key: str, log: Log
) -> None:
    """A put, read, rotation and delete that succeed log nothing, not even at DEBUG."""
    mode, uri = make_mode(name, kms_key), f"s3://{bucket}/x"
    store = connect(mode, workers=1)
    for size in (1000, PART + 70_000):
        store.put(payload(size), uri)
        assert store.read(uri) == payload(size)
        with store.open(uri) as file:
            file.seek(size // 2)
            file.read(10)
    store.rotate(uri, to=mode)
    store.delete(uri)
    assert log() == []


# --- Decisions -------------------------------------------------------------------------------


def test_a_repetition_and_the_end_of_them_are_logged(
    sandbox: Running, bucket: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each retry is logged at DEBUG with its cause, and giving up is logged once."""
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "0.2")
    with relaying(sandbox.endpoint_url, lambda *_: Answer(503, {}, OVERLOADED)) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises(StorageError):
            store.delete(f"s3://{bucket}/x")
    paced, *repeated, last = log()
    assert paced[:2] == ("INFO", "local.rate")
    begin = f"delete_object of s3://{bucket}/x: attempt 1 failed (SlowDown, status 503)"
    assert repeated[0][:2] == ("DEBUG", "requests")
    assert repeated[0][2].startswith(begin)
    assert {level for level, _, _ in repeated} == {"DEBUG"}
    assert last[:2] == ("INFO", "requests")
    assert f"given up after {len(repeated) + 1} attempts in 0." in last[2]
    assert "(SlowDown, status 503)" in last[2]


def test_a_write_found_done_is_logged(sandbox: Running, bucket: str, log: Log) -> None:
    """If a put's reply is lost, and a HEAD finds the object, this is logged."""
    lost: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "PUT" and not lost:
            lost.append(asked)
            raise ConnectionError
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(ClientSide(aes()), endpoint_url=relay.url).put(b"data", f"s3://{bucket}/x")
    told = f"put_object of s3://{bucket}/x: an earlier attempt has done it"
    assert ("INFO", "requests", told) in log()


def test_a_read_that_is_resumed_is_logged(sandbox: Running, bucket: str, log: Log) -> None:
    """A read that is resumed is logged with the byte offset at which it continues."""
    size, cuts = 1_000_000, iter((100_000,))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET" and len(answer.body) > size // 2:
            answer.cut = next(cuts, None)
        return answer

    connect(SSES3()).put(payload(size), f"s3://{bucket}/x")
    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert connect(endpoint_url=relay.url).read(f"s3://{bucket}/x") == payload(size)
    ((_, _, told),) = [each for each in log() if each[:2] == ("INFO", "transfer.stream")]
    assert told.startswith(f"s3://{bucket}/x: reading broke and is resumed at byte ")
    assert told.endswith(f" of {size} (attempt 1)")


def _has_checksum(asked: Asked) -> bool:
    return "x-amz-checksum-crc64nvme" in asked.headers


@pytest.mark.parametrize(
    ("size", "is_refused", "told"),
    [
        (1000, _has_checksum, "refused with a checksum ({}); they go no more"),
        (
            PART + 1000,
            lambda asked: "x-amz-checksum-algorithm" in asked.headers,
            "refused with checksums ({}); uploads go without",
        ),
        (
            PART + 1000,
            lambda asked: asked.method == "POST" and _has_checksum(asked),
            "refused with its checksum ({}); completed without",
        ),
    ],
    ids=["object", "upload", "whole"],
)
def test_checksums_given_up_are_logged(
    size: int, is_refused: Any, told: str, sandbox: Running, bucket: str, log: Log
) -> None:
    """Giving up checksums is logged once per store, with the service's error code."""
    refusal = b"<Error><Code>InvalidArgument</Code></Error>"

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(400, {}, refusal) if is_refused(asked) else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url, workers=1)
        store.put(payload(size), f"s3://{bucket}/x")
    cause = "InvalidArgument, status 400"
    assert log() == [("INFO", "transfer.checksums", f"s3://{bucket}/x: {told.format(cause)}")]


def test_a_demanded_checksum_is_logged(sandbox: Running, bucket: str, log: Log) -> None:
    """If a service demands a checksum, this is logged once per bucket."""
    refusal = b"<Error><Code>MissingContentMD5</Code></Error>"

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        has_md5 = asked.method != "PUT" or "content-md5" in asked.headers
        return forward() if has_md5 else Answer(400, {}, refusal)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        store.put(b"one", f"s3://{bucket}/x")
        store.put(b"two", f"s3://{bucket}/y")
    told = "refused without a checksum (MissingContentMD5, status 400); Content-MD5 is sent"
    assert log() == [("INFO", "transfer.checksums", f"s3://{bucket}/x: {told}")]


def test_a_read_that_is_not_compared_is_logged(sandbox: Running, bucket: str, log: Log) -> None:
    """If the caller has no permission for S3's checksum, the read succeeds, and this is logged."""
    size = PART + 1000

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(403) if asked.method == "HEAD" else forward()

    connect(SSES3()).put(payload(size), f"s3://{bucket}/x")
    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(endpoint_url=relay.url, workers=1)
        assert store.read(f"s3://{bucket}/x") == payload(size)
    told = f"s3://{bucket}/x: not compared with S3's checksum, which may not be read (403, "
    ((level, name, text),) = [each for each in log() if each[1] == "transfer.stream"]
    assert (level, name, text[: len(told)]) == ("INFO", "transfer.stream", told)


def test_a_copy_that_turns_into_re_encryption_is_logged(
    sandbox: Running, bucket: str, kms_key: str, log: Log
) -> None:
    """If a copy is replaced by re-encryption, the log has the cause.

    Either the service does not copy, or S3 cannot make the wanted object by copying.
    """

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if "x-amz-copy-source" in asked.headers:
            return Answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")
        return forward()

    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"data", uri)
    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSES3(), endpoint_url=relay.url).rotate(uri, to=SSEKMS(kms_key))
    told = f"{uri}: re-encrypted, as the service does not copy it (NotImplemented, status 501)"
    assert ("INFO", "rotation.mechanisms", told) in log()
    connect(ClientSide(aes())).put(b"data", uri)
    connect(ClientSide(aes())).copy(uri, f"{uri}2")
    told = f"{uri}: re-encrypted as {uri}2 in mode client, which S3 cannot make by copying"
    assert ("INFO", "rotation.copies", told) in log()


def test_workers_that_become_more_are_logged(log: Log) -> None:
    """Each growth of the number of workers is logged once."""
    is_far = threading.Event()

    def work(item: int, _: object) -> None:
        if item > 2:
            is_far.set()
        time.sleep(0.12)

    each(iter(range(40)), work, 4, is_far=is_far.is_set)
    told = "workers: 4 instead of 2, as the service is far away"
    assert log() == [("INFO", "local.workers", told)]


def test_a_condition_checked_by_head_is_logged(sandbox: Running, bucket: str, log: Log) -> None:
    """For a service other than AWS, a HEAD that replaces a condition is logged."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(403) if asked.method == "HEAD" else forward()

    uri = f"s3://{bucket}/x"
    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSES3(), endpoint_url=relay.url).put(b"data", uri, if_absent=True)
    first, second = log()
    told = f"{uri}: whether it exists is asked by HEAD, as the service may ignore the condition"
    assert first == ("INFO", "transfer.conditions", told)
    assert second[2].startswith(f"{uri}: HEAD was refused (403, ")


# --- Records that need attention -------------------------------------------------------------


def test_an_upload_that_cannot_be_aborted_is_a_warning(
    sandbox: Running, bucket: str, s3: Any, log: Log
) -> None:
    """If an upload cannot be aborted, a warning has its id, so that it can be aborted later."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_denied = asked.method == "DELETE" or asked.is_part
        return Answer(403, {}, DENIED) if is_denied else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.raises(StorageError):
        connect(SSES3(), endpoint_url=relay.url).put(payload(PART + 1), f"s3://{bucket}/x")
    (left,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    told = f"upload {left['UploadId']} could not be aborted and is left behind (AccessDenied"
    ((level, name, text),) = [each for each in log() if each[0] == "WARNING"]
    assert (level, name) == ("WARNING", "transfer.upload")
    assert text.startswith(f"s3://{bucket}/x: {told}")


def test_an_upload_whose_id_was_lost_is_a_warning(
    sandbox: Running, bucket: str, s3: Any, log: Log
) -> None:
    """If the reply to CreateMultipartUpload is lost, a warning says that an upload may be left.

    The retry creates a second upload. The id of the first upload is unknown, so the first upload
    cannot be aborted.
    """
    lost: list[Asked] = []

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if "uploads" in asked.query and not lost:
            lost.append(asked)
            raise ConnectionError
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        connect(SSES3(), endpoint_url=relay.url).put(payload(PART + 1), f"s3://{bucket}/x")
    assert uploads(s3, bucket) == ["x"]
    ((_, name, told),) = [each for each in log() if each[0] == "WARNING"]
    assert name == "requests"
    assert told.startswith(f"s3://{bucket}/x: an upload may have been begun and be left behind (")


def test_what_was_not_encrypted_and_stays_is_a_warning(
    sandbox: Running, bucket: str, log: Log
) -> None:
    """If an unencrypted object cannot be removed, a warning says that it stays."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "DELETE":
            return Answer(403, {}, DENIED)
        answer = forward()
        kept = {k: v for k, v in answer.headers.items() if "encryption" not in k}
        return Answer(answer.status, kept, answer.body)

    is_left = pytest.raises(S3CryptError, match="could not be removed")
    with relaying(sandbox.endpoint_url, spoil) as relay, is_left:
        connect(SSES3(), endpoint_url=relay.url).put(b"data", f"s3://{bucket}/x")
    told = f"s3://{bucket}/x: not encrypted as asked, and could not be removed (AccessDenied"
    ((_, name, text),) = [each for each in log() if each[0] == "WARNING"]
    assert (name, text[: len(told)]) == ("transfer.upload", told)


def test_a_file_dropped_without_close_is_a_warning(bucket: str, log: Log) -> None:
    """A file that is dropped unclosed logs a warning, besides Python's ResourceWarning.

    A program may have disabled the ResourceWarning.
    """
    uri = f"s3://{bucket}/x"
    file = connect(SSES3()).open(uri, "wb")
    file.write(b"data")
    held = [file]
    del file
    with pytest.warns(RuntimeWarning, match=uri):
        held.clear()
    told = f"{uri}: dropped without close; nothing is stored of 4 bytes"
    assert ("WARNING", "objects.writer", told) in log()


# --- Never -----------------------------------------------------------------------------------

CUSTOMER_KEY = random.Random("customer").randbytes(32)
WRAPPING_KEY = random.Random("wrapping").randbytes(32)
SIZE = PART + 70_000


class Trouble:
    """Answers like a service that lacks many features, fails requests once and cuts replies."""

    def __init__(self) -> None:
        self.met: set[object] = set()

    def __call__(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Return the reply to a request, as a relay's `spoil`."""
        if _has_checksum(asked):
            return Answer(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
        if "x-amz-copy-source" in asked.headers:
            return Answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")
        if "uploadId" in asked.query and asked.method == "DELETE":
            return Answer(403, {}, DENIED)
        kind = asked.method, *sorted(asked.query.keys() - {"partNumber"})
        if self._is_new("refused", kind):
            return Answer(503, {}, OVERLOADED)
        answer = forward()
        if self._is_new("lost", kind):
            raise ConnectionError
        if asked.method == "GET" and len(answer.body) > 9000 and self._is_new("cut", kind):
            answer.cut = 9000
        return answer

    def _is_new(self, *what: object) -> bool:
        is_new = what not in self.met
        self.met.add(what)
        return is_new


@dataclass
class Planted:
    """Secrets that must not be logged, by name; a session adds the KMS data keys it gets."""

    session: boto3.Session = field(default_factory=boto3.Session)
    secrets: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = payload(SIZE)
        pieces = {f"plaintext {at}": plain[at : at + 24] for at in (0, 5000, PART, SIZE - 24)}
        self.secrets = {
            "customer key": CUSTOMER_KEY,
            "wrapping key": WRAPPING_KEY,
            "metadata": b"planted-metadata",
            "tag": b"planted-tag",
            "context": b"planted-context",
            **pieces,
        }
        for event in ("after-call.kms", "provide-client-params.kms"):
            self.session.events.register(event, self._collect)

    def _collect(self, **told: Any) -> None:
        for part in ("params", "parsed"):
            if data_key := (told.get(part) or {}).get("Plaintext"):
                self.secrets[f"data key {len(self.secrets)}"] = bytes(data_key)

    def found_in(self, text: str) -> set[str]:
        """Return the names of the secrets that a text contains in any form."""
        return {
            name for name, secret in self.secrets.items() if any(f in text for f in forms(secret))
        }

    def modes(self, kms_key: str) -> dict[str, Mode]:
        """Return a mode of each kind under planted keys."""
        kms = KMSKeyring(kms_key, session=self.session)
        local = AESKeyring("tests", "planted", WRAPPING_KEY)
        context = {"about": "planted-context"}
        return {
            "sse-s3": SSES3(),
            "sse-kms": SSEKMS(kms_key, context=context),
            "dsse-kms": DSSEKMS(kms_key, context=context),
            "sse-c": SSEC(CUSTOMER_KEY),
            "client-header": ClientSide(MultiKeyring(local, kms), context=context),
            "client-metadata": ClientSide(kms, key_location="metadata", context=context),
        }


def forms(secret: bytes) -> set[str]:
    """Return the forms in which a record may contain a secret: raw, hex and base64."""
    encoded = base64.b64encode(secret).decode()
    return {
        secret.decode("latin-1"),
        repr(secret)[2:-1],
        secret.hex(),
        secret.hex().upper(),
        encoded.rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
    }


def _fail(_: int) -> None:
    raise ZeroDivisionError


def _everything(store: S3Crypt, uri: str) -> None:
    described: dict[str, Any] = {
        "metadata": {"note": "planted-metadata"},
        "tags": {"kind": "planted-tag"},
    }
    store.put(payload(SIZE), uri, if_absent=True, **described)
    store.put(payload(1000), f"{uri}-small", **described)
    assert store.read(uri) == payload(SIZE)
    with store.open(uri) as file:
        file.seek(SIZE // 2)
        assert file.read(10) == payload(SIZE)[SIZE // 2 :][:10]
    store.copy(uri, f"{uri}-copy")
    store.rotate(f"{uri}-small", to=ClientSide(aes("other")))
    with pytest.raises(ZeroDivisionError):
        store.put(payload(SIZE), f"{uri}-failing", progress=_fail)
    with pytest.raises(S3CryptError):
        connect(SSEC(bytes(32)), endpoint_url=store.client.meta.endpoint_url).read(uri)


@pytest.mark.parametrize("name", MODES)
def test_no_secret_is_logged(
    name: str, sandbox: Running, bucket: str, kms_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a run that logs everything possible, no message and no argument contains a secret."""
    caplog.set_level(logging.DEBUG, "s3crypt")
    planted = Planted()
    with relaying(sandbox.endpoint_url, Trouble()) as relay:
        mode = planted.modes(kms_key)[name]
        _everything(
            S3Crypt(mode, session=planted.session, endpoint_url=relay.url), f"s3://{bucket}/x"
        )
    ours = [record for record in caplog.records if record.name.startswith("s3crypt")]
    text = "\n".join(f"{r.getMessage()}\n{r.args!r}\n{r.exc_text}\n{r.__dict__!r}" for r in ours)
    assert planted.found_in(text) == set()
    assert not any(record.exc_info or record.stack_info for record in ours)
    loggers = {record.name.removeprefix("s3crypt.") for record in ours}
    assert {"requests", "transfer.checksums", "transfer.stream", "transfer.upload"} <= loggers
    assert (name.startswith("client")) == any("data key" in each for each in planted.secrets)
