# SPDX-License-Identifier: Apache-2.0
"""A private nginx that looks like S3, drops what is put and serves files: a client's ceiling.

null_s3.conf.template says what is faked. The server lives as long as the block that runs it, on
a free loopback port, in a temporary folder of its own.
"""

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TEMPLATE = Path(__file__).with_name("null_s3.conf.template")
_HOST = "127.0.0.1"
_START_ATTEMPTS = 5
_START_SECONDS = 10
_STOP_SECONDS = 10


class NullServerError(Exception):
    """nginx is not installed, or does not start."""


@dataclass(frozen=True, slots=True)
class NullServer:
    """A server that answers.

    Attributes:
        endpoint_url: Where.
        folder: All that it writes. `objects/BUCKET/NAME` in it is what it serves.
        process_id: Its only process.
    """

    endpoint_url: str
    folder: Path
    process_id: int

    def serve(self, bucket: str, name: str) -> Path:
        """Return the path to write a file to that is served as the object's stored bytes."""
        path = self.folder / "objects" / bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def bytes_put(self) -> int:
        """Return the body bytes of all successful PUT requests so far."""
        lines = (self.folder / "requests.log").read_text().splitlines()
        return sum(
            int(line.rpartition(" ")[2] or 0) for line in lines if line.startswith("PUT 200 ")
        )

    def complaints(self) -> str:
        """Return nginx's warnings; a body written to disk is one."""
        return (self.folder / "error.log").read_text()

    def peak_rss(self) -> int:
        """Return the most bytes of memory that it has had; Linux only."""
        status = Path(f"/proc/{self.process_id}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def find_nginx() -> str | None:
    """Return nginx's path, or None; Debian has it where only root looks."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which("nginx", path=os.pathsep.join([path, "/usr/sbin", "/usr/local/sbin"]))


@contextmanager
def running(parent: Path | None = None) -> Iterator[NullServer]:
    """Run a null server while the block lasts, in a folder below `parent`.

    Raises:
        NullServerError: nginx is missing or does not start.
    """
    program = find_nginx()
    if program is None:
        raise NullServerError("nginx is not installed; on Debian: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="s3crypt-null-", dir=parent) as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        process, port = _start(program, folder)
        try:
            yield NullServer(f"http://{_HOST}:{port}", folder, process.pid)
        finally:
            _stop(process)


def _start(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    # nginx cannot say which port it took, so it is told a free one, and another may be faster.
    for _ in range(_START_ATTEMPTS):
        port = _free_port()
        process = _launch(program, folder, port)
        try:
            if _answers(process, port):
                return process, port
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    complaint = (folder / "stderr.log").read_text().strip()
    raise NullServerError(f"nginx does not start: {complaint}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _launch(program: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    for left_by_an_attempt in ("nowhere.socket", "error.log"):
        (folder / left_by_an_attempt).unlink(missing_ok=True)
    settings = _TEMPLATE.read_text().replace("@PORT@", str(port))
    (folder / "null_s3.conf").write_text(settings)
    with (folder / "stderr.log").open("wb") as log:
        return subprocess.Popen(
            [program, "-p", f"{folder}/", "-c", "null_s3.conf"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Sockets' paths are the only ones that nginx does not take relative to -p.
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
