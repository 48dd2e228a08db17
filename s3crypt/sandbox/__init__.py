# SPDX-License-Identifier: Apache-2.0
"""A local imitation of S3 and KMS on 127.0.0.1, for trying s3crypt out and for its tests.

The library moto serves the requests. A strict layer in front of it refuses requests that AWS
refuses and moto accepts: SSE-C without its key, disabled keys, conditional writes that lose a race,
truncated bodies, wrong checksums. The sandbox also implements those parts of IAM, STS, CloudTrail,
S3 Tables, S3 Vectors, S3 Control and Access Analyzer that are needed to set up and audit buckets
and roles. Its CloudTrail records all requests. The sandbox evaluates the policy of a KMS key
(without its conditions) and the key's grants. It evaluates no other policy. Everything is held in
memory and is lost when the sandbox stops. The sandbox does not check signatures (except of
presigned URLs) and does not separate users, so it must not hold secrets. It refuses requests that a
web page made a browser send.

This module starts, finds and stops the server, which is a separate process. The module must load
fast, so it must import only the standard library and s3crypt's errors. The other modules of this
package belong to the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import secrets
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from s3crypt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXAMPLE_ALIAS",
    "EXAMPLE_BUCKET",
    "REGION",
    "ROOT_ACCESS_KEY",
    "Running",
    "advance_clock",
    "delay_changes",
    "deliver_trails",
    "environment",
    "reset",
    "running",
    "share_key",
    "start",
    "status",
    "stop",
]

REGION = "us-east-1"
"""The Region that `environment` sets for boto3."""
# The bucket and the key of a started sandbox; the documentation's examples use them.
EXAMPLE_BUCKET = "acme"
EXAMPLE_ALIAS = "alias/reports"
# Constants without an underscore are shared with the server's modules; `__all__` is the public API.
HOST = "127.0.0.1"
TOKEN_HEADER = "x-s3crypt-token"  # noqa: S105  a header's name
# A request signed with this access key comes from the account's root user.
ROOT_ACCESS_KEY = "s3crypt-sandbox-root"  # an example, no secret
# The access key of the sandbox's own environment, and its secret.
ACCESS_KEY = "s3crypt-sandbox"
# Every reply has this header, so that a client can distinguish the sandbox from other S3 services.
SANDBOX_HEADER = "x-s3crypt-sandbox"
# Service names as botocore spells them in the environment variables AWS_ENDPOINT_URL_*.
_SERVICES = (
    *("ACCESSANALYZER", "CLOUDTRAIL", "IAM", "KMS", "S3", "S3TABLES", "S3VECTORS", "S3_CONTROL"),
    "STS",
)
_READY_SECONDS = 30
_STOP_SECONDS = 10
_PROFILE = "s3crypt-sandbox"
_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Running:
    """A running sandbox.

    Attributes:
        endpoint_url: The address of the sandbox's S3, KMS and other services.
        pid: The id of the sandbox's process.
        token: The secret for stopping the sandbox and reading its log.
    """

    endpoint_url: str
    pid: int
    token: str = field(repr=False)


def start(*, port: int = 0) -> Running:
    """Start a sandbox that outlives this process, or return the sandbox that already runs.

    The sandbox listens on 127.0.0.1, on `port`, or on a free port if `port` is 0. A new sandbox has
    a bucket, EXAMPLE_BUCKET, and a KMS key, EXAMPLE_ALIAS. Each checkout and each installation of
    s3crypt has its own sandbox.

    Raises:
        ConfigError: moto is not installed, or the port is not available.
    """
    found = status()
    if found is not None:
        return found
    process, mine = _spawn(port=port, detached=True)
    _close_pipes(process)
    try:
        reset(mine)
    except BaseException:
        process.kill()
        process.wait()
        raise
    recorded = _record(mine)
    if recorded != mine:
        # Another process started a sandbox at the same time and recorded it first.
        _ask_to_stop(mine)
    # The server keeps running when this process ends. With a return code, Popen does not warn about
    # the running process.
    process.returncode = 0
    return recorded


def stop() -> bool:
    """Stop the recorded sandbox and lose its contents. Return whether a sandbox was running."""
    found = status()
    if found is None:
        return False
    _ask_to_stop(found)
    _state_file().unlink(missing_ok=True)
    return True


def reset(running: Running) -> None:
    """Delete a sandbox's contents and its log, and create EXAMPLE_BUCKET and EXAMPLE_ALIAS anew.

    Raises:
        ConfigError: The sandbox does not answer, or does not know the token.
    """
    _told(running, "reset")


def share_key(running: Running, region: str = REGION) -> str:
    """Create a KMS key in another account that shares it through RAM, and return the key's ARN.

    Raises:
        ConfigError: The sandbox does not answer, or does not know the token.
    """
    return str(_told(running, f"shared-keys?region={region}")["arn"])


def deliver_trails(running: Running) -> list[str]:
    """Write the log files of all active trails, as CloudTrail does every few minutes.

    Returns:
        The URIs of the new files. The files contain the events since the last call.

    Raises:
        ConfigError: The sandbox does not answer, or does not know the token.
    """
    return list(_told(running, "trails")["files"])


def advance_clock(running: Running, seconds: float) -> None:
    """Move KMS's clock ahead. Deletions, expirations and rotations that become due are made.

    Only `reset` moves the clock back. S3 and CloudTrail use the machine's clock.

    Raises:
        ConfigError: The sandbox does not answer, or does not know the token.
    """
    _told(running, f"clock?seconds={seconds}")


def delay_changes(running: Running, seconds: float) -> None:
    """Set how long KMS takes for changes in the background, until `reset` or the next call.

    Changes in the background are rotations on demand, new replicas and changes of the primary key.
    Without a delay, they are finished at once. `advance_clock` also finishes changes whose delay
    passes.

    Raises:
        ConfigError: The sandbox does not answer, or does not know the token.
    """
    _told(running, f"delays?seconds={seconds}")


def status() -> Running | None:
    """Return the recorded sandbox if it still runs. Otherwise delete the record and return None."""
    path = _state_file()
    try:
        found = Running(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink(missing_ok=True)
        return None
    if _answers(found):
        return found
    path.unlink(missing_ok=True)
    return None


def environment(running: Running) -> dict[str, str]:
    """Return environment variables with which every AWS SDK of a process uses the sandbox.

    They also replace the variables that the process inherited. SDKs treat an empty
    AWS_SESSION_TOKEN as unset, but not an empty AWS_PROFILE. So AWS_PROFILE names a profile in a
    configuration file that this function writes. NO_PROXY is this process's value plus the
    sandbox's address: proxies must not see requests to the sandbox, and cannot forward them.
    """
    config = _runtime_directory() / "aws-config"
    if not config.exists():
        _write_private(config, f"[profile {_PROFILE}]\nregion = {REGION}\n")
    no_proxy = _without_proxy()
    return {
        "AWS_ENDPOINT_URL": running.endpoint_url,
        **{f"AWS_ENDPOINT_URL_{name}": running.endpoint_url for name in _SERVICES},
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PROFILE": _PROFILE,
        "AWS_DEFAULT_PROFILE": _PROFILE,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # If set, these variables of the command `s3crypt` would overrule the variables above.
        "S3CRYPT_ENDPOINT_URL": "",
        "S3CRYPT_PROFILE": "",
        "S3CRYPT_REGION": "",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Run a private sandbox during a `with`. The sandbox also ends if this process dies.

    Raises:
        ConfigError: moto is not installed.
    """
    process, mine = _spawn(port=0, detached=False)
    try:
        yield mine
    finally:
        # The server ends when its standard input is closed, so it cannot outlive this process.
        _close_pipes(process)
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _spawn(*, port: int, detached: bool) -> tuple[subprocess.Popen[bytes], Running]:
    if any(importlib.util.find_spec(name) is None for name in ("moto", "flask")):
        raise ConfigError(
            "The sandbox needs moto, which is not installed.",
            hint="Run: pip install 's3crypt[sandbox]'",
        )
    token = secrets.token_urlsafe(32)
    # -P: without it, Python would import s3crypt from a checkout in the current directory.
    command = [sys.executable, "-P", "-m", "s3crypt.sandbox", "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  our own interpreter and module
        command + ["--detached"] * detached,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_server_environment(),
        # Ctrl-C must interrupt only the caller. A private server ends when its standard input is
        # closed.
        start_new_session=True,
    )
    try:
        said = _first_words(process, token)
    except BaseException:
        _close_pipes(process)
        process.kill()
        process.wait()
        raise
    return process, Running(f"http://{HOST}:{said['port']}", said["pid"], token)


def _without_proxy() -> str:
    # Python, Go and curl prefer no_proxy to NO_PROXY, even if no_proxy is empty.
    said = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    hosts = [host.strip() for host in said.split(",") if host.strip()]
    # An asterisk means all hosts only if it is the whole value.
    return said if hosts == ["*"] or HOST in hosts else ",".join((*hosts, HOST))


def _server_environment() -> dict[str, str]:
    # The server must find the package even if it is only in this process's sys.path.
    path = os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH"))))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "MOTO_DISABLE_GLOBAL_CORS": "true",
        # moto writes bodies larger than this many bytes to a temporary file; 0 means never.
        "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "0",
    }


def _first_words(process: subprocess.Popen[bytes], token: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = threading.Timer(_READY_SECONDS, process.kill)
    deadline.daemon = True
    deadline.start()
    try:
        # Send the token by pipe, because other users can read a process's arguments.
        process.stdin.write(token.encode("ascii") + b"\n")
        process.stdin.flush()
        said: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    except (BrokenPipeError, ValueError):
        said = {}
    finally:
        deadline.cancel()
    if "port" not in said:
        raise ConfigError(
            f"The sandbox did not start: {said.get('error', 'it ended before it answered')}",
            hint="Run `python -m s3crypt.sandbox` and press Enter to see why.",
        )
    return said


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _runtime_directory() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(base) / "s3crypt" if base and os.access(base, os.W_OK) else None
    path = path or Path(tempfile.gettempdir()) / f"s3crypt-{user}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    # In a shared temporary directory, another user may have created this directory in order to read
    # the token.
    private = not hasattr(os, "getuid") or (
        found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    )
    if not stat.S_ISDIR(found.st_mode) or not private:
        raise ConfigError(
            f"{path} is not a directory that only you can use.",
            hint="Remove it, or set XDG_RUNTIME_DIR to a directory of your own.",
        )
    return path


def _state_file() -> Path:
    # Each checkout has its own state file, because a checkout must not use or stop a sandbox that
    # runs other code.
    checkout = hashlib.sha256(os.fsencode(_PACKAGE)).hexdigest()[:16]
    return _runtime_directory() / f"sandbox-{checkout}.json"


def _write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically. An existing file is replaced."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


def _record(mine: Running) -> Running:
    """Record a sandbox in the state file, unless another running sandbox is recorded there.

    Return the sandbox that is recorded afterwards.
    """
    state = json.dumps(asdict(mine))
    draft = _state_file().with_suffix(f".{mine.pid}")
    _write_private(draft, state)
    try:
        while True:
            # Unlike a rename, a link fails if the name exists.
            with contextlib.suppress(FileExistsError):
                os.link(draft, _state_file())
                return mine
            other = status()
            if other is not None:
                return other
    finally:
        draft.unlink(missing_ok=True)


def _ask(target: Running, method: str, path: str, *, seconds: float = 5) -> tuple[int, bytes]:
    address = urlsplit(target.endpoint_url)
    # Do not use urllib, which would send the token to a proxy from the environment.
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=seconds)
    try:
        connection.request(method, path, headers={TOKEN_HEADER: target.token})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _told(target: Running, page: str) -> dict[str, Any]:
    """Send a command to a sandbox, and return the JSON reply.

    Raises:
        ConfigError: The sandbox does not answer, or refuses the command.
    """
    try:
        code, body = _ask(target, "POST", f"/_s3crypt/{page}", seconds=_READY_SECONDS)
        said: dict[str, Any] = json.loads(body or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConfigError(f"The sandbox at {target.endpoint_url} does not answer.") from error
    if code not in {200, 204}:
        raise ConfigError(f"The sandbox at {target.endpoint_url} refused: {page} ({code}).")
    return said


def _answers(target: Running) -> bool:
    try:
        code, body = _ask(target, "GET", "/_s3crypt/health")
        return code == 200 and bool(json.loads(body)["pid"] == target.pid)
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        # Another program may use the port now.
        return False


def _ask_to_stop(target: Running) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        _ask(target, "POST", "/_s3crypt/stop")
    deadline = time.monotonic() + _STOP_SECONDS
    while _answers(target) and time.monotonic() < deadline:
        time.sleep(0.02)
