# SPDX-License-Identifier: Apache-2.0
"""A user's shell for the examples: a private sandbox, a home folder, and executed lines."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from s3crypt_cli.main import run

from s3crypt import sandbox as sandboxes
from s3crypt.filesystem import S3CryptFileSystem, connection

if TYPE_CHECKING:
    from collections.abc import Iterator

# The line that starts a sandbox and points a shell at it. Every page with examples contains it.
POINTER = 's3crypt sandbox start && eval "$(s3crypt sandbox env)"'
# Characters with a special meaning in a shell. A line with such a character is run by bash.
_SHELL = frozenset("|&;<>()$`*?[]{}~")


# Commands that make the keys, buckets and objects that the examples name.
_PREPARED = """
keygen reports.key -q
keygen customer.key -q
keys create --alias new -q
mb s3://archive -q
encrypt q3.csv q3.csv.enc --key aes:acme/2026=reports.key -q
put q3.csv 2026/q4.csv s3://acme/2026/ --key kms:alias/reports -q
put q3.csv s3://acme/q3.csv --key kms:alias/reports -q
put q3.csv s3://acme/tmp/q3.csv --mode sse-s3 -q
put q3.csv s3://acme/shared/q3.csv --mode sse-s3 -q
put q3.csv s3://acme/shared/q4.csv --mode sse-c --sse-c-key-file customer.key -q
""".strip().splitlines()
# Like a bucket of AWS, the sandbox's bucket refuses SSE-C by default; this allows it.
_SSE_C: Any = {
    "Rules": [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
        }
    ]
}


@contextmanager
def shell(home: Path) -> Iterator[Path]:
    """Point this process at a sandbox by README's line, in an empty folder; yield this folder."""
    names = ("bin", "run", "work")
    commands, runtime, work = (home / name for name in names)
    for path in (commands, runtime, work):
        path.mkdir(mode=0o700)
    command = commands / "s3crypt"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m s3crypt_cli "$@"\n')
    command.chmod(0o755)
    before, was_in = dict(os.environ), Path.cwd()
    os.environ["HOME"] = str(home)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    os.chdir(work)
    try:
        os.environ.update(_environment_after(POINTER))
        _forget_file_systems()
        yield work
    finally:
        S3CryptFileSystem.clear_instance_cache()
        sandboxes.stop()
        os.chdir(was_in)
        os.environ.clear()
        os.environ.update(before)


def play_line(line: str) -> int:
    """Run a line like bash, and return its exit code.

    A line that is only an s3crypt command runs in this process, which is faster.
    """
    line = line.replace("\\\n", " ")
    words = shlex.split(line, comments=True)
    if not words:
        return 0
    if words[0] == "s3crypt" and not any(_SHELL & set(word) for word in words):
        code: int = run(words[1:])
        return code
    return subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=False).returncode


def prepare(folder: Path) -> None:
    """Create the files, keys, buckets and objects of the examples, in an empty sandbox."""
    running = sandboxes.status()
    assert running is not None
    sandboxes.reset(running)
    (folder / "reports").mkdir()
    (folder / "2026").mkdir()
    for name in ("q3.csv", "q4.csv", "2026/q4.csv"):
        (folder / name).write_bytes(b"eu,90\n" * 1000)
    client = boto3.client("s3")
    client.put_bucket_encryption(Bucket="acme", ServerSideEncryptionConfiguration=_SSE_C)
    with chdir(folder):
        for line in _PREPARED:
            assert run(line.split()) == 0, line


def _environment_after(line: str) -> dict[str, str]:
    done = subprocess.run(
        ["bash", "-c", f"{line} && env -0"], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


def _forget_file_systems() -> None:
    S3CryptFileSystem.clear_instance_cache()
    # A file system of an earlier test may still be in memory. Without this line, a new file system
    # would share the connection of the earlier one, which leads to another sandbox.
    connection._SHARED.clear()
