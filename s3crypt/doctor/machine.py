# SPDX-License-Identifier: Apache-2.0
"""Reports the cryptographic modules of this machine. This module makes no requests."""

import hashlib
import platform
import re
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

import awscrt
import cryptography
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives import hashes

from s3crypt.aws import config_of

from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from .known import Known, Services

POST_QUANTUM = "X25519MLKEM768"
# The first version of OpenSSL that offers X25519MLKEM768 by default.
# https://openssl-library.org/news/openssl-3.5-notes/
_FIRST_POST_QUANTUM = (3, 5)


def check_machine(_case: Case, services: "Services", _known: "Known") -> Iterator[Diagnosis]:
    """Report which cryptographic modules are loaded, and whether they are in FIPS mode."""
    yield _seen(
        "encryption",
        f"{backend.openssl_version_text()} in cryptography "
        f"{cryptography.__version__}, {_fips(_is_fips_of_cryptography())}",
    )
    yield _seen(
        "TLS library",
        f"{ssl.OPENSSL_VERSION} in Python {platform.python_version()}, "
        f"{_fips(_is_fips_of_python())}",
    )
    yield _seen("checksums", f"AWS CRT {awscrt.__version__}")
    yield _fips_endpoints(services)


def offers_post_quantum() -> bool:
    """Return whether the OpenSSL behind `ssl` offers a post-quantum key exchange by default."""
    found = re.match(r"OpenSSL (\d+)\.(\d+)", ssl.OPENSSL_VERSION)
    return found is not None and (int(found[1]), int(found[2])) >= _FIRST_POST_QUANTUM


def _fips_endpoints(services: "Services") -> Diagnosis:
    client = services.s3.get()
    are_used = bool(config_of(client).use_fips_endpoint)
    said = "used" if are_used else "not used: AWS_USE_FIPS_ENDPOINT=true turns them on"
    return _seen("FIPS endpoints", f"{said} ({client.meta.endpoint_url})")


def _is_fips_of_cryptography() -> bool:
    # OpenSSL has no MD5 if its FIPS provider is the default provider.
    try:
        hashes.Hash(hashes.MD5())  # noqa: S303 - MD5 is only requested, not used
    except UnsupportedAlgorithm:
        return True
    return False


def _is_fips_of_python() -> bool:
    try:
        hashlib.md5(b"")  # noqa: S324 - MD5 is only requested, not used
    except ValueError:
        return True
    return False


def _fips(is_active: bool) -> str:
    return f"FIPS provider {'active' if is_active else 'not active'}"


def _seen(name: str, seen: str) -> Diagnosis:
    return Diagnosis(name, Outcome.OK, Area.MACHINE, seen)
