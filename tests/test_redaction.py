# SPDX-License-Identifier: Apache-2.0
"""Botocore's log records at DEBUG contain no customer key, data key or session token."""

from __future__ import annotations

import base64
import io
import json
import logging
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import boto3
import botocore.awsrequest
import botocore.session
import pytest
import urllib3
from samples import FRAME, payload

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    CachingKeyring,
    ClientSide,
    ConfigError,
    KeyManager,
    KMSKeyring,
    MultiKeyring,
    S3Crypt,
    redaction,
)
from s3crypt.errors import S3CryptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# These characters are escaped in a `repr`, so the key has a different text there.
NASTY = b"'\"\\\n\r\x00"
OLD_KEY = NASTY + random.Random("old").randbytes(26)
NEW_KEY = random.Random("new").randbytes(26) + NASTY
TOKEN = base64.b64encode(random.Random("token").randbytes(120)).decode()
SECRET_KEY = base64.b64encode(random.Random("secret").randbytes(30)).decode()


@dataclass
class Planted:
    """A session with known credentials, and all secrets that the logs must not contain."""

    session: boto3.Session
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def make(cls) -> Planted:
        """Return an instance that also collects the data keys its KMS clients send and receive."""
        session = boto3.Session("AKIAPLANTED", SECRET_KEY, TOKEN)
        planted = cls(session)
        planted.secrets = {
            "the old customer key": OLD_KEY,
            "the new customer key": NEW_KEY,
            "the session token": TOKEN.encode(),
            "the secret access key": SECRET_KEY.encode(),
            "the plaintext": payload(1000)[100:140],
        }
        session.events.register("after-call.kms", planted._collect)
        session.events.register("provide-client-params.kms", planted._collect)
        return planted

    def _collect(self, **told: Any) -> None:
        for part in ("params", "parsed"):
            if data_key := (told.get(part) or {}).get("Plaintext"):
                self.secrets[f"data key {data_key.hex()}"] = bytes(data_key)

    def found_in(self, text: str) -> set[str]:
        """Return the names of the secrets that the text contains, whole or half, in any form."""
        return {
            "a data key" if name.startswith("data key") else name
            for name, secret in self.secrets.items()
            if any(piece in text for form in forms(secret) for piece in halves(form))
        }


def forms(secret: bytes) -> set[str]:
    """Return the forms in which a text may contain this secret."""
    encoded = base64.b64encode(secret).decode()
    texts = {
        secret.decode("latin-1"),
        repr(secret)[2:-1],
        encoded,
        base64.urlsafe_b64encode(secret).decode(),
        secret.hex(),
        secret.hex().upper(),
        secret.hex(" "),
    }
    texts |= {json.dumps(text)[1:-1] for text in texts}
    return texts | {method(text) for text in texts for method in (quote, quote_plus, repr)}


def halves(form: str) -> tuple[str, str]:
    """Return both halves of a form, to detect a secret that was replaced only in part."""
    middle = len(form) // 2
    return form[:middle], form[middle:]


class Collector(logging.Handler):
    """A log handler that keeps every text that a handler may output for a record."""

    def __init__(self) -> None:
        super().__init__()
        self.formatted: list[str] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the formatted text, and the raw message and arguments, which some handlers send."""
        self.formatted.append(self.format(record))
        self.texts.append(f"{self.formatted[-1]}\n{record.msg}\n{record.args!r}")

    @property
    def text(self) -> str:
        """Return all collected text."""
        return "\n".join(self.texts)


@contextmanager
def logged() -> Iterator[Collector]:
    """Collect every log record of the process, at DEBUG, during the block."""
    collector, root = Collector(), logging.getLogger()
    before = root.level
    root.addHandler(collector)
    root.setLevel(logging.DEBUG)
    try:
        yield collector
    finally:
        root.setLevel(before)
        root.removeHandler(collector)


@pytest.fixture
def without_filter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the filter from every logger for the duration of a test."""
    redaction.install()
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    filtered = [logger for logger in loggers if _ours(logger)]
    assert filtered
    for logger in filtered:
        logger.removeFilter(_ours(logger)[0])
    monkeypatch.setattr(redaction, "install", lambda: None)
    yield
    monkeypatch.undo()
    redaction.install()
    assert all(_ours(logger) for logger in filtered)


def _ours(logger: logging.Logger) -> list[Any]:
    return [each for each in logger.filters if isinstance(each, redaction.RedactingFilter)]


@dataclass(frozen=True)
class Setting:
    """The bucket, keys and session that a logged operation uses."""

    session: boto3.Session
    uri: str
    kms_key: str
    new_key: str

    def store(self, mode: Any = None) -> S3Crypt:
        """Return a store that uses the planted session."""
        return S3Crypt(mode, session=self.session)

    def keyring(self, key: str | None = None) -> KMSKeyring:
        """Return a KMS keyring that uses the planted session."""
        return KMSKeyring(key or self.kms_key, session=self.session)


def put_and_get(setting: Setting, mode: Any, size: int = 1000) -> None:
    """Put, read, head, inspect and open one object, in a mode that sends keys."""
    store, body = setting.store(mode), payload(size)
    store.put(body, setting.uri)
    assert store.read(setting.uri) == body
    store.head(setting.uri)
    store.inspect(setting.uri)
    with store.open(setting.uri) as file:
        assert file.read(10) == body[:10]
    with store.open(setting.uri, "wb") as file:
        file.write(body)


def sse_c(setting: Setting) -> None:
    """Put, get, head and open with a customer key."""
    put_and_get(setting, SSEC(OLD_KEY))


def sse_c_in_parts(setting: Setting) -> None:
    """Upload parts and fetch ranges with a customer key."""
    put_and_get(setting, SSEC(OLD_KEY), 17 * 2**20)


def sse_c_refused(setting: Setting) -> None:
    """Read with the wrong customer key, so S3 replies with an error."""
    setting.store(SSEC(OLD_KEY)).put(b"x", setting.uri)
    with pytest.raises(S3CryptError):
        setting.store(SSEC(NEW_KEY)).read(setting.uri)


def sse_c_to_sse_c(setting: Setting) -> None:
    """Rotate an object from one customer key to another, by a copy onto itself."""
    setting.store(SSEC(OLD_KEY)).put(b"x", setting.uri)
    setting.store(SSEC(OLD_KEY)).rotate(setting.uri, to=SSEC(NEW_KEY))


def sse_c_to_client_side(setting: Setting) -> None:
    """Re-encrypt client-side an object that a customer key encrypts."""
    setting.store(SSEC(OLD_KEY)).put(b"x", setting.uri)
    setting.store(SSEC(OLD_KEY)).rotate(setting.uri, to=ClientSide(setting.keyring()))


def sse_kms(setting: Setting) -> None:
    """Let S3 encrypt with a KMS key: no key is sent, but the session token is."""
    put_and_get(setting, SSEKMS(setting.kms_key))


def client_side(setting: Setting) -> None:
    """Put and get client-side: KMS generates and decrypts the data key."""
    put_and_get(setting, ClientSide(setting.keyring()), 3 * FRAME)


def client_side_in_metadata(setting: Setting) -> None:
    """Put and rotate with the wrapped key in the metadata: KMS generates and re-encrypts it."""
    mode = ClientSide(setting.keyring(), key_location="metadata")
    put_and_get(setting, mode)
    to = ClientSide(setting.keyring(setting.new_key), key_location="metadata")
    assert setting.store(mode).rotate(setting.uri, to=to)[0].action == "rewrapped"


def several_keys(setting: Setting) -> None:
    """Put under several keys.

    The Encrypt request to KMS contains the plaintext of the data key.
    """
    local = AESKeyring("tests", "local", random.Random("local").randbytes(32))
    keyring = MultiKeyring(local, setting.keyring(), setting.keyring(setting.new_key))
    setting.store(ClientSide(keyring)).put(b"x", setting.uri)
    assert setting.store(ClientSide(setting.keyring())).read(setting.uri) == b"x"


def caching(setting: Setting) -> None:
    """Put and get with a CachingKeyring."""
    keyring = CachingKeyring(setting.keyring(), max_age=60)
    put_and_get(setting, ClientSide(keyring, bind_name=False))


def discovery(setting: Setting) -> None:
    """Read with a keyring that finds any KMS key of the account."""
    setting.store(ClientSide(setting.keyring())).put(b"x", setting.uri)
    account = setting.kms_key.split(":")[4]
    found = KMSKeyring.discovery(accounts=[account], session=setting.session)
    assert setting.store(ClientSide(found)).read(setting.uri) == b"x"


def key_manager(setting: Setting) -> None:
    """Show a key: the request is signed with the session token."""
    KeyManager(session=setting.session).show(setting.kms_key)


def someone_elses_boto3(setting: Setting) -> None:
    """Send secrets with the caller's own resources, transfers and KMS clients."""
    redaction.install()
    bucket, name = setting.uri.removeprefix("s3://").split("/")
    resource = setting.session.resource("s3").Object(bucket, name)
    key: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": OLD_KEY}
    resource.put(Body=b"x", **key)
    resource.upload_fileobj(io.BytesIO(b"x" * 10**7), ExtraArgs={**key, "SSECustomerKey": NEW_KEY})
    kms = setting.session.client("kms")
    blob = kms.encrypt(KeyId=setting.kms_key, Plaintext=NASTY + b"of my own, and long")
    kms.decrypt(CiphertextBlob=blob["CiphertextBlob"])
    url = setting.session.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": name}
    )
    assert quote(TOKEN, safe="") in url
    urllib3.PoolManager().request("GET", url)


TOKENS = {"the session token"}
OLD, NEW, DATA = {"the old customer key"}, {"the new customer key"}, {"a data key"}
OPERATIONS: dict[Callable[[Setting], None], set[str]] = {
    sse_c: TOKENS | OLD,
    sse_c_in_parts: TOKENS | OLD,
    sse_c_refused: TOKENS | OLD | NEW,
    sse_c_to_sse_c: TOKENS | OLD | NEW,
    sse_c_to_client_side: TOKENS | OLD | DATA,
    sse_kms: TOKENS,
    client_side: TOKENS | DATA,
    client_side_in_metadata: TOKENS | DATA,
    several_keys: TOKENS | DATA,
    caching: TOKENS | DATA,
    discovery: TOKENS | DATA,
    key_manager: TOKENS,
    someone_elses_boto3: TOKENS | OLD | NEW | DATA,
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)


@pytest.fixture
def planted() -> Planted:
    """Return a session with planted credentials."""
    return Planted.make()


@pytest.fixture
def setting(planted: Planted, bucket: str, kms_key: str, new_key: str) -> Setting:
    """Return the setting of an operation: a bucket, two keys and the planted session."""
    return Setting(planted.session, f"s3://{bucket}/object", kms_key, new_key)


@each_operation
def test_no_secret_is_logged(
    operation: Callable[[Setting], None], setting: Setting, planted: Planted
) -> None:
    """No operation logs a secret or half of it, in any encoding.

    Other parts of the records stay.
    """
    with logged() as records:
        operation(setting)
    assert planted.found_in(records.text) == set()
    assert redaction.REDACTED in records.text
    assert "Making request for" in records.text
    assert "x-amz-date" in records.text


@each_operation
@pytest.mark.usefixtures("without_filter")
def test_without_the_filter_the_same_look_finds_them(
    operation: Callable[[Setting], None], setting: Setting, planted: Planted
) -> None:
    """Control test: without the filter, the same search finds exactly the expected secrets."""
    with logged() as records:
        operation(setting)
    assert planted.found_in(records.text) == OPERATIONS[operation]


HEADER = "x-amz-server-side-encryption-customer-key"
SHAPES: dict[str, tuple[object, str]] = {
    "a dictionary": ({"SSECustomerKey": "AAAA", "Key": "n"}, "{'SSECustomerKey': '*', 'Key': 'n'}"),
    "bytes": ({"Plaintext": b"\x00'\"\\", "KeyId": "k"}, "{'Plaintext': b'*', 'KeyId': 'k'}"),
    "a bytearray": ({"Plaintext": bytearray(b"AA")}, "{'Plaintext': bytearray(b'*')}"),
    "pairs": ([("SecretAccessKey", "AA"), ("b", "c")], "[('SecretAccessKey', '*'), ('b', 'c')]"),
    "a list": ({"X-Amz-Security-Token": ["AA"]}, "{'X-Amz-Security-Token': ['*']}"),
    "nothing": ({"SSECustomerKey": None}, "{'SSECustomerKey': *}"),
    "JSON": (b'{"Plaintext": "AA==", "KeyId": "k"}', "b'{\"Plaintext\": \"*\", \"KeyId\": \"k\"}'"),
    "JSON in JSON": (r'{"a": "{\"Plaintext\": \"AA\"}"}', r'{"a": "{\"Plaintext\": \"*\"}"}'),
    "JSON that ends early": (b'{"Plaintext": "AA', "b'{\"Plaintext\": \"*\""),
    "XML": ("<SecretAccessKey>A&#x2F;A</SecretAccessKey>", "<SecretAccessKey>*</SecretAccessKey>"),
    "a canonical request": (f"{HEADER}:AA=\n{HEADER}-md5:BB=", f"{HEADER}:*\n{HEADER}-md5:BB="),
    "a list of headers": (f"host;{HEADER};{HEADER}-md5", f"host;{HEADER};{HEADER}-md5"),
    "a query": ("/a?X-Amz-Security-Token=AA%2F&b=c", "/a?X-Amz-Security-Token=*&b=c"),
    "other tokens": ({"NextToken": "AA", "Token": "BB"}, "{'NextToken': 'AA', 'Token': '*'}"),
    "an argument that S3 refused": (
        f"<ArgumentName>{HEADER}</ArgumentName><ArgumentValue>AA</ArgumentValue>",
        f"<ArgumentName>{HEADER}</ArgumentName><ArgumentValue>*</ArgumentValue>",
    ),
    "the same, parsed": (
        {"ArgumentName": HEADER, "ArgumentValue": "AA"},
        f"{{'ArgumentName': '{HEADER}', 'ArgumentValue': '*'}}",
    ),
    "what S3 says was signed": (
        f"<CanonicalRequest>{HEADER}:AA&#xA;b<CanonicalRequestBytes>47 45</CanonicalRequestBytes>",
        f"<CanonicalRequest>{HEADER}:*&#xA;b<CanonicalRequestBytes>*</CanonicalRequestBytes>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_value_is_replaced(shape: str) -> None:
    """In each shape of a logged value, only the secret is replaced."""
    argument, expected = SHAPES[shape]
    assert _logged_by("%s", argument) == expected.replace("*", redaction.REDACTED)


def test_a_request_is_an_argument() -> None:
    """If a request is a log argument, its secret headers are replaced."""
    headers: Any = botocore.awsrequest.HeadersDict({HEADER: "AAAA", "Host": "acme"})
    request = botocore.awsrequest.AWSPreparedRequest("PUT", "http://acme/", headers, b"", False)
    text = _logged_by("Sending http request: %s", request)
    assert "AAAA" not in text
    assert "'Host': 'acme'" in text


def test_a_dictionary_may_be_all_arguments() -> None:
    """If the only log argument is a dictionary, the message may refer to its keys by name."""
    assert _logged_by("key %(SSECustomerKey)s of %(Key)s", {"SSECustomerKey": 1, "Key": 2}) == (
        "key 1 of 2"
    )
    assert "AA" not in _logged_by("SSECustomerKey=%(a)s", {"a": "AA"})


class Unreadable:
    """A log argument that cannot be converted to text."""

    def __str__(self) -> str:
        raise RuntimeError("AAAA")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [("%s", (Unreadable(),)), ("%s %s", ("AAAA",)), ("%d", ("AAAA",))],
    ids=["unreadable", "too few", "of another type"],
)
def test_a_broken_record_neither_raises_nor_shows_its_arguments(
    message: str, arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that cannot be formatted is replaced: logging would print its arguments."""
    text = _logged_by(message, *arguments)
    assert "no readable message" in text
    assert "AAAA" not in text + capsys.readouterr().err


def test_tracebacks_are_redacted() -> None:
    """Secrets in a traceback are replaced: an exception's text may quote a reply."""
    redaction.install()
    error = ValueError('invalid JSON: {"Plaintext": "AAAA')
    with logged() as records:
        logging.getLogger("botocore.parsers").debug("failed", exc_info=error)
    assert "AAAA" not in records.text
    assert "ValueError: invalid JSON" in records.text


def test_records_without_secrets_are_left_as_they_are() -> None:
    """A record without secrets keeps its message and its arguments."""
    record = logging.LogRecord("botocore", logging.DEBUG, "", 0, "%s of %s", (1, "b"), None)
    assert redaction.RedactingFilter().filter(record)
    assert (record.msg, record.args) == ("%s of %s", (1, "b"))


def test_nothing_is_formatted_below_debug() -> None:
    """If a logger's level is above DEBUG, the filter formats no DEBUG record."""
    redaction.install()
    logger = logging.getLogger("botocore.endpoint")
    assert not logger.isEnabledFor(logging.DEBUG)
    seen: list[object] = []

    class Watched:
        def __str__(self) -> str:
            seen.append(self)
            return ""

    logger.debug("%s", Watched())
    assert seen == []


def test_every_logger_has_the_filter_once() -> None:
    """Installing the filter several times adds it once, also to loggers that do not exist yet.

    Levels and handlers stay unchanged.
    """
    names = ["botocore", "botocore.endpoint", "botocore.retries.adaptive", "s3transfer.crt"]
    before = [(logging.getLogger(name).level, logging.getLogger(name).handlers) for name in names]
    for _ in range(3):
        redaction.install()
    loggers = [logging.getLogger(name) for name in names]
    assert [len(_ours(logger)) for logger in loggers] == [1] * len(names)
    assert [(logger.level, logger.handlers) for logger in loggers] == before


def test_all_that_logs_is_known() -> None:
    """Every existing logger of botocore, boto3, s3transfer and urllib3 has the filter."""
    redaction.install()
    packages = {"botocore", "boto3", "s3transfer", "urllib3"}
    loggers = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if name.split(".")[0] in packages and isinstance(logger, logging.Logger)
    ]
    assert len(loggers) > len(packages)
    assert [logger.name for logger in loggers if not _ours(logger)] == []


@pytest.mark.usefixtures("without_filter")
@pytest.mark.parametrize("make", [KMSKeyring, KeyManager, S3Crypt], ids=lambda each: each.__name__)
def test_a_given_client_installs_the_filter(
    make: Any, session: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter is also installed if the caller passes a client."""
    monkeypatch.undo()
    client: Any = session.client("s3" if make is S3Crypt else "kms")
    assert not _ours(logging.getLogger("botocore.endpoint"))
    if make is KMSKeyring:
        make("alias/any", client=client)
    else:
        make(client=client)
    assert _ours(logging.getLogger("botocore.endpoint"))


# Members that botocore's models mark as sensitive, and that are logged: they are neither keys nor
# credentials.
SHOWN = {
    "AccessKeyId",  # an identifier
    "PublicKey",
    "Message",  # of kms:Sign and kms:GenerateMac, which are not used here
    "KMSKeyArn", "KMSKeyId", "KMSMasterKeyID", "KeyId", "SSEKMSKeyId",  # names of keys
    "SSEKMSEncryptionContext",  # never secret
    "Issuer", "Subject", "SubjectType", "TrustedIdentityPropagationContext",  # names of users
}  # fmt: skip


def test_what_the_models_call_sensitive_is_redacted() -> None:
    """Each member that botocore's models mark as sensitive is replaced or is in SHOWN."""
    session = botocore.session.get_session()
    found: set[str] = set()
    for service in ("kms", "s3", "sts", "sso", "sso-oidc"):
        model = session.get_service_model(service)
        for name in model.operation_names:
            operation = model.operation_model(name)
            for shape in filter(None, (operation.input_shape, operation.output_shape)):
                found |= _sensitive(shape, frozenset())
    assert {"Plaintext", "SSECustomerKey", "SessionToken", "sessionToken"} <= found
    hidden = {name for name in found if "AA" not in redaction.redacted(f"{{'{name}': 'AA'}}")}
    assert found - hidden == SHOWN


def _sensitive(shape: Any, above: frozenset[str]) -> set[str]:
    if shape.name in above:
        return set()
    above |= {shape.name}
    if shape.type_name == "list":
        return _sensitive(shape.member, above)
    if shape.type_name != "structure":
        return set()
    return {
        name for name, member in shape.members.items() if member.metadata.get("sensitive")
    }.union(*(_sensitive(member, above) for member in shape.members.values()))


def _logged_by(message: str, *arguments: object) -> str:
    """Log a message as botocore does. Return the text that a handler receives."""
    redaction.install()
    collector, logger = Collector(), logging.getLogger("botocore.endpoint")
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        logger.debug(message, *arguments)
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(collector)
    return collector.formatted[0]


def test_a_header_that_cannot_be_sent_is_not_repeated(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token with a line break is refused; neither the error nor a log shows it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "FIRSTHALF\nSECONDHALF")
    with logged() as collector, pytest.raises(ConfigError, match="cannot be sent") as caught:
        S3Crypt(SSES3()).put(b"data", f"s3://{bucket}/x")
    told = f"{caught.value} {caught.value.hint} {collector.text}"
    assert "FIRSTHALF" not in told
    assert "SECONDHALF" not in told
