# SPDX-License-Identifier: Apache-2.0
"""Run a private nginx that looks like S3, drops uploads and serves files.

Against this server, the client is the limit of a transfer. null_s3.conf.template lists every faked
reply. The server lives as long as the block that runs it, on two free loopback ports (http and
https), in a temporary folder of its own.
"""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_TEMPLATE = Path(__file__).with_name("null_s3.conf.template")
_CERTIFICATE = Path(__file__).with_name("certificate.py")
_HOST = "127.0.0.1"
_START_ATTEMPTS = 5
_START_SECONDS = 10
_STOP_SECONDS = 10
# These variables let malloc keep large buffers. Without them, each body's buffer would be new
# memory, which the kernel zeroes page by page. This would take a third of the time of receiving a
# part, although the client does not cause it.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


class NullServerError(Exception):
    """nginx is not installed, or does not start."""


class _Ports(NamedTuple):
    http: int
    https: int


@dataclass(frozen=True, slots=True)
class NullServer:
    """A running null server.

    Attributes:
        endpoint_url: Its address over http.
        tls_endpoint_url: Its address over https.
        folder: The folder of all its files. It serves the files `objects/BUCKET/NAME` in it.
        process_id: The id of its only process.
    """

    endpoint_url: str
    tls_endpoint_url: str
    folder: Path
    process_id: int

    @property
    def certificate(self) -> Path:
        """Return the certificate file that a client has to trust, by AWS_CA_BUNDLE or `verify`."""
        return self.folder / "certificate.pem"

    def serve(self, bucket: str, name: str) -> Path:
        """Return the path at which to put the file with the stored bytes of this object."""
        path = self.folder / "objects" / bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def bytes_put(self) -> int:
        """Return the sum of the body bytes of all successful PUT requests so far."""
        lines = (self.folder / "requests.log").read_text().splitlines()
        return sum(
            int(line.rpartition(" ")[2] or 0) for line in lines if line.startswith("PUT 200 ")
        )

    def complaints(self) -> str:
        """Return nginx's warnings, for example about a body that it wrote to disk."""
        return (self.folder / "error.log").read_text()

    def peak_rss(self) -> int:
        """Return the peak RSS of the server in bytes. This works only on Linux."""
        status = Path(f"/proc/{self.process_id}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def find_nginx() -> str | None:
    """Return the path of nginx, or None. Debian puts nginx into a folder of root's PATH only."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which("nginx", path=os.pathsep.join([path, "/usr/sbin", "/usr/local/sbin"]))


@contextmanager
def running(
    parent: Path | None = None, described: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[NullServer]:
    """Run a null server while the block lasts.

    Args:
        parent: The folder in which the server's folder is made.
        described: The headers of each served object, by `BUCKET/NAME`.

    Raises:
        NullServerError: nginx is missing or does not start.
    """
    program = find_nginx()
    if program is None:
        raise NullServerError("nginx is not installed; on Debian: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="s3crypt-null-", dir=parent) as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        subprocess.run([sys.executable, _CERTIFICATE, folder], check=True)
        process, ports = _start(program, folder, described or {})
        try:
            yield NullServer(
                f"http://{_HOST}:{ports.http}",
                f"https://{_HOST}:{ports.https}",
                folder,
                process.pid,
            )
        finally:
            _stop(process)


def _start(
    program: str, folder: Path, described: Mapping[str, Mapping[str, str]]
) -> tuple[subprocess.Popen[bytes], _Ports]:
    # nginx cannot choose free ports and report them, so the settings name free ports. If another
    # process takes them first, the next attempt has new ports.
    for _ in range(_START_ATTEMPTS):
        ports = _free_ports()
        _write_settings(folder, ports, described)
        process = _launch(program, folder)
        try:
            if _answers(process, ports.http):
                return process, ports
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    complaint = (folder / "stderr.log").read_text().strip()
    raise NullServerError(f"nginx does not start: {complaint}")


def _free_ports() -> _Ports:
    with ExitStack() as probes:
        found = []
        for _ in _Ports._fields:
            probe = probes.enter_context(socket.socket())
            probe.bind((_HOST, 0))
            found.append(int(probe.getsockname()[1]))
        return _Ports(*found)


def _write_settings(
    folder: Path, ports: _Ports, described: Mapping[str, Mapping[str, str]]
) -> None:
    names = sorted({name for headers in described.values() for name in headers})
    filled = {
        "PORT": str(ports.http),
        "TLS_PORT": str(ports.https),
        "MAPS": "\n".join(_map(number, name, described) for number, name in enumerate(names)),
        "HEADERS": "\n".join(
            f"        add_header {name} $object_header_{number};"
            for number, name in enumerate(names)
        ),
    }
    settings = _TEMPLATE.read_text()
    for place, text in filled.items():
        settings = settings.replace(f"@{place}@", text)
    (folder / "null_s3.conf").write_text(settings)


def _map(number: int, header: str, described: Mapping[str, Mapping[str, str]]) -> str:
    # $uri is the path after nginx has rewritten it.
    values = "\n".join(
        f"        '/.operation/read/{name}' '{headers[header]}';"
        for name, headers in described.items()
        if header in headers
    )
    return f"    map $uri $object_header_{number} {{\n{values}\n    }}"


def _launch(program: str, folder: Path) -> subprocess.Popen[bytes]:
    for left_by_an_attempt in ("nowhere.socket", "error.log"):
        (folder / left_by_an_attempt).unlink(missing_ok=True)
    with (folder / "stderr.log").open("wb") as log:
        return subprocess.Popen(
            [program, "-p", f"{folder}/", "-c", "null_s3.conf"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **_KEEP_MEMORY},
            # nginx takes all paths relative to the folder of -p, except the paths of sockets.
            cwd=folder,
        )


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return _process_at(port) == process.pid
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.02)
    return False


def _process_at(port: int) -> int:
    with closing(http.client.HTTPConnection(_HOST, port, timeout=1)) as connection:
        connection.request("GET", "/.process")
        return int(connection.getresponse().read())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
