# SPDX-License-Identifier: Apache-2.0
"""Keys are not sent to another machine over plain HTTP unless this is allowed explicitly.

The address 0.0.0.0 is not a loopback address, but connections to it still reach the sandbox.
"""

from __future__ import annotations

import pickle
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from samples import CUSTOMER_KEY, aes, connect, names
from tls import make_certificate, refusal, tls_relaying

from s3crypt import (
    SSEC,
    SSEKMS,
    SSES3,
    ClientSide,
    ConfigError,
    KeyManager,
    KMSKeyring,
    S3Crypt,
    S3CryptError,
)
from s3crypt.aws import Clients
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt.sandbox import Running

FAR = "http://0.0.0.0"


@pytest.fixture
def elsewhere(sandbox: Running) -> str:
    """Return an address of the sandbox that is not a loopback address."""
    return f"{FAR}:{urlsplit(sandbox.endpoint_url).port}"


@pytest.fixture
def kms_elsewhere(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make KMS clients use an address that is not a loopback address. Return the address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", elsewhere)
    return elsewhere


def refused(call: Callable[[], Any], requests_log: RequestsLog) -> None:
    """Check that a call fails with ConfigError before any request is sent."""
    requests_log.clear()
    with pytest.raises(ConfigError, match=r"over plain HTTP") as caught:
        call()
    assert "0.0.0.0" in str(caught.value)
    assert "allow_plain_http" in str(caught.value.hint)
    assert requests_log.list() == []


@pytest.mark.parametrize(
    "call",
    [
        "store.put(b'plain', uri)",
        "store.put(payload, uri)",
        "store.read(uri)",
        "store.open(uri)",
        "store.head(uri)",
        "store.inspect(uri)",
        "store.rotate(uri, to=SSEC(bytes(32)))",
        "S3Crypt(SSES3(), **how).rotate(uri, to=SSEC(bytes(32)))",
        "S3Crypt(**how)._objects.copy(at, ReadOptions(store.mode), at, SSES3(), {})",
    ],
)
@pytest.mark.parametrize("is_given", [False, True])
def test_customer_keys_stay_here(
    call: str,
    bucket: str,
    elsewhere: str,
    session: Any,
    requests_log: RequestsLog,
    *,
    is_given: bool,
) -> None:
    """No operation sends a customer key over plain HTTP, with s3crypt's client or the caller's."""
    from s3crypt.location import Location  # noqa: PLC0415
    from s3crypt.objects.opened import ReadOptions  # noqa: PLC0415

    uri = f"s3://{bucket}/x"
    connect(SSES3()).put(b"plain", uri)
    how: dict[str, Any] = {"session": session, "endpoint_url": elsewhere}
    if is_given:
        how = {"client": session.client("s3", endpoint_url=elsewhere)}
    scope = {
        "how": how,
        "store": S3Crypt(SSEC(CUSTOMER_KEY), **how),
        "uri": uri,
        "at": Location.parse(uri),
        "payload": bytes(20 * 2**20),
        **{thing.__name__: thing for thing in (S3Crypt, SSEC, SSES3, ReadOptions)},
    }
    requests_log.clear()
    with pytest.raises(
        ConfigError, match=r"Customer keys would be sent to 0\.0\.0\.0 over plain HTTP"
    ):
        eval(call, scope)
    sent = [entry["headers"] for entry in requests_log.list()]
    assert not [name for headers in sent for name in headers if "customer" in name.lower()]


def test_other_objects_go_over_plain_http(bucket: str, elsewhere: str, session: Any) -> None:
    """SSE-S3 and client-side objects may go over plain HTTP: their requests contain no key."""
    for mode in (SSES3(), ClientSide(aes())):
        store = S3Crypt(mode, session=session, endpoint_url=elsewhere)
        store.put(b"plain", f"s3://{bucket}/x")
        assert store.read(f"s3://{bucket}/x") == b"plain"
        assert [item.uri for item in store.list(f"s3://{bucket}")] == [f"s3://{bucket}/x"]


def test_customer_keys_go_where_that_is_allowed(bucket: str, elsewhere: str, session: Any) -> None:
    """With allow_plain_http, customer keys go over plain HTTP, also by the caller's client."""
    client = session.client("s3", endpoint_url=elsewhere)
    assert S3Crypt(client=client, allow_plain_http=True).client is client
    for how in ({"session": session, "endpoint_url": elsewhere}, {"client": client}):
        store = S3Crypt(SSEC(CUSTOMER_KEY), allow_plain_http=True, **how)
        store.put(b"plain", f"s3://{bucket}/x")
        assert store.read(f"s3://{bucket}/x") == b"plain"


@pytest.mark.usefixtures("kms_elsewhere")
def test_kms_is_not_asked_over_plain_http(
    session: Any, bucket: str, kms_key: str, requests_log: RequestsLog
) -> None:
    """Keyrings, discovery, key managers and stores make no KMS request over plain HTTP."""
    connect(SSES3()).put(b"plain", f"s3://{bucket}/x")
    client = session.client("kms")
    edks = aes().wrap(bytes(32), {})
    discovery = KMSKeyring.discovery(accounts=["123456789012"], session=session)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: KMSKeyring(kms_key, session=session).generate(32, {}),
        lambda: KMSKeyring(kms_key, session=session).wrap(bytes(32), {}),
        lambda: KMSKeyring(kms_key, client=client).generate(32, {}),
        lambda: KMSKeyring("alias/reports", session=session).arn,
        lambda: discovery._clients.get("us-east-1"),
        lambda: list(KeyManager(session=session).list()),
        lambda: KeyManager(client=client).create(),
        lambda: S3Crypt(SSEKMS("alias/reports"), session=session).rotate(
            f"s3://{bucket}/x", to=SSEKMS("alias/other")
        ),
    )
    assert edks
    for call in calls:
        refused(call, requests_log)


@pytest.mark.usefixtures("kms_elsewhere")
def test_kms_is_asked_where_that_is_allowed(session: Any, kms_key: str) -> None:
    """With allow_plain_http, KMS is used over plain HTTP; a pickled keyring keeps this setting."""
    keyring = KMSKeyring(kms_key, session=session, allow_plain_http=True)
    data_key = keyring.generate(32, {})
    found = KMSKeyring.discovery(
        accounts=[kms_key.split(":")[4]], session=session, allow_plain_http=True
    )
    assert found.unwrap(data_key.edks, {}, 32) == data_key.plaintext
    assert KeyManager(session=session, allow_plain_http=True).show(kms_key).arn == kms_key
    again = pickle.loads(pickle.dumps(KMSKeyring(kms_key, allow_plain_http=True)))
    assert again.unwrap(data_key.edks, {}, 32) == data_key.plaintext
    client = session.client("kms")
    assert KMSKeyring(kms_key, client=client, allow_plain_http=True).client is client


def is_refused(url: str, session: Any, proxies: dict[str, str] | None = None) -> bool:
    """Return whether a KMS client with this endpoint and these proxies is refused."""
    client = session.client("kms", endpoint_url=url, config=Config(proxies=proxies))
    try:
        Clients("kms", client=client).get()
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9000", False),
        ("http://127.255.0.9", False),
        ("http://[::1]:9000", False),
        ("http://localhost:9000", False),
        ("HTTP://LOCALHOST:9000", False),
        ("https://minio.example", False),
        ("https://0.0.0.0:9000", False),
        ("http://minio.example", True),
        ("http://127.0.0.1.example", True),
        ("http://localhost.example", True),
        ("http://128.0.0.1", True),
        ("http://[fe80::1]:9000", True),
        ("http://10.0.0.1", True),
        ("http://169.254.1.1", True),
    ],
)
def test_hosts(url: str, expected: bool, session: Any) -> None:
    """Plain HTTP is accepted only for 127.0.0.0/8, ::1 and localhost."""
    assert is_refused(url, session) is expected


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("http://proxy.example:3128", True),
        ("proxy.example:3128", True),
        ("http://127.0.0.1:3128", False),
    ],
)
def test_a_proxy_is_another_host(
    proxy: str,
    expected: bool,
    session: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain HTTP to this machine is refused if it goes through a proxy; HTTPS is accepted."""
    assert is_refused("http://127.0.0.1:9000", session, {"http": proxy}) is expected
    assert not is_refused("https://minio.example", session, {"http": proxy, "https": proxy})
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    assert is_refused("http://127.0.0.1:9000", session) is expected
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not is_refused("http://127.0.0.1:9000", session)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_leads_from_https_to_http(
    status: int,
    sandbox: Running,
    session: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A redirect by S3 or KMS from HTTPS to plain HTTP is not followed."""
    certificate = make_certificate(tmp_path / "both.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with relaying(sandbox.endpoint_url, lambda _, forward: forward()) as plain:

        def redirect(asked: Asked, forward: Callable[[], Answer]) -> Answer:
            del forward
            answer = refusal(status, "TemporaryRedirect" if status == 307 else "PermanentRedirect")
            answer.headers["location"] = f"{plain.url}{asked.path}"
            answer.headers["x-amz-bucket-region"] = "eu-central-1"
            return answer

        with tls_relaying(sandbox.endpoint_url, certificate, redirect) as secured:
            s3 = session.client("s3", endpoint_url=secured.url)
            kms = session.client("kms", endpoint_url=secured.url)
            store = S3Crypt(SSEC(CUSTOMER_KEY), client=s3)
            calls: tuple[Callable[[], Any], ...] = (
                lambda: store.put(b"plain", "s3://acme/x"),
                lambda: store.read("s3://acme/x"),
                lambda: store.head("s3://acme/x"),
                lambda: KMSKeyring("alias/reports", client=kms).generate(32, {}),
            )
            for call in calls:
                count = len(secured.asked)
                with pytest.raises(S3CryptError):
                    call()
                assert len(secured.asked) > count
        assert plain.asked == []
        secrets = {b64encode(CUSTOMER_KEY).decode()}
        assert secrets & {value for asked in secured.asked for value in asked.headers.values()}


def test_the_command_and_storage_options(
    bucket: str,
    s3: Any,
    elsewhere: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain HTTP needs --allow-plain-http for each command; no environment variable allows it."""
    key_file, plain = tmp_path / "customer", tmp_path / "plain"
    key_file.write_bytes(CUSTOMER_KEY)
    plain.write_bytes(b"plain")
    for service in ("S3", "KMS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", elsewhere)
    monkeypatch.setenv("S3CRYPT_ALLOW_PLAIN_HTTP", "1")
    put = ["put", str(plain), f"s3://{bucket}/x", "--sse-c-key-file", str(key_file)]
    assert run(put) == 2
    assert "give --allow-plain-http" in capsys.readouterr().err
    assert run(["keys", "create"]) == 2
    assert run(["encrypt", str(plain), str(tmp_path / "out"), "--key", "kms:alias/none"]) == 2
    assert names(s3, bucket) == []
    assert run([*put, "--allow-plain-http"]) == 0
    assert run(["keys", "create", "--allow-plain-http"]) == 0
    options = {"sse_c_key_file": str(key_file), "skip_instance_cache": True}
    with pytest.raises(ConfigError, match="over plain HTTP"):
        S3CryptFileSystem(**options).cat_file(f"{bucket}/x")
    allowed = S3CryptFileSystem(**options, allow_plain_http=True)
    assert allowed.cat_file(f"{bucket}/x") == b"plain"
