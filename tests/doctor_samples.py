# SPDX-License-Identifier: Apache-2.0
"""Diagnoses of wrong set-ups by the doctor, and execution of the commands that it prints."""

from __future__ import annotations

import os
import shlex
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from hardening_samples import undo
from relay import Answer, Relay, _Handler, relaying, serving
from s3crypt_cli.main import run

from s3crypt.doctor import Area, Diagnosis, Doctor, cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    from relay import Asked

    from s3crypt import Mode
    from s3crypt.doctor import Purpose

XML = {"content-type": "application/xml"}
JSON = {"content-type": "application/x-amz-json-1.1"}


def diagnose(
    uri: str | None = None,
    purpose: Purpose = "get",
    mode: Mode | None = None,
    keys: tuple[str, ...] = (),
    **how: Any,
) -> list[Diagnosis]:
    """Return all diagnoses of an operation, with a session made from the environment."""
    how.setdefault("session", boto3.Session())
    return list(Doctor(**how).diagnose(uri, purpose=purpose, mode=mode, keys=keys))


def cause(*arguments: Any, **options: Any) -> Diagnosis:
    """Return the first diagnosis of an operation that is a cause of its failure."""
    found = diagnose(*arguments, **options)
    first = cause_of(found)
    assert first is not None, found
    return first


def told(found: list[Diagnosis], name: str) -> Diagnosis:
    """Return the only diagnosis with this name."""
    (one,) = [each for each in found if each.name == name]
    return one


def follow(line: str, patch: pytest.MonkeyPatch) -> None:
    """Execute a printed shell line: set its variables, or run its command of aws or s3crypt."""
    if line.startswith("s3crypt ") and " && " in line:
        for part in line.split(" && "):
            follow(part, patch)
        return
    words = shlex.split(line, comments=True)
    if words[0] == "export":
        for word in words[1:]:
            name, _, value = word.partition("=")
            patch.setenv(name, value)
    elif words[0] == "unset":
        for name in words[1:]:
            patch.delenv(name, raising=False)
    elif words[0] == "s3crypt":
        assert run(words[1:]) == 0, line
    else:
        undo(line)


def refusing(
    service: str, status: int, code: str
) -> Callable[[Asked, Callable[[], Answer]], Answer]:
    """Return a `spoil` function that refuses requests to one service, and forwards the others."""

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if f"/{service}/aws4_request" not in asked.headers.get("authorization", ""):
            return forward()
        if service == "kms":
            return Answer(status, dict(JSON), f'{{"__type":"{code}","message":"no"}}'.encode())
        error = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        if service in ("sts", "iam"):
            error = f"<ErrorResponse>{error}</ErrorResponse>"
        return Answer(status, dict(XML), error.encode())

    return spoil


@contextmanager
def as_aws_over_http(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Direct this process to AWS's endpoints over plain HTTP, through a proxy to the sandbox."""

    def spoil(asked: Asked, _: Callable[[], Answer]) -> Answer:
        url = urlsplit(asked.target)
        bucket, dot, _rest = (url.hostname or "").partition(".s3.")
        path = f"/{bucket}{url.path}" if dot else url.path
        query = f"?{url.query}" if url.query else ""
        headers = {**asked.headers, "host": relay.behind}
        return relay.forward(replace(asked, target=f"{path}{query}", headers=headers))

    behind = os.environ["AWS_ENDPOINT_URL"]
    relay = Relay(behind, spoil)
    with serving(relay), patch.context() as patched:
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
            patched.delenv(name)
        for name in ("NO_PROXY", "no_proxy"):
            patched.delenv(name, raising=False)
        for service in ("s3", "kms", "sts", "iam"):
            host = f"{service}.us-east-1.amazonaws.com"
            patched.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", f"http://{host}")
        patched.setenv("HTTP_PROXY", relay.url)
        yield


@contextmanager
def leading_to(url: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Direct the clients that are made within the block to another endpoint."""
    with patch.context() as patched:
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
            patched.setenv(name, url)
        yield


@contextmanager
def through(
    spoil: Callable[[Asked, Callable[[], Answer]], Answer], patch: pytest.MonkeyPatch
) -> Iterator[Relay]:
    """Direct this process to the sandbox through a relay that changes replies by `spoil`."""
    with (
        relaying(os.environ["AWS_ENDPOINT_URL"], spoil) as relay,
        leading_to(relay.url, patch),
    ):
        yield relay


class _Late(_Handler):
    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return a time one hour ago, as a server with a slow clock sends it."""
        return BaseHTTPRequestHandler.date_time_string(self, (timestamp or time.time()) - 3600)


@contextmanager
def an_hour_late(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Direct this process through a relay whose clock is one hour slow."""
    relay = Relay(os.environ["AWS_ENDPOINT_URL"], lambda _, forward: forward())
    relay.RequestHandlerClass = _Late
    with serving(relay), leading_to(relay.url, patch):
        yield


def closed_port() -> int:
    """Return a port of this machine on which no server listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def areas(found: list[Diagnosis]) -> set[Area]:
    """Return the areas of all diagnoses that report a fault."""
    return {each.area for each in found if each.outcome == "wrong"}
