# SPDX-License-Identifier: Apache-2.0
"""Measures `s3crypt encrypt` and `decrypt` as processes: time and memory, by size of the file."""

import functools
import secrets
import shutil
import subprocess
import sys
import time
from filecmp import cmp
from pathlib import Path

from s3crypt.errors import IntegrityError, S3CryptError, StorageError

from .measure import Heat, Record, Subject, take_rounds

SIZES = (16 * 2**20, 64 * 2**20, 256 * 2**20, 2**30)
_BLOCK = 8 * 2**20
# Disk space as a multiple of the source: source, message, decrypted file, and a reserve.
_ROOM = 3.2
_TOO_SLOW = "does not fit in the time (--seconds)"


def measure(record: Record, folder: Path, *, seconds: float) -> dict[int, str]:
    """Measure for about `seconds` in `folder`. Return the sizes not measured, with reasons."""
    free = shutil.disk_usage(folder).free
    sizes = [size for size in SIZES if size * _ROOM < free]
    if not sizes:
        raise StorageError(
            f"{folder} has too little room for files to measure.",
            hint="Name a folder on another disk in the environment variable TMPDIR.",
        )
    _write_key(folder)
    heats = [Heat(functools.partial(_run, record, folder, size), weight=size) for size in sizes]
    taken = take_rounds(heats, seconds=seconds)
    return dict.fromkeys(sizes[taken:], _TOO_SLOW) | {
        size: f"needs more room than {folder} has" for size in SIZES if size not in sizes
    }


def filesystem(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, or ''."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = [(Path(point), kind) for _, point, kind, *_ in map(str.split, lines)]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[0])]
    return max(holding, key=lambda mount: len(mount[0].parts), default=(folder, ""))[1]


def make_source(folder: Path, size: int) -> Path:
    """Create a file of `size` random bytes, which repeat every 8 MiB, and return its path."""
    path = folder / f"{size}.plain"
    if not path.exists():
        block = secrets.token_bytes(min(_BLOCK, size))
        with path.open("wb") as file:
            for _ in range(0, size, len(block)):
                file.write(block)
    return path


def _run(record: Record, folder: Path, size: int, _turn: int) -> None:
    source, sealed, back = make_source(folder, size), folder / "sealed", folder / "back"
    try:
        for what, one, other in (("encrypt", source, sealed), ("decrypt", sealed, back)):
            seconds, peak = _child(what, one, other, folder)
            record.add(Subject("files", what, "GB/s", size), size / seconds / 1e9)
            if peak:
                record.add(Subject("memory", what, "MiB", size), peak / 2**20)
        if not cmp(source, back, shallow=False):
            raise IntegrityError("What was decrypted is not what was encrypted.")
    finally:
        # On some file systems, overwriting a file is slower than writing a new one.
        for path in (sealed, back):
            path.unlink(missing_ok=True)


def _child(what: str, source: Path, target: Path, folder: Path) -> tuple[float, int]:
    command: list[str | Path] = [
        sys.executable,
        "-P",
        "-m",
        "s3crypt_cli.bench.child",
        what,
        source,
        target,
    ]
    command += ["--quiet", "--key", f"aes:s3crypt-bench/random={_key(folder)}"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    seconds = time.perf_counter() - started
    if done.returncode:
        raise S3CryptError(f"s3crypt {what} failed: {done.stderr.strip()}")
    return seconds, int(done.stdout)


def _key(folder: Path) -> Path:
    return folder / "key"


def _write_key(folder: Path) -> None:
    _key(folder).write_bytes(secrets.token_bytes(32))
