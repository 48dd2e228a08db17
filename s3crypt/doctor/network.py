# SPDX-License-Identifier: Apache-2.0
"""Checks the network path to S3: the endpoint, a proxy, TLS and this machine's clock.

These checks open and close connections, and send no HTTP request. All other checks send requests as
the library does.
"""

import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from s3crypt.aws import proxy_of
from s3crypt.aws_errors import seconds_behind
from s3crypt.connections import trusted_certificates

from .machine import POST_QUANTUM, offers_post_quantum
from .refusals import SET_CLOCK
from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

    from .known import Known, Services

_CONNECT_SECONDS = 5.0
# S3 accepts signatures up to 15 minutes old, and other AWS services up to 5 minutes.
_MOST_SKEW_SECONDS = 300
_NEARLY_EXPIRED_DAYS = 14


def check_endpoint(_case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Connect to the endpoint of S3, or to the proxy in front of it."""
    client = services.s3.get()
    proxy = proxy_of(client)
    target = urlsplit(proxy or client.meta.endpoint_url)
    through = f" through the proxy {target.hostname}:{_port(target)}" if proxy else ""
    name = "proxy" if proxy else "endpoint"
    try:
        _connected(target).close()
    except OSError as error:
        known.is_reachable = False
        what = f"{target.hostname}:{_port(target)} {_reason(error)}"
        mended = _without_proxy(client) if proxy else _other_endpoint(client)
        yield Diagnosis(name, Outcome.WRONG, Area.NETWORK, what, mended)
        return
    yield Diagnosis(
        "endpoint", Outcome.OK, Area.NETWORK, f"{client.meta.endpoint_url} can be reached{through}"
    )


def check_tls(_case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Do a TLS handshake with S3's endpoint; report the TLS version and the certificate."""
    client = services.s3.get()
    url = urlsplit(client.meta.endpoint_url)
    if url.scheme != "https":
        yield _of_tls(Outcome.OK, f"{url.geturl()} is plain HTTP: the connection is not protected")
        return
    if not known.is_reachable or proxy_of(client):
        why = "the connection goes through a proxy" if known.is_reachable else "nothing answers"
        yield _of_tls(Outcome.SKIPPED, f"not checked: {why}")
        return
    try:
        version, certificate = _handshake(url, trusted_certificates(client))
    except ssl.SSLCertVerificationError as error:
        known.is_reachable = False
        yield _of_tls(
            Outcome.WRONG,
            f"the certificate of {url.hostname} is not trusted: {error.verify_message}",
            "export AWS_CA_BUNDLE=FILE_OF_ITS_AUTHORITY.pem",
        )
        return
    except OSError as error:
        known.is_reachable = False
        yield _of_tls(Outcome.WRONG, *_refused_handshake(url, error))
        return
    known.tls_version = version.removeprefix("TLSv")
    yield _of_tls(Outcome.OK, f"{version}{_validity(certificate)}")
    yield _post_quantum()


def check_clock(_case: Case, _services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Compare this machine's clock with the Date headers of the replies so far."""
    if not known.dates:
        yield Diagnosis("clock", Outcome.SKIPPED, Area.CLOCK, "no reply of a service had the time")
        return
    skew = min((seconds_behind(date) for date in known.dates), key=abs)
    if abs(skew) <= _MOST_SKEW_SECONDS:
        yield Diagnosis("clock", Outcome.OK, Area.CLOCK, f"within {abs(skew) + 1:.0f} s of S3's")
        return
    direction = "behind" if skew > 0 else "ahead of"
    seen = f"this machine's clock is {abs(skew) / 60:.0f} minutes {direction} the service's"
    yield Diagnosis("clock", Outcome.WRONG, Area.CLOCK, seen, SET_CLOCK)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _connected(url: SplitResult) -> socket.socket:
    return socket.create_connection((url.hostname or "", _port(url)), timeout=_CONNECT_SECONDS)


def _handshake(url: SplitResult, trusted: str | None) -> tuple[str, dict[str, Any]]:
    """Return the TLS version and the certificate.

    The certificate is empty if TLS verification is off.
    """
    # The setting `trusted` may name a file or a directory of certificates.
    is_directory = trusted is not None and os.path.isdir(trusted)  # noqa: PTH112
    context = ssl.create_default_context(
        cafile=None if is_directory else trusted, capath=trusted if is_directory else None
    )
    if trusted is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with (
        _connected(url) as connection,
        context.wrap_socket(connection, server_hostname=url.hostname) as secured,
    ):
        certificate: Any = secured.getpeercert() or {}
        return str(secured.version()), certificate


def _validity(certificate: dict[str, Any]) -> str:
    until = certificate.get("notAfter")
    if not until:
        return ", its certificate is not verified"
    moment = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)
    days = (moment - datetime.now(UTC)).days
    soon = f", in {days} days" if days < _NEARLY_EXPIRED_DAYS else ""
    return f", its certificate is valid until {moment:%Y-%m-%d}{soon}"


def _post_quantum() -> Diagnosis:
    # Only the offered group is reported, because Python before 3.15 does not return the negotiated
    # group.
    offered = f"{POST_QUANTUM} is {'offered' if offers_post_quantum() else 'not offered'}"
    why = "" if offers_post_quantum() else ", which OpenSSL does from 3.5 on"
    seen = f"{offered} by {ssl.OPENSSL_VERSION}{why}; this Python does not show whether it was used"
    return Diagnosis("post-quantum TLS", Outcome.OK, Area.MACHINE, seen)


def _refused_handshake(url: SplitResult, error: OSError) -> tuple[str, str]:
    said = error.reason if isinstance(error, ssl.SSLError) else _reason(error)
    is_plain = (
        "WRONG_VERSION" in str(said) or "PACKET_LENGTH" in str(said) or "HTTP_REQUEST" in str(said)
    )
    if is_plain:
        plain = f"http://{url.netloc}"
        return f"{url.netloc} does not use TLS ({said})", f"export AWS_ENDPOINT_URL_S3={plain}"
    return f"no TLS with {url.netloc} ({said})", "Check the endpoint URL and its port."


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"does not answer within {_CONNECT_SECONDS:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections"
    return f"cannot be reached: {error.strerror or error}"


def _without_proxy(client: "S3Client") -> str:
    host = urlsplit(client.meta.endpoint_url).hostname
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    given = [name for name in names if os.environ.get(name)]
    if not given:
        return "Check the proxies of the AWS configuration."
    return f"export NO_PROXY={host} no_proxy={host}  # or correct {given[0]}"


def _other_endpoint(client: "S3Client") -> str:
    names = ("S3CRYPT_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    given = next((name for name in names if os.environ.get(name) == client.meta.endpoint_url), None)
    if given:
        return f"unset {given}  # or start the service at that endpoint"
    if not client.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return "Check the endpoint URL, and check that the service runs."
    return f"Check the network and DNS: curl -sv {client.meta.endpoint_url}"


def _of_tls(outcome: Outcome, seen: str, following: str = "") -> Diagnosis:
    return Diagnosis("TLS", outcome, Area.NETWORK, seen, following)
