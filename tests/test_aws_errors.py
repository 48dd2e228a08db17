# SPDX-License-Identifier: Apache-2.0
"""Errors of botocore become errors of s3crypt, which keep the code, request id and cause."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions as boto_errors
import pytest
from botocore.config import Config
from relay import Answer, Asked, relaying
from samples import PART, connect, kms_keyring, payload

from s3crypt import (
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    KMSKeyring,
    ObjectNotFoundError,
    S3Crypt,
    S3CryptError,
    StorageError,
)
from s3crypt.aws import Clients
from s3crypt.aws_errors import is_for_all, map_aws_errors, translate
from s3crypt.configuration import session_of
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from types_boto3_kms.client import KMSClient

    from s3crypt.sandbox import Running


def reply(code: str, status: int = 400, message: str = "") -> boto_errors.ClientError:
    """Return botocore's error for a service's reply."""
    return boto_errors.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "ID1",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "Operation",
    )


S3_REPLIES: list[tuple[str, int, type[S3CryptError], str]] = [
    ("NoSuchKey", 404, ObjectNotFoundError, "no such object"),
    ("NoSuchVersion", 404, ObjectNotFoundError, "no such version"),
    ("404", 404, ObjectNotFoundError, "no such object"),
    ("NoSuchBucket", 404, StorageError, "no such bucket"),
    ("NoSuchAccessPoint", 404, StorageError, "no such access point"),
    ("NoSuchUpload", 404, StorageError, "aborted"),
    ("PreconditionFailed", 412, ConflictError, "another writer"),
    ("412", 412, ConflictError, "another writer"),
    ("ConditionalRequestConflict", 409, ConflictError, "another writer"),
    ("InvalidObjectState", 403, StorageError, "archived"),
    ("ObjectNotInActiveTierError", 403, StorageError, "archived"),
    ("RequestTimeTooSkewed", 403, StorageError, "clock is wrong"),
    ("QuotaExceeded", 403, StorageError, "quota is used up"),
    ("XMinioAdminBucketQuotaExceeded", 400, StorageError, "quota is used up"),
    ("XMinioStorageFull", 507, StorageError, "disks are full"),
    ("PermanentRedirect", 301, StorageError, "another Region"),
    ("301", 301, StorageError, "another Region"),
    ("AuthorizationHeaderMalformed", 400, StorageError, "wrong region"),
    ("InvalidAccessKeyId", 403, StorageError, "access key is unknown"),
    ("SignatureDoesNotMatch", 403, StorageError, "secret key is wrong"),
    ("ExpiredToken", 400, StorageError, "expired"),
    ("InvalidToken", 400, StorageError, "session token is wrong"),
    ("InvalidClientTokenId", 403, StorageError, "access key is unknown"),
    ("AccessDenied", 403, StorageError, "access denied"),
    ("403", 403, StorageError, "access denied"),
    ("SlowDown", 503, StorageError, "SlowDown"),
    ("SomethingNew", 418, StorageError, "SomethingNew"),
    # Codes that S3 passes on from KMS.
    ("KMS.DisabledException", 400, KeyUnavailableError, "disabled"),
    ("KMS.KMSInvalidStateException", 400, KeyUnavailableError, "state"),
    ("KMS.NotFoundException", 400, KeyUnavailableError, "no such key"),
    ("KMS.SomethingNew", 400, KeyUnavailableError, "SomethingNew"),
]
KMS_REPLIES: list[tuple[str, type[S3CryptError], str]] = [
    ("DisabledException", KeyUnavailableError, "disabled"),
    ("KMSInvalidStateException", KeyUnavailableError, "state"),
    ("NotFoundException", KeyUnavailableError, "no such key"),
    ("KeyUnavailableException", KeyUnavailableError, "not available"),
    ("ThrottlingException", KeyUnavailableError, "throttled"),
    ("InvalidKeyUsageException", KeyUnavailableError, "cannot wrap"),
    ("AccessDeniedException", KeyUnavailableError, "access denied"),
    ("ExpiredTokenException", KeyUnavailableError, "expired"),
    ("InvalidSignatureException", KeyUnavailableError, "secret key is wrong"),
    ("UnrecognizedClientException", KeyUnavailableError, "access key is unknown"),
    ("SomethingNew", KeyUnavailableError, "SomethingNew"),
    ("InvalidCiphertextException", IntegrityError, "could not unwrap"),
    ("IncorrectKeyException", IntegrityError, "a KMS key other than"),
]


@pytest.mark.parametrize(("code", "status", "kind", "said"), S3_REPLIES)
def test_replies_of_s3(code: str, status: int, kind: type[S3CryptError], said: str) -> None:
    """Each error code of S3 raises the expected class, with the code and the request id."""
    error = translate(reply(code, status), "s3://b/x")
    assert type(error) is kind
    assert str(error).startswith("s3://b/x: ")
    assert said in str(error)
    assert (error.code, error.request_id) == (code, "ID1")


@pytest.mark.parametrize(("code", "kind", "said"), KMS_REPLIES)
def test_replies_of_kms(code: str, kind: type[S3CryptError], said: str) -> None:
    """A key that cannot be used and data that is wrong raise different errors."""
    error = translate(reply(code), "KMS key k", KeyUnavailableError)
    assert type(error) is kind
    assert said in str(error)
    assert (error.code, error.request_id) == (code, "ID1")


def test_a_denied_key_is_told_apart_from_a_denied_object() -> None:
    """A denied key and a denied object raise different errors, although S3's code is the same.

    Only the message about a key names a kms: action.
    """
    message = "User: x is not authorized to perform: kms:Decrypt on resource: k"
    error = translate(reply("AccessDenied", 403, message), "s3://b/x")
    assert type(error) is KeyUnavailableError
    assert "kms:Decrypt" in str(error)
    assert "permission" in str(error.hint)


SKEWED: list[tuple[str, str, timedelta]] = [
    # One row each for S3's code, KMS's code, and the reply to a HEAD request, which has no body.
    ("RequestTimeTooSkewed", "The difference is too large.", timedelta()),
    ("InvalidSignatureException", "Signature expired: 20261128T0 is now earlier", timedelta()),
    ("InvalidSignatureException", "Signature not yet current: 20261128T0", timedelta()),
    ("403", "Forbidden", timedelta(hours=1)),
    ("403", "Forbidden", -timedelta(days=400)),
]


def refused_at(code: str, message: str, skew: timedelta) -> boto_errors.ClientError:
    """Return a 403 whose Date header differs from this machine's clock by `skew`."""
    refusal = reply(code, 403, message)
    date = format_datetime(datetime.now(UTC) + skew, usegmt=True)
    refusal.response["ResponseMetadata"]["HTTPHeaders"] = {"date": date}
    return refusal


@pytest.mark.parametrize(("code", "message", "skew"), SKEWED)
def test_a_wrong_clock_is_said(code: str, message: str, skew: timedelta) -> None:
    """A wrong clock is reported as such, not as a missing permission."""
    error = translate(refused_at(code, message, skew), "s3://b/x")
    assert "this machine's clock is wrong" in str(error)
    assert "permission" not in f"{error} {error.hint}"


@pytest.mark.parametrize("code", ["403", "AccessDenied", "SignatureDoesNotMatch"])
def test_a_right_clock_is_not_blamed(code: str) -> None:
    """A refusal is not attributed to the clock if the service's time is the same."""
    error = translate(refused_at(code, "no", timedelta(seconds=5)), "s3://b/x")
    assert "clock" not in f"{error} {error.hint}"


LOCAL: list[tuple[boto_errors.BotoCoreError, type[S3CryptError]]] = [
    (boto_errors.NoCredentialsError(), ConfigError),
    (boto_errors.PartialCredentialsError(provider="env", cred_var="X"), ConfigError),
    (boto_errors.UnauthorizedSSOTokenError(), ConfigError),
    (boto_errors.TokenRetrievalError(provider="sso", error_msg="x"), ConfigError),
    (boto_errors.NoRegionError(), ConfigError),
    (boto_errors.InvalidRegionError(region_name="?"), ConfigError),
    (boto_errors.ProfileNotFound(profile="x"), ConfigError),
    (boto_errors.ParamValidationError(report="x"), ConfigError),
    (boto_errors.ConfigParseError(path="x", error=OSError()), ConfigError),
    (boto_errors.InvalidConfigError(error_msg="x"), ConfigError),
    (boto_errors.CredentialRetrievalError(provider="x", error_msg="x"), ConfigError),
    (boto_errors.MetadataRetrievalError(error_msg="x"), ConfigError),
    (boto_errors.RefreshWithMFAUnsupportedError(), ConfigError),
    (boto_errors.LoginRefreshRequired(), ConfigError),
    (boto_errors.EndpointResolutionError(msg="x"), ConfigError),
    (boto_errors.UnsupportedS3AccesspointConfigurationError(msg="x"), ConfigError),
    (boto_errors.FlexibleChecksumError(error_msg="x"), StorageError),
    (boto_errors.EndpointConnectionError(endpoint_url="http://x"), StorageError),
    (boto_errors.ConnectTimeoutError(endpoint_url="http://x"), StorageError),
    (boto_errors.ReadTimeoutError(endpoint_url="http://x"), StorageError),
    (boto_errors.ConnectionClosedError(endpoint_url="http://x"), StorageError),
    (boto_errors.SSLError(endpoint_url="https://x", error=OSError()), StorageError),
    (boto_errors.ProxyConnectionError(proxy_url="http://x"), StorageError),
    (boto_errors.DataNotFoundError(data_path="x"), StorageError),
]


@pytest.mark.parametrize(("local", "kind"), LOCAL, ids=lambda value: type(value).__name__)
def test_what_goes_wrong_before_a_reply(
    local: boto_errors.BotoCoreError, kind: type[S3CryptError]
) -> None:
    """A wrong set-up is a ConfigError; a network failure is a storage or key error with a hint."""
    with pytest.raises(kind) as caught, map_aws_errors("s3://b/x"):
        raise local
    assert caught.value.__cause__ is local
    assert caught.value.hint or isinstance(
        local,
        boto_errors.ParamValidationError
        | boto_errors.DataNotFoundError
        | boto_errors.FlexibleChecksumError,
    )
    network = isinstance(local, boto_errors.ConnectionError | boto_errors.HTTPClientError)
    if network:
        assert type(translate(local, "k", KeyUnavailableError)) is KeyUnavailableError


def test_what_is_not_botocores_passes() -> None:
    """Our own errors and the caller's errors are not wrapped."""
    for error in (IntegrityError("x"), ZeroDivisionError(), OSError()):
        with pytest.raises(type(error)) as caught, map_aws_errors("s3://b/x"):
            raise error
        assert caught.value is error


# --- From end to end -------------------------------------------------------------------------


def test_code_request_id_and_cause_are_reachable(bucket: str) -> None:
    """An error carries the code, the request id and botocore's error, for AWS support."""
    with pytest.raises(ObjectNotFoundError) as caught:
        connect(SSES3()).read(f"s3://{bucket}/none")
    assert caught.value.code == "NoSuchKey"
    cause = caught.value.__cause__
    assert isinstance(cause, boto_errors.ClientError)
    assert caught.value.request_id == cause.response["ResponseMetadata"]["RequestId"]


VERBS: list[Callable[[S3Crypt], Any]] = [
    lambda store: store.put(b"x", "s3://bucket/x"),
    lambda store: store.put(payload(PART + 1), "s3://bucket/x"),
    lambda store: store.read("s3://bucket/x"),
    lambda store: store.inspect("s3://bucket/x"),
    lambda store: list(store.list("s3://bucket/x")),
    lambda store: store.delete("s3://bucket/x"),
    lambda store: store.rotate("s3://bucket/x", to=SSES3()),
    lambda store: store.rotate("s3://bucket/", to=SSES3()),
    lambda store: store.needs_rotation("s3://bucket/x", to=SSES3()),
]


@pytest.mark.parametrize("verb", VERBS)
def test_no_credentials_is_one_error_for_every_verb(
    verb: Callable[[S3Crypt], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Without credentials every verb raises a ConfigError with a hint."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="credentials") as caught:
        verb(S3Crypt(SSES3()))
    assert "aws configure" in str(caught.value.hint)


@pytest.mark.parametrize("verb", VERBS)
def test_an_unreachable_service_is_one_error_for_every_verb(
    verb: Callable[[S3Crypt], Any],
) -> None:
    """If S3 cannot be reached, every verb raises a StorageError with a hint."""
    once: Any = Config(retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=once)
    with pytest.raises(StorageError, match="Could not reach") as caught:
        verb(S3Crypt(SSES3(), client=client))
    assert caught.value.hint


def test_an_unreachable_kms_is_an_unavailable_key(bucket: str) -> None:
    """If KMS cannot be reached, the error is about the key and not about the object."""
    once: Any = Config(retries={"total_max_attempts": 1})
    client = boto3.client("kms", endpoint_url="http://127.0.0.1:9", config=once)
    store = connect(ClientSide(KMSKeyring("alias/x", client=client)))
    with pytest.raises(KeyUnavailableError, match="Could not reach"):
        store.put(b"x", f"s3://{bucket}/x")


@pytest.mark.parametrize("verb", VERBS)
def test_a_bucket_of_another_region_is_explained(
    verb: Callable[[S3Crypt], Any], sandbox: Running, session: Any
) -> None:
    """The hint names the setting to change if botocore cannot find the bucket's Region."""

    def spoil(_: Asked, __: Callable[[], Answer]) -> Answer:
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>"
        return Answer(400, {}, body)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        once: Any = Config(retries={"total_max_attempts": 1})
        client = session.client("s3", endpoint_url=relay.url, config=once)
        with pytest.raises(StorageError) as caught:
            verb(S3Crypt(SSES3(), client=client))
    # The reply to a HEAD request has no body, so it has no error code.
    assert "AWS_DEFAULT_REGION" in str(caught.value.hint) or caught.value.code == "400"


def test_botocore_finds_a_buckets_region(bucket: str, session: Any) -> None:
    """A client of another Region reaches the bucket by botocore's redirect, also for parts."""
    store = S3Crypt(SSES3(), client=session.client("s3", region_name="eu-west-1"))
    store.put(payload(PART + 1), f"s3://{bucket}/x")
    assert store.read(f"s3://{bucket}/x") == payload(PART + 1)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_ENDPOINT_URL_S3", "nonsense"),
        ("AWS_DEFAULT_PROFILE", "no-such-profile"),
        ("AWS_DEFAULT_REGION", "not a region"),
        ("AWS_MAX_ATTEMPTS", "many"),
        ("AWS_RETRY_MODE", "sometimes"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "maybe"),
    ],
)
def test_nonsense_in_the_environment_is_a_config_error(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the wrong variable, also if botocore raises a bare ValueError."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        S3Crypt(SSES3()).read("s3://bucket/x")
    check_is_one_line(caught.value)
    assert variable in f"{caught.value} {caught.value.hint}"
    assert is_for_all(caught.value)


# Content of the configuration file -> the part of the error that names the mistake.
CONFIGURATIONS: dict[str, str] = {
    "[profile broken\n": "config cannot be read, line 1",
    "[default]\nregion = us-east-1\nwithout a value\n": "config cannot be read, line 3",
    "[default]\n[default]\n": "config cannot be read, line 2",
    "[default]\nregion = \xff\n": "config cannot be read",
    "[default]\ns3 =\n  without a value\n": "config cannot be read",
    "[default]\ncredential_process = /absent/program\n": "/absent/program that the settings name",
    "[default]\ncredential_process = sh -c 'echo first >&2; echo no >&2; exit 1'\n": (
        "credential_process failed: first no."
    ),
    "[default]\ncredential_process = false\n": "credential_process failed: it printed no message",
    "[default]\ncredential_process = echo hunter2\n": "credential_process did not print JSON",
    "[default]\ncredential_process = 'unclosed\n": "No closing quotation",
    "[default]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = absent\n": (
        'source_profile "absent"'
    ),
    "[default]\nretry_mode = sometimes\n": "AWS_RETRY_MODE",
    "[default]\nmax_attempts = many\n": "'many'",
    "[default]\ns3 =\n  addressing_style = round\n": "addressing style round",
}


@pytest.mark.parametrize("content", CONFIGURATIONS)
def test_nonsense_in_the_configuration_file_is_a_config_error(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line that names the setting or the file, and contains no credentials."""
    path = tmp_path / "config"
    path.write_bytes(content.encode("latin-1"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    with pytest.raises(ConfigError) as caught:
        S3Crypt(SSES3()).read("s3://bucket/x")
    check_is_one_line(caught.value)
    assert CONFIGURATIONS[content] in str(caught.value)
    assert str(path) in f"{caught.value} {caught.value.hint}"
    assert is_for_all(caught.value)
    cause: BaseException | None = caught.value
    while cause is not None:
        assert "hunter2" not in f"{cause} {vars(cause)}"
        cause = cause.__cause__


@pytest.mark.parametrize(
    "make",
    [
        lambda: session_of(None, "us-east-1"),
        lambda: S3CryptFileSystem(encryption="sse-s3", region="us-east-1").ls("bucket"),
    ],
    ids=["session", "file system"],
)
def test_a_broken_configuration_file_of_a_profile(
    make: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session for a profile and a Region reports a broken configuration file."""
    (tmp_path / "config").write_text("[profile broken\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(ConfigError, match="config cannot be read, line 1"):
        make()


def test_a_missing_token_file_ends_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token file is read when the first request is signed; its absence is a ConfigError."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/reports")
    with pytest.raises(ConfigError, match="absent that the settings name cannot be used") as caught:
        S3Crypt(SSES3()).read("s3://bucket/x")
    assert caught.value.hint == "Check AWS_WEB_IDENTITY_TOKEN_FILE."
    assert is_for_all(caught.value)


def check_is_one_line(error: ConfigError) -> None:
    """Check that neither an error nor its hint has a line break."""
    assert "\n" not in f"{error}{error.hint}"
    assert error.hint


def test_no_region_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Region KMS requests raise a ConfigError; for S3 there is a default."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ConfigError, match="region") as caught:
        KMSKeyring("alias/x").generate(32, {})
    assert "AWS_DEFAULT_REGION" in str(caught.value.hint)


def test_a_missing_kms_key_is_named(bucket: str) -> None:
    """The error for a missing key is the same from S3 (SSE-KMS) and from KMS (client-side)."""
    missing = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    for mode in (SSEKMS(missing), ClientSide(kms_keyring(missing))):
        with pytest.raises(KeyUnavailableError, match="no such key") as caught:
            connect(mode).put(b"x", f"s3://{bucket}/x")
        assert str(caught.value.code).endswith("NotFoundException")


def test_a_denied_kms_key_is_named(bucket: str, kms_key: str, kms: Any) -> None:
    """A denial by a key policy raises the same class of error from S3 and from KMS."""
    allow = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    deny = {**allow, "Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow, deny]})
    kms.put_key_policy(KeyId=kms_key, PolicyName="default", Policy=policy)
    for mode in (SSEKMS(kms_key), ClientSide(kms_keyring(kms_key))):
        with pytest.raises(KeyUnavailableError, match="kms:GenerateDataKey") as caught:
            connect(mode).put(b"x", f"s3://{bucket}/x")
        assert "permission" in str(caught.value.hint)


def test_a_key_pending_deletion_can_still_be_saved(bucket: str, kms_key: str, kms: Any) -> None:
    """The hint for a key pending deletion says that the deletion can be cancelled."""
    connect(ClientSide(kms_keyring(kms_key))).put(b"x", f"s3://{bucket}/x")
    kms.schedule_key_deletion(KeyId=kms_key, PendingWindowInDays=7)
    with pytest.raises(KeyUnavailableError, match="pending deletion") as caught:
        connect(ClientSide(kms_keyring(kms_key))).read(f"s3://{bucket}/x")
    assert "Cancel" in str(caught.value.hint)


def test_a_server_error_keeps_its_code(sandbox: Running, session: Any, bucket: str) -> None:
    """A server error keeps its code and request id after the last retry."""

    def spoil(_: Asked, __: Callable[[], Answer]) -> Answer:
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce</Message></Error>"
        return Answer(503, {"x-amz-request-id": "R1"}, body)

    with relaying(sandbox.endpoint_url, spoil) as relay:
        once: Any = Config(retries={"total_max_attempts": 1})
        client = session.client("s3", endpoint_url=relay.url, config=once)
        with pytest.raises(StorageError, match="SlowDown: Please reduce") as caught:
            S3Crypt(SSES3(), client=client).read(f"s3://{bucket}/x")
    assert (caught.value.code, caught.value.request_id) == ("SlowDown", "R1")


def test_clients_are_made_once_per_region(session: Any) -> None:
    """A process makes one client per Region."""
    clients: Clients[KMSClient] = Clients("kms", session=session)
    assert clients.get() is clients.get()
    assert clients.get("eu-west-1") is not clients.get()
    assert clients.get("eu-west-1").meta.region_name == "eu-west-1"


def test_a_hint_names_no_variable_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint does not name a variable of credentials, even if its value is in the message."""
    monkeypatch.setenv("AWS_PROFILE", "same-text")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "same-text")
    with pytest.raises(ConfigError) as caught, map_aws_errors("the S3 client"):
        raise boto_errors.ProfileNotFound(profile="same-text")
    assert caught.value.hint == "Check AWS_PROFILE. See `aws configure list-profiles`."


@pytest.mark.parametrize("operation", ["put", "read", "inspect", "delete"])
def test_a_redirect_that_names_no_region_is_not_repeated(
    operation: str, session: boto3.Session
) -> None:
    """A redirect without a Region is an error: a proxy may redirect each request to https://."""

    def redirect(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        del forward
        headers = {"location": f"https://s3.example.com{asked.path}", "content-length": "0"}
        return Answer(301, headers, b"")

    with relaying("http://127.0.0.1:9", redirect) as server:
        store = S3Crypt(SSES3(), client=session.client("s3", endpoint_url=server.url))
        calls: dict[str, Callable[[], Any]] = {
            "put": lambda: store.put(b"plain", "s3://acme/x"),
            "read": lambda: store.read("s3://acme/x"),
            "inspect": lambda: store.inspect("s3://acme/x"),
            "delete": lambda: store.delete("s3://acme/x"),
        }
        with pytest.raises(StorageError, match="redirect that names no Region") as refused:
            calls[operation]()
        assert "endpoint URL" in str(refused.value.hint)
        assert is_for_all(refused.value)
        # botocore alone would follow the redirect until Python's stack overflows.
        assert len(server.asked) < 200
