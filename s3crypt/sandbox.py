# SPDX-License-Identifier: Apache-2.0
"""An S3 and a KMS of your own on 127.0.0.1, for trying s3crypt out and for its tests.

moto answers; a strict front before it refuses what AWS refuses and moto lets pass: SSE-C without
its key, disabled keys, lost races. Everything is held in memory and gone when it stops. It checks
no signatures and isolates no users: nothing in it is a secret worth keeping.

The first part of this module starts, finds and stops the server and imports nothing but the
standard library; the second part is the server, which runs in a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import fnmatch
import hashlib
import http.client
import importlib.util
import io
import json
import os
import re
import secrets
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REGION = "us-east-1"
_HOST = "127.0.0.1"
_READY_SECONDS = 30
_STOP_SECONDS = 10
_TOKEN_HEADER = "x-s3crypt-token"  # noqa: S105  a header's name
_PROFILE = "s3crypt-sandbox"


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that answers at `endpoint_url`; `token` allows stopping it."""

    endpoint_url: str
    pid: int
    token: str = field(repr=False)


def start(*, port: int = 0) -> Running:
    """Start a sandbox that outlives this process, or return the one that already runs.

    It listens on 127.0.0.1, at a free port unless `port` says which.

    Raises:
        ConfigError: moto is not installed, or the port cannot be had.
    """
    found = status()
    if found is not None:
        return found
    process, mine = _spawn(port=port, detached=True)
    _close_pipes(process)
    recorded = _record(mine)
    if recorded != mine:
        # Someone else started one at the same moment and was recorded first.
        _ask_to_stop(mine)
    # The child is reparented when we end; until then Popen must not warn that it still runs.
    process.returncode = 0
    return recorded


def stop() -> bool:
    """End the recorded sandbox and all it holds; return False if none ran."""
    found = status()
    if found is None:
        return False
    _ask_to_stop(found)
    _state_file().unlink(missing_ok=True)
    return True


def status() -> Running | None:
    """Return the recorded sandbox if it answers and knows its token; forget a stale record."""
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
    """Return the variables that send every AWS SDK of a process to the sandbox.

    They also overrule what the process inherited: an empty AWS_SESSION_TOKEN counts as none; since
    an empty AWS_PROFILE does not, AWS_PROFILE names the one profile of a configuration file that
    this function writes and that has no other content.
    """
    config = _runtime_directory() / "aws-config"
    if not config.exists():
        _write_private(config, f"[profile {_PROFILE}]\nregion = {REGION}\n")
    return {
        "AWS_ENDPOINT_URL": running.endpoint_url,
        "AWS_ENDPOINT_URL_S3": running.endpoint_url,
        "AWS_ENDPOINT_URL_KMS": running.endpoint_url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_ACCESS_KEY_ID": "s3crypt-sandbox",
        "AWS_SECRET_ACCESS_KEY": "s3crypt-sandbox",
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PROFILE": _PROFILE,
        "AWS_DEFAULT_PROFILE": _PROFILE,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Run a private sandbox for the length of a `with`; it also ends if this process dies.

    Raises:
        ConfigError: moto is not installed.
    """
    process, mine = _spawn(port=0, detached=False)
    try:
        yield mine
    finally:
        # The server ends at the end of its standard input, so that no death of ours leaves it.
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
    command = [sys.executable, "-m", "s3crypt.sandbox", "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  our own interpreter and module
        command + ["--detached"] * detached,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_server_environment(),
        # Ctrl-C is for the caller; a private server ends with its standard input anyway.
        start_new_session=True,
    )
    try:
        said = _first_words(process, token)
    except BaseException:
        _close_pipes(process)
        process.kill()
        process.wait()
        raise
    return process, Running(f"http://{_HOST}:{said['port']}", said["pid"], token)


def _server_environment() -> dict[str, str]:
    # The package may have been found through this process's sys.path only.
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "MOTO_DISABLE_GLOBAL_CORS": "true"}


def _first_words(process: subprocess.Popen[bytes], token: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = threading.Timer(_READY_SECONDS, process.kill)
    deadline.daemon = True
    deadline.start()
    try:
        # By pipe, since others can read a process's arguments.
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
    # In a shared temporary directory someone else may have made it first, to read the token.
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
    return _runtime_directory() / "sandbox.json"


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 at once, replacing what was there."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


def _record(mine: Running) -> Running:
    """Write the state file unless another live sandbox is in it; return the one that is."""
    state = json.dumps({"endpoint_url": mine.endpoint_url, "pid": mine.pid, "token": mine.token})
    draft = _state_file().with_suffix(f".{mine.pid}")
    _write_private(draft, state)
    try:
        while True:
            # A link is made only if the name is free, unlike a rename.
            with contextlib.suppress(FileExistsError):
                os.link(draft, _state_file())
                return mine
            other = status()
            if other is not None:
                return other
    finally:
        draft.unlink(missing_ok=True)


def _ask(target: Running, method: str, path: str) -> tuple[int, bytes]:
    address = urlsplit(target.endpoint_url)
    # Not urllib: a proxy from the environment must never see this.
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request(method, path, headers={_TOKEN_HEADER: target.token})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _answers(target: Running) -> bool:
    try:
        code, body = _ask(target, "GET", "/_s3crypt/health")
        return code == 200 and bool(json.loads(body)["pid"] == target.pid)
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        # Another program may have been given the port since.
        return False


def _ask_to_stop(target: Running) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        _ask(target, "POST", "/_s3crypt/stop")
    deadline = time.monotonic() + _STOP_SECONDS
    while _answers(target) and time.monotonic() < deadline:
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------
# The server: its own process from here on.
# ---------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Serve until told to stop, or until standard input ends; the first line there is the token."""
    parser = argparse.ArgumentParser(prog="python -m s3crypt.sandbox")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--detached", action="store_true", help="live on when stdin ends")
    chosen = parser.parse_args(arguments)
    token = sys.stdin.readline().strip()
    try:
        server = _Server((_HOST, chosen.port), token)
    except (OSError, ImportError) as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        sys.exit(1)
    sys.stdout.write(json.dumps({"port": server.server_port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    # Nobody reads the pipe from now on; a write into it must not fail.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    if not chosen.detached:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    server.serve_forever(poll_interval=0.1)


def _end_with_stdin(server: _Server) -> None:
    while sys.stdin.readline():
        pass
    server.shutdown()


@dataclass(frozen=True, slots=True)
class _Request:
    """One HTTP request, its body complete; header names are in lower case."""

    method: str
    raw_path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False, default=b"")
    spelling: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @property
    def bucket(self) -> str:
        return unquote(self.raw_path[1:].partition("/")[0])

    @property
    def key(self) -> str:
        return unquote(self.raw_path[1:].partition("/")[2])

    @property
    def scope(self) -> list[str]:
        """The credential's scope: access key, date, region, service, terminator; or nothing."""
        signed = re.search(r"Credential=([^,\s]+)", self.headers.get("authorization", ""))
        credential = signed[1] if signed else self.query.get("X-Amz-Credential", "")
        scope = credential.rsplit("/", 4)
        return scope if len(scope) == 5 else []

    @property
    def region(self) -> str:
        return self.scope[2] if self.scope else REGION

    @property
    def body_size(self) -> int:
        """Bytes of the body proper, without the framing of aws-chunked."""
        return int(self.headers.get("x-amz-decoded-content-length", len(self.body)))


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(repr=False, default=b"")

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class _Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """What the front answers instead of moto."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # socketserver's 5 would make a burst of parallel parts wait for retransmitted SYNs.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], token: str) -> None:
        self.token = token
        self.front = _Front()
        self.log: deque[dict[str, Any]] = deque(maxlen=10_000)
        super().__init__(address, _Handler)

    def own(self, request: _Request) -> _Reply:
        """Answer a path under /_s3crypt/."""
        trusted = secrets.compare_digest(request.headers.get(_TOKEN_HEADER, ""), self.token)
        match request.method, request.raw_path.removeprefix("/_s3crypt/"):
            case "GET", "requests":
                return _json(200, list(self.log))
            case "DELETE", "requests":
                self.log.clear()
                return _Reply(204)
            case "GET", "health" if trusted:
                return _json(200, {"pid": os.getpid()})
            case "POST", "stop" if trusted:
                threading.Thread(target=self.shutdown, daemon=True).start()
                return _json(200, {"pid": os.getpid()})
            case _, "health" | "stop":
                return _json(403, {"error": "wrong token"})
            case _:
                return _json(404, {"error": "no such page"})


def _json(code: int, content: object) -> _Reply:
    body = json.dumps(content).encode("utf-8")
    return _Reply(code, (("Content-Type", "application/json"),), body)


_SSE = "x-amz-server-side-encryption"
_SSE_C = f"{_SSE}-customer-"
_SOURCE_SSE_C = "x-amz-copy-source-server-side-encryption-customer-"
# All that tells one request from another, and no customer key.
_LOGGED = (
    "if-match",
    "if-none-match",
    "range",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-range",
    "x-amz-target",
    _SSE,
    f"{_SSE}-aws-kms-key-id",
    f"{_SSE}-bucket-key-enabled",
    f"{_SSE}-context",
    f"{_SSE_C}algorithm",
    f"{_SSE_C}key-md5",
    f"{_SOURCE_SSE_C}key-md5",
)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections, chunked bodies and 100-continue, on the standard library."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Or the 40 ms of Nagle's algorithm and delayed acknowledgement would be in every reply.
    disable_nagle_algorithm = True
    # One write for head and small bodies.
    wbufsize = 64 * 1024

    def _serve(self) -> None:
        request = self._request()
        if request.raw_path.startswith("/_s3crypt/"):
            self._send(request, self.server.own(request))
            return
        entry: dict[str, Any] = {
            "method": request.method,
            "path": unquote(request.raw_path),
            "query": request.raw_query,
            "headers": {name: request.headers[name] for name in _LOGGED if name in request.headers},
            "request_bytes": request.body_size,
        }
        try:
            reply = self.server.front(request)
        except Exception as error:  # noqa: BLE001  the log must show moto's faults
            entry["fault"] = "".join(traceback.format_exception(error))
            reply = _Reply(500)
        entry["status"] = reply.status
        entry["response_bytes"] = 0 if request.method == "HEAD" else len(reply.body)
        # Before the reply is sent: a client that has it must find its request in the log.
        self.server.log.append(entry)
        self._send(request, reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _request(self) -> _Request:
        target = urlsplit(self.path)
        headers: dict[str, str] = {}
        spelling: dict[str, str] = {}
        for name, value in self.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
            spelling[lower] = name
        chunked = "chunked" in headers.pop("transfer-encoding", "").lower()
        body = b"".join(self._chunks()) if chunked else self._exactly()
        # urlsplit takes a path that starts with two slashes for a host.
        path = self.path.partition("?")[0] if self.path.startswith("/") else target.path
        return _Request(self.command, path, target.query, headers, body, spelling)

    def _exactly(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _send(self, request: _Request, reply: _Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if reply.header("content-length") is None and reply.status not in {204, 304}:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if request.method != "HEAD" and reply.status not in {204, 304}:
            self.wfile.write(reply.body)
        self.wfile.flush()

    def handle(self) -> None:
        """Serve a connection until its client leaves, however it leaves."""
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def handle_expect_100(self) -> bool:
        """Tell the client to send the body, at once: it waits a second for this."""
        granted = super().handle_expect_100()
        self.wfile.flush()
        return granted

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: /_s3crypt/requests is the log."""


class _Moto:
    """moto's application and a look into its tables; the only place that imports moto."""

    def __init__(self) -> None:
        # Here and not above: the rest of the module must work, and fast, without moto.
        from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415
        from moto.kms import models as kms_models  # noqa: PLC0415
        from moto.kms import utils as kms_utils  # noqa: PLC0415
        from moto.kms.responses import KmsResponse  # noqa: PLC0415
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
            DomainDispatcherApplication,
            create_backend_app,
        )
        from moto.s3.models import s3_backends  # noqa: PLC0415

        self.account = str(DEFAULT_ACCOUNT_ID)
        self._application = DomainDispatcherApplication(create_backend_app)
        self._kms = kms_models.kms_backends[self.account]
        self._s3 = s3_backends[self.account]["aws"]
        # moto's multi-Region ids are longer than AWS's, and than the room its blobs have for them.
        patched: Any = kms_models
        patched.generate_key_id = _new_key_id
        # It writes pairs one after the other, so that {"ab": "c"} would open {"a": "bc"}.
        patched = kms_utils
        patched._serialize_encryption_context = _context_bytes  # noqa: SLF001
        # It would refuse our shorter ids; _KMS has resolved every reference before moto sees it.
        patched = KmsResponse
        patched._validate_cmk_id = lambda *_: None  # noqa: SLF001

    def __call__(self, request: _Request) -> _Reply:
        head: list[Any] = []
        chunks = self._application(self._environ(request), lambda *said: head.extend(said))
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return _Reply(int(head[0].split()[0]), tuple(head[1]), body)

    def bucket(self, name: str) -> Any | None:
        return self._s3.buckets.get(name)

    def object(self, bucket: str, key: str, version: str | None = None) -> Any | None:
        """Return moto's object version; None if there is none or it is a delete marker."""
        if self.bucket(bucket) is None:
            return None
        return self._s3.get_object(bucket, key, version_id=version)

    def upload(self, bucket: str, upload_id: str) -> Any | None:
        found = self.bucket(bucket)
        return None if found is None else found.multiparts.get(upload_id)

    def key(self, reference: str, region: str) -> Any | None:
        """Return moto's KMS key for an id, an ARN of this region and account, or an alias."""
        if reference.startswith("arn:"):
            _, _, _, where, account, reference = reference.split(":", 5)
            if (where, account) != (region, self.account):
                return None
            reference = reference.removeprefix("key/")
        backend = self._kms[region]
        if reference.startswith("alias/"):
            reference = backend.get_key_id_from_alias(reference) or ""
        found = backend.keys.get(reference)
        if found is not None and any(name.startswith("alias/aws/") for name in found.aliases):
            found.key_manager = "AWS"
        if found is not None and found.multi_region:
            _name_replica(found)
        return found

    def _environ(self, request: _Request) -> dict[str, Any]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(request.raw_path, "latin-1"),
            "QUERY_STRING": request.raw_query,
            "RAW_URI": f"{request.raw_path}?{request.raw_query}".removesuffix("?"),
            "REQUEST_URI": f"{request.raw_path}?{request.raw_query}".removesuffix("?"),
            "SERVER_NAME": _HOST,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        environ.update((_wsgi_name(name), value) for name, value in request.headers.items())
        environ["CONTENT_LENGTH"] = str(len(request.body))
        # moto keeps the underscores of metadata names, which WSGI would turn into dashes.
        environ["moto.preserved_header_names"] = {
            _wsgi_name(name): request.spelling.get(name, name)
            for name in request.headers
            if "_" in name and name.startswith("x-amz-meta-")
        }
        return environ


def _name_replica(key: Any) -> None:
    # In moto a replica shares the description of its primary, which then says REPLICA as well.
    shared = key.multi_region_configuration
    if key.arn != shared["PrimaryKey"]["Arn"] and shared["MultiRegionKeyType"] == "PRIMARY":
        key.multi_region_configuration = {**shared, "MultiRegionKeyType": "REPLICA"}


def _context_bytes(encryption_context: Mapping[str, str]) -> bytes:
    return json.dumps(sorted(encryption_context.items())).encode("utf-8")


def _new_key_id(multi_region: bool = False) -> str:
    return f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


def _wsgi_name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"


class _Front:
    """Answers every AWS request: the rules first, then moto."""

    def __init__(self) -> None:
        moto = _Moto()
        self._s3 = _S3(moto)
        self._kms = _KMS(moto)

    def __call__(self, request: _Request) -> _Reply:
        is_kms = request.headers.get("x-amz-target", "").startswith("TrentService.")
        rules: _S3 | _KMS = self._kms if is_kms else self._s3
        try:
            return rules(request)
        except _Refusal as refusal:
            return _kms_error(refusal) if is_kms else _s3_error(refusal, request)


def _kms_error(refusal: _Refusal) -> _Reply:
    content = {"__type": refusal.code, "message": refusal.message}
    headers = (
        ("Content-Type", "application/x-amz-json-1.1"),
        ("x-amzn-requestid", secrets.token_hex(16)),
    )
    return _Reply(refusal.status, headers, json.dumps(content).encode("utf-8"))


def _s3_error(refusal: _Refusal, request: _Request) -> _Reply:
    request_id = secrets.token_hex(8).upper()
    region = refusal.headers.get("x-amz-bucket-region")
    parts = {
        "Code": refusal.code,
        "Message": refusal.message,
        **({"Region": region} if region else {}),
        "Resource": unquote(request.raw_path),
        "RequestId": request_id,
    }
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
    headers = {"Content-Type": "application/xml", "x-amz-request-id": request_id}
    return _Reply(
        refusal.status,
        tuple({**headers, **refusal.headers}.items()),
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode(),
    )


# --- KMS keys, as S3 and KMS itself ask for them ---------------------------------------------


def _denied(key: Any, action: str) -> bool:
    """Return whether the key's policy denies `action` to everyone, without any condition."""
    try:
        statements = json.loads(key.policy)["Statement"]
    except (ValueError, TypeError, KeyError):
        return False
    for statement in statements if isinstance(statements, list) else [statements]:
        actions = statement.get("Action", [])
        if (
            statement.get("Effect") == "Deny"
            and statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
            and "Condition" not in statement
            and any(
                fnmatch.fnmatchcase(action, pattern)
                for pattern in ([actions] if isinstance(actions, str) else actions)
            )
        ):
            return True
    return False


def _check_key(key: Any, action: str) -> None:
    """Refuse unless the key may be used for `action` now; with KMS's own codes."""
    if _denied(key, action):
        raise _Refusal(
            400,
            "AccessDeniedException",
            f"User: arn:aws:iam::{key.account_id}:user/sandbox is not authorized to perform: "
            f"{action} on resource: {key.arn} with an explicit deny in a resource-based policy",
        )
    _check_state(key)


def _check_state(key: Any) -> None:
    if key.key_state == "Disabled":
        raise _Refusal(400, "DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        words = {"PendingDeletion": "pending deletion"}.get(key.key_state, key.key_state)
        raise _Refusal(400, "KMSInvalidStateException", f"{key.arn} is {words}.")


# --- S3 --------------------------------------------------------------------------------------

_CUSTOMER_PARTS = {
    "algorithm": "a valid encryption algorithm",
    "key": "an appropriate secret key",
    "key-md5": "the client calculated MD5 of the secret key",
}
_KMS_ALGORITHMS = frozenset({"aws:kms", "aws:kms:dsse"})
_MANAGED = (_SSE, f"{_SSE}-aws-kms-key-id", f"{_SSE}-context", f"{_SSE}-bucket-key-enabled")


@dataclass(frozen=True, slots=True)
class _Seal:
    """How S3 encrypts one object version, or an upload's object to be."""

    algorithm: str  # "AES256", "aws:kms", "aws:kms:dsse", or "SSE-C"
    key_arn: str | None = None
    bucket_key: bool = False
    context: str | None = None
    customer_md5: str | None = None

    def headers(self, *, context: bool = False) -> list[tuple[str, str]]:
        """Return what a reply says about it; the encryption context only where S3 repeats it."""
        if self.customer_md5 is not None:
            return [(f"{_SSE_C}algorithm", "AES256"), (f"{_SSE_C}key-md5", self.customer_md5)]
        said = [(_SSE, self.algorithm)]
        if self.key_arn is not None:
            said.append((f"{_SSE}-aws-kms-key-id", self.key_arn))
        if self.bucket_key:
            said.append((f"{_SSE}-bucket-key-enabled", "true"))
        if context and self.context is not None:
            said.append((f"{_SSE}-context", self.context))
        return said


@dataclass(frozen=True, slots=True)
class _BucketDefault:
    """A bucket's encryption setting; the key stays as given, S3 does not look it up here."""

    algorithm: str = "AES256"
    key: str | None = None
    bucket_key: bool = False
    blocked: tuple[str, ...] = ("SSE-C",)  # AWS's choice for new buckets since April 2026


def _seal_of(thing: Any) -> _Seal:
    # Kept on moto's own object, so that it lives exactly as long as that object version.
    found = getattr(thing, "s3crypt_seal", None)
    return found if isinstance(found, _Seal) else _Seal("AES256")


def _default_of(bucket: Any) -> _BucketDefault:
    found = getattr(bucket, "s3crypt_default", None)
    return found if isinstance(found, _BucketDefault) else _BucketDefault()


def _invalid(message: str, code: str = "InvalidArgument") -> _Refusal:
    return _Refusal(400, code, message)


def _customer_md5(request: _Request, prefix: str) -> str | None:
    """Return the MD5 of the SSE-C key a request carries, None if it carries none.

    Raises:
        _Refusal: The three headers are incomplete, or do not fit each other.
    """
    given = {name: request.headers.get(prefix + name) for name in _CUSTOMER_PARTS}
    if not any(given.values()):
        return None
    for name, what in _CUSTOMER_PARTS.items():
        if given[name] is None:
            raise _invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must "
                f"provide {what}."
            )
    if given["algorithm"] != "AES256":
        raise _invalid(
            "The Encryption request you specified is not valid. Supported value: AES256.",
            "InvalidEncryptionAlgorithmError",
        )
    return _fitting_md5(str(given["key"]), str(given["key-md5"]))


def _fitting_md5(key_text: str, md5_text: str) -> str:
    try:
        key = base64.b64decode(key_text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise _invalid("The secret key was invalid for the specified algorithm.")
    digest = hashlib.md5(key, usedforsecurity=False).digest()
    if base64.b64encode(digest).decode("ascii") != md5_text:
        raise _invalid(
            "The calculated MD5 hash of the key did not match the hash that was provided."
        )
    return md5_text


def _customer_seal(request: _Request, default: _BucketDefault) -> _Seal:
    # A bucket's block is looked at before the key.
    if "SSE-C" in default.blocked:
        raise _Refusal(
            403,
            "AccessDenied",
            "User is not authorized to perform: s3:PutObject: server-side encryption with "
            "customer-provided keys (SSE-C) is blocked by the bucket's BlockedEncryptionTypes.",
        )
    if _SSE in request.headers:
        raise _invalid(
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified"
        )
    return _Seal("SSE-C", customer_md5=_customer_md5(request, _SSE_C))


def _check_managed(algorithm: str | None, key: str | None) -> None:
    if algorithm not in {None, "AES256", *_KMS_ALGORITHMS}:
        raise _invalid("The encryption method specified is not supported")
    if key is not None and algorithm not in _KMS_ALGORITHMS:
        raise _invalid(
            f"Server Side Encryption with AWS KMS managed key requires HTTP header {_SSE} : aws:kms"
        )


def _check_opened(seal: _Seal, customer_md5: str | None) -> None:
    """Refuse to read an object unless exactly its SSE-C key was given, if it has one."""
    if seal.customer_md5 is None and customer_md5 is not None:
        raise _invalid(
            "The encryption parameters are not applicable to this object.", "InvalidRequest"
        )
    if seal.customer_md5 is not None and customer_md5 is None:
        raise _invalid(
            "The object was stored using a form of Server Side Encryption. "
            "The correct parameters must be provided to retrieve the object.",
            "InvalidRequest",
        )
    if seal.customer_md5 != customer_md5:
        raise _Refusal(403, "AccessDenied", "Access Denied")


def _check_context(context: str | None, algorithm: str | None) -> None:
    if context is None:
        return
    try:
        pairs = json.loads(base64.b64decode(context, validate=True))
        fits = isinstance(pairs, dict) and all(isinstance(text, str) for text in pairs.values())
    except ValueError:
        fits = False
    if not fits or algorithm not in _KMS_ALGORITHMS:
        raise _invalid(
            f"The header '{_SSE}-context' shall be Base64-encoded UTF-8 string holding JSON "
            "which represents a string-string map, on a request for SSE-KMS."
        )


class _S3:
    """The S3 rules; the tables at its end say which operation each is for."""

    def __init__(self, moto: _Moto) -> None:
        self._moto = moto
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.RLock] = {}

    def __call__(self, request: _Request) -> _Reply:
        self._check_signed(request)
        self._check_region(request)
        rule = self._rule(request)
        if rule is None:
            return self._moto(request)
        with self._exclusive(request):
            return rule(self, request)

    def _rule(self, request: _Request) -> Callable[[_S3, _Request], _Reply] | None:
        asked = request.query.keys()
        if not request.key:
            return self._BUCKET_RULES.get(request.method) if "encryption" in asked else None
        if asked & {"annotation", "encryption"}:
            return _S3._not_implemented
        if asked & _SUBRESOURCES:
            return None
        part = next((name for name in ("uploads", "uploadId") if name in asked), "")
        if not part and request.method == "PUT" and "x-amz-copy-source" in request.headers:
            return _S3._copy_object
        return self._OBJECT_RULES.get((request.method, part))

    @contextlib.contextmanager
    def _exclusive(self, request: _Request) -> Iterator[None]:
        """Let nobody else touch the object, nor the copy's source, between a check and its act."""
        names = {(request.bucket, request.key)}
        if "x-amz-copy-source" in request.headers:
            names.add(_copy_source(request)[:2])
        with contextlib.ExitStack() as held:
            for name in sorted(names):  # in one order everywhere, or two copies could deadlock
                with self._guard:
                    lock = self._locks.setdefault(name, threading.RLock())
                held.enter_context(lock)
            yield

    def _check_signed(self, request: _Request) -> None:
        # The older signature in a URL is what boto3 makes when it presigns with an endpoint given.
        signed = request.scope or "Signature" in request.query
        if not signed and request.method != "OPTIONS":
            raise _Refusal(403, "AccessDenied", "Access Denied")

    def _check_region(self, request: _Request) -> None:
        bucket = self._moto.bucket(request.bucket)
        if bucket is None or request.region == bucket.region_name or "location" in request.query:
            return
        raise _Refusal(
            400,
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region '{request.region}' is wrong; "
            f"expecting '{bucket.region_name}'",
            headers={"x-amz-bucket-region": bucket.region_name},
        )

    # Encryption asked for

    def _wanted(self, request: _Request) -> _Seal:
        """Return how a request's object is to be encrypted, by its headers or its bucket."""
        default = _default_of(self._moto.bucket(request.bucket))
        if any(name.startswith(_SSE_C) for name in request.headers):
            return _customer_seal(request, default)
        algorithm, key, context, bucket_key = (request.headers.get(name) for name in _MANAGED)
        _check_managed(algorithm, key)
        if algorithm is None:
            algorithm, key = default.algorithm, default.key
        _check_context(context, algorithm)
        if algorithm == "AES256":
            return _Seal("AES256")
        wants_bucket_key = default.bucket_key if bucket_key is None else bucket_key == "true"
        return _Seal(
            algorithm,
            self._kms_key(key or "alias/aws/s3", request.region, "kms:GenerateDataKey").arn,
            wants_bucket_key and algorithm == "aws:kms",
            context,
        )

    def _kms_key(self, reference: str, region: str, action: str) -> Any:
        """Return a usable KMS key, refusing as S3 does: KMS's code after a `KMS.`."""
        key = self._moto.key(reference, region)
        if key is None:
            raise _invalid(f"Key '{reference}' does not exist", "KMS.NotFoundException")
        if key.key_spec != "SYMMETRIC_DEFAULT":
            raise _invalid(
                f"{key.arn} is not a symmetric key.", "KMS.UnsupportedOperationException"
            )
        try:
            _check_key(key, action)
        except _Refusal as refusal:
            if refusal.code == "AccessDeniedException":
                raise _Refusal(403, "AccessDenied", refusal.message) from None
            raise _invalid(refusal.message, f"KMS.{refusal.code}") from None
        return key

    def _open(self, thing: Any, customer_md5: str | None) -> None:
        """Refuse unless an object's bytes may be read with what the request brought."""
        seal = _seal_of(thing)
        _check_opened(seal, customer_md5)
        if seal.key_arn is not None:
            self._kms_key(seal.key_arn, seal.key_arn.split(":")[3], "kms:Decrypt")

    # Objects

    def _put_object(self, request: _Request) -> _Reply:
        if self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        seal = self._wanted(request)
        self._check_preconditions(request)
        reply = self._moto(_bare(request))
        return self._sealed(request, reply, seal, context=True)

    def _copy_object(self, request: _Request) -> _Reply:
        source = self._moto.object(*_copy_source(request))
        if source is None or self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        self._check_source(request, source)
        seal = self._wanted(request)
        self._check_preconditions(request)
        # moto never sees encryption; but that it changes is a reason to copy onto itself.
        changes = replace(seal, context=None) != replace(_seal_of(source), context=None)
        asked = any(name.startswith(_SSE) for name in request.headers)
        extra = {_SSE: "AES256"} if changes or asked else {}
        reply = self._moto(_bare(request, extra))
        return self._sealed(request, reply, seal, context=True)

    def _check_source(self, request: _Request, source: Any) -> None:
        wanted = request.headers.get("x-amz-copy-source-if-match")
        if wanted is not None and not _same_etag(wanted, source):
            raise _precondition("x-amz-copy-source-If-Match")
        self._open(source, _customer_md5(request, _SOURCE_SSE_C))

    def _check_preconditions(self, request: _Request) -> None:
        present = self._moto.object(request.bucket, request.key)
        if request.headers.get("if-none-match") == "*" and present is not None:
            raise _precondition("If-None-Match")
        wanted = request.headers.get("if-match")
        if wanted is None:
            return
        if present is None:
            raise _Refusal(404, "NoSuchKey", "The specified key does not exist.")
        if not _same_etag(wanted, present):
            raise _precondition("If-Match")

    def _sealed(
        self, request: _Request, reply: _Reply, seal: _Seal, *, context: bool = False
    ) -> _Reply:
        """Remember the new object's encryption and say it in the reply."""
        if reply.status != 200:
            return reply
        written = self._moto.object(request.bucket, request.key)
        assert written is not None
        written.s3crypt_seal = seal
        return _saying(reply, seal, context=context)

    def _read_object(self, request: _Request) -> _Reply:
        if any(name in request.headers for name in _MANAGED):
            raise _invalid(f"{_SSE} header is not supported for this operation.")
        customer_md5 = _customer_md5(request, _SSE_C)
        found = self._moto.object(request.bucket, request.key, request.query.get("versionId"))
        if found is None:
            return self._moto(request)
        if request.method == "HEAD":
            # Metadata is not under the KMS key, so a disabled one does not hide it.
            _check_opened(_seal_of(found), customer_md5)
        else:
            self._open(found, customer_md5)
        return _saying(self._moto(request), _seal_of(found))

    def _delete_object(self, request: _Request) -> _Reply:
        # moto checks If-Match itself; what it lacks is the lock that this rule holds.
        return self._moto(request)

    # Multipart uploads

    def _create_upload(self, request: _Request) -> _Reply:
        if self._moto.bucket(request.bucket) is None:
            return self._moto(request)
        seal = self._wanted(request)
        reply = self._moto(_bare(request))
        identity = re.search(rb"<UploadId>([^<]+)<", reply.body)
        if identity is None:
            return reply
        upload = self._moto.upload(request.bucket, identity[1].decode("ascii"))
        assert upload is not None
        upload.s3crypt_seal = seal
        return _saying(reply, seal, context=True)

    def _upload_part(self, request: _Request) -> _Reply:
        seal = self._open_upload(request, key_required=True)
        if "x-amz-copy-source" in request.headers:
            source = self._moto.object(*_copy_source(request))
            if source is None:
                raise _Refusal(404, "NoSuchKey", "The specified key does not exist.")
            self._check_source(request, source)
        return _saying(self._moto(_bare(request)), seal)

    def _complete_upload(self, request: _Request) -> _Reply:
        present = self._moto.object(request.bucket, request.key)
        made_by = getattr(present, "multipart", None)
        if made_by is not None and made_by.id == request.query["uploadId"]:
            return _saying(self._moto(_bare(request)), _seal_of(present))
        seal = self._open_upload(request, key_required=False)
        self._check_preconditions(request)
        reply = self._sealed(request, self._moto(_bare(request)), seal)
        # S3 repeats a customer key's headers for every operation but this one.
        kept = [pair for pair in reply.headers if not pair[0].lower().startswith(_SSE_C)]
        return replace(reply, headers=tuple(kept))

    def _open_upload(self, request: _Request, *, key_required: bool) -> _Seal:
        """Refuse unless the request's SSE-C key is the one its upload began with."""
        upload = self._moto.upload(request.bucket, request.query["uploadId"])
        if upload is None or upload.key_name != request.key:
            raise _Refusal(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the "
                "upload may have been aborted or completed.",
            )
        seal = _seal_of(upload)
        given = _customer_md5(request, _SSE_C)
        if given is None and not key_required:
            return seal
        if given is None and seal.customer_md5 is not None:
            raise _invalid(
                "The multipart upload initiate requested encryption. Subsequent part requests "
                "must include the appropriate encryption parameters.",
                "InvalidRequest",
            )
        if given != seal.customer_md5:
            raise _invalid(
                "The provided encryption parameters did not match the ones used originally.",
                "InvalidRequest",
            )
        if seal.key_arn is not None:
            self._kms_key(seal.key_arn, seal.key_arn.split(":")[3], "kms:Decrypt")
        return seal

    # Settings and refusals

    def _put_default(self, request: _Request) -> _Reply:
        bucket = self._moto.bucket(request.bucket)
        if bucket is None:
            return self._moto(request)
        text = request.body.decode("utf-8")
        algorithm, key, bucket_key = (
            _xml_texts(text, name)[:1]
            for name in ("SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled")
        )
        if algorithm and algorithm[0] not in {"AES256", "aws:kms", "aws:kms:dsse"}:
            raise _invalid("The XML you provided was not well-formed", "MalformedXML")
        blocked = tuple(kind for kind in _xml_texts(text, "EncryptionType") if kind != "NONE")
        bucket.s3crypt_default = _BucketDefault(
            algorithm[0] if algorithm else "AES256",
            key[0] if key else None,
            bucket_key == ["true"],
            blocked,
        )
        return _Reply(200)

    def _get_default(self, request: _Request) -> _Reply:
        bucket = self._moto.bucket(request.bucket)
        if bucket is None:
            return self._moto(request)
        default = _default_of(bucket)
        key = f"<KMSMasterKeyID>{escape(default.key)}</KMSMasterKeyID>" if default.key else ""
        blocked = "".join(
            f"<EncryptionType>{kind}</EncryptionType>" for kind in default.blocked or ("NONE",)
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<Rule><ApplyServerSideEncryptionByDefault>"
            f"<SSEAlgorithm>{default.algorithm}</SSEAlgorithm>{key}"
            "</ApplyServerSideEncryptionByDefault>"
            f"<BucketKeyEnabled>{str(default.bucket_key).lower()}</BucketKeyEnabled>"
            f"<BlockedEncryptionTypes>{blocked}</BlockedEncryptionTypes>"
            "</Rule></ServerSideEncryptionConfiguration>"
        )
        return _Reply(200, (("Content-Type", "application/xml"),), body.encode("utf-8"))

    def _delete_default(self, request: _Request) -> _Reply:
        bucket = self._moto.bucket(request.bucket)
        if bucket is None:
            return self._moto(request)
        bucket.s3crypt_default = replace(_BucketDefault(), blocked=_default_of(bucket).blocked)
        return _Reply(204)

    def _not_implemented(self, request: _Request) -> _Reply:
        # moto takes these for a PUT of the object itself and overwrites its body.
        raise _Refusal(
            501,
            "NotImplemented",
            f"The sandbox does not implement ?{request.raw_query.partition('&')[0]} on objects.",
        )

    # Method and query parameter of an operation on an object -> its rule; any other is moto's.
    _OBJECT_RULES: ClassVar[dict[tuple[str, str], Callable[[_S3, _Request], _Reply]]] = {
        ("PUT", ""): _put_object,
        ("GET", ""): _read_object,
        ("HEAD", ""): _read_object,
        ("DELETE", ""): _delete_object,
        ("POST", "uploads"): _create_upload,
        ("PUT", "uploadId"): _upload_part,
        ("POST", "uploadId"): _complete_upload,
    }
    _BUCKET_RULES: ClassVar[dict[str, Callable[[_S3, _Request], _Reply]]] = {
        "PUT": _put_default,
        "GET": _get_default,
        "DELETE": _delete_default,
    }


_SUBRESOURCES = frozenset(
    {"acl", "tagging", "retention", "legal-hold", "restore", "select", "torrent"}
)


def _precondition(condition: str) -> _Refusal:
    return _Refusal(
        412,
        "PreconditionFailed",
        f"At least one of the pre-conditions you specified did not hold: {condition}",
    )


def _same_etag(wanted: str, found: Any) -> bool:
    return wanted == "*" or wanted.strip('"') == str(found.etag).strip('"')


def _copy_source(request: _Request) -> tuple[str, str, str | None]:
    """Return bucket, key and version id of what is to be copied."""
    path, _, query = request.headers["x-amz-copy-source"].partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return bucket, key, dict(parse_qsl(query)).get("versionId")


def _xml_texts(text: str, element: str) -> list[str]:
    return [found.strip() for found in re.findall(rf"<{element}>([^<]*)</{element}>", text)]


def _bare(request: _Request, extra: Mapping[str, str] | None = None) -> _Request:
    """Return the request without what the front has dealt with: encryption and conditions."""
    kept = {
        name: value
        for name, value in request.headers.items()
        if not name.startswith((_SSE, _SOURCE_SSE_C))
        and name not in {"if-match", "if-none-match", "x-amz-copy-source-if-match"}
    }
    return replace(request, headers={**kept, **(extra or {})})


def _saying(reply: _Reply, seal: _Seal, *, context: bool = False) -> _Reply:
    """Return the reply with the encryption's headers instead of moto's."""
    if reply.status >= 300:
        return reply
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(_SSE)]
    return replace(reply, headers=(*kept, *seal.headers(context=context)))


# --- KMS -------------------------------------------------------------------------------------

# Operations with a key -> the permission each needs. ReEncrypt and Decrypt have their own rules.
_WITH_ONE_KEY = {
    "Encrypt": "kms:Encrypt",
    "GenerateDataKey": "kms:GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext": "kms:GenerateDataKeyWithoutPlaintext",
    "GenerateMac": "kms:GenerateMac",
    "VerifyMac": "kms:VerifyMac",
    "Sign": "kms:Sign",
    "Verify": "kms:Verify",
}
_WITH_ALIASES = frozenset(_WITH_ONE_KEY) | {
    "Decrypt",
    "DescribeKey",
    "GetPublicKey",
    "ReEncrypt",
}
_REFUSED_WHEN_DYING = frozenset(
    {"EnableKey", "DisableKey", "TagResource", "UntagResource", "UpdateKeyDescription",
     "ScheduleKeyDeletion", "DisableKeyRotation", "CreateGrant"}
)  # fmt: skip
_DAY = 86_400
_ON_DEMAND_ROTATIONS = 25
_ROTATION_DAYS = range(90, 2561)
_DELETION_DAYS = range(7, 31)


class _KMS:
    """The KMS rules; the table at its end says which operation each is for."""

    def __init__(self, moto: _Moto) -> None:
        self._moto = moto
        # KMS requests are short; one at a time makes every check hold until its act is done.
        self._lock = threading.Lock()

    def __call__(self, request: _Request) -> _Reply:
        if not request.scope:
            raise _Refusal(400, "MissingAuthenticationTokenException", "Request is not signed.")
        operation = request.headers["x-amz-target"].partition(".")[2]
        call = _Call(operation, request.region, json.loads(request.body or b"{}"))
        with self._lock:
            resolved = self._resolved(call)
            rule = self._RULES.get(operation)
            answer = rule(self, call) if rule is not None else None
            if call.body.get("DryRun"):
                raise _Refusal(412, "DryRunOperationException", "The request would have succeeded.")
            if answer is not None:
                return _json(200, answer)
            return self._moto(replace(request, body=resolved))

    def _resolved(self, call: _Call) -> bytes:
        """Return the body with keys' ids for all references, which moto takes only here and there.

        Raises:
            _Refusal: There is no such key, or the operation takes no aliases.
        """
        body = dict(call.body)
        for name in ("KeyId", "DestinationKeyId", "TargetKeyId"):
            reference = str(body.get(name) or "")
            if not reference:
                continue
            if "alias/" in reference and call.operation not in _WITH_ALIASES:
                raise _Refusal(400, "NotFoundException", f"Invalid keyId {reference}")
            body[name] = self._key(call, name).id
        return json.dumps(body).encode("utf-8")

    def _key(self, call: _Call, name: str = "KeyId") -> Any:
        reference = str(call.body.get(name, ""))
        key = self._moto.key(reference, call.region)
        if key is None:
            raise _Refusal(400, "NotFoundException", f"Key '{reference}' does not exist")
        return key

    def _key_of_ciphertext(self, call: _Call) -> Any:
        # moto's blobs begin with the key's id.
        blob = base64.b64decode(call.body.get("CiphertextBlob", ""))
        key = self._moto.key(blob[:36].decode("ascii", "replace"), call.region)
        if key is None:
            raise _Refusal(400, "InvalidCiphertextException", "")
        return key

    def _with_one_key(self, call: _Call) -> None:
        _check_key(self._key(call), _WITH_ONE_KEY[call.operation])

    def _opened(self, call: _Call, *, named: str, action: str) -> None:
        """Check the key a ciphertext is under, and that it is the one named, if one is."""
        wanted = self._key(call, named) if call.body.get(named) else None
        key = self._key_of_ciphertext(call)
        if wanted is not None and wanted is not key:
            raise _Refusal(
                400,
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this "
                "operation.",
            )
        _check_key(key, action)

    def _decrypt(self, call: _Call) -> None:
        self._opened(call, named="KeyId", action="kms:Decrypt")

    def _re_encrypt(self, call: _Call) -> None:
        self._opened(call, named="SourceKeyId", action="kms:ReEncryptFrom")
        _check_key(self._key(call, "DestinationKeyId"), "kms:ReEncryptTo")

    def _not_dying(self, call: _Call) -> None:
        key = self._key(call)
        if key.key_state == "PendingDeletion":
            _check_state(key)

    def _schedule_deletion(self, call: _Call) -> None:
        self._not_dying(call)
        _check_range(call, "PendingWindowInDays", _DELETION_DAYS)

    def _rotatable(self, call: _Call) -> Any:
        key = self._key(call)
        _check_state(key)
        if key.key_spec != "SYMMETRIC_DEFAULT" or key.origin != "AWS_KMS":
            raise _Refusal(400, "UnsupportedOperationException", f"{key.arn} cannot be rotated.")
        return key

    def _enable_rotation(self, call: _Call) -> None:
        _check_range(call, "RotationPeriodInDays", _ROTATION_DAYS)
        key = self._rotatable(call)
        key.s3crypt_period = call.body.get("RotationPeriodInDays", 365)
        key.s3crypt_rotates_from = time.time()

    def _rotate_on_demand(self, call: _Call) -> None:
        key = self._rotatable(call)
        done = sum(rotation["RotationType"] == "ON_DEMAND" for rotation in key.rotations)
        if done >= _ON_DEMAND_ROTATIONS:
            raise _Refusal(
                400,
                "LimitExceededException",
                f"{key.arn} has reached the limit of {_ON_DEMAND_ROTATIONS} on-demand rotations.",
            )

    def _rotation_status(self, call: _Call) -> dict[str, Any]:
        key = self._key(call)
        on = bool(key.key_rotation_status) and key.key_state != "PendingDeletion"
        status: dict[str, Any] = {"KeyId": key.arn, "KeyRotationEnabled": on}
        if on:
            status["RotationPeriodInDays"] = key.s3crypt_period
            status["NextRotationDate"] = key.s3crypt_rotates_from + key.s3crypt_period * _DAY
        return status

    # A rule checks; if it returns something, that is the answer, else moto answers.
    _RULES: ClassVar[dict[str, Callable[[_KMS, _Call], dict[str, Any] | None]]] = {
        **dict.fromkeys(_WITH_ONE_KEY, _with_one_key),
        **dict.fromkeys(_REFUSED_WHEN_DYING, _not_dying),
        "Decrypt": _decrypt,
        "ReEncrypt": _re_encrypt,
        "ScheduleKeyDeletion": _schedule_deletion,
        "EnableKeyRotation": _enable_rotation,
        "RotateKeyOnDemand": _rotate_on_demand,
        "GetKeyRotationStatus": _rotation_status,
    }


@dataclass(frozen=True, slots=True)
class _Call:
    operation: str
    region: str
    body: dict[str, Any] = field(repr=False)


def _check_range(call: _Call, name: str, allowed: range) -> None:
    value = call.body.get(name)
    if value is not None and value not in allowed:
        raise _Refusal(
            400,
            "ValidationException",
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy "
            f"constraint: it must be between {allowed.start} and {allowed.stop - 1}",
        )


if __name__ == "__main__":
    main()
