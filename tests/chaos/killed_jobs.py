# SPDX-License-Identifier: Apache-2.0
"""The command on many objects, with a journal, is killed and run again until it ends by itself.

A relay before S3 kills the command before it forwards a request, after the reply, or in the middle
of the reply. The relay counts the requests by object and run, so repeated work is found.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from relay import Answer, Asked, relaying

from s3crypt import AESKeyring, ClientSide, S3Crypt

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_BUCKET = "jobs"
_PREFIX = f"s3://{_BUCKET}/t/"
_KEYS = ("one", "two")
# A size of two parts. S3 completes an object of several parts with a separate request.
_LARGE = 8 * 2**20 + 1
_LARGE_EVERY = 100
_MOST_BYTES = 3000
_SETTLED_SECONDS = 30
# Requests per object for the verbs that need more than one.
_REQUESTS = {"rotate": 3}


class Killer:
    """Counts the forwarded requests, and kills the command at a request; `spoil` is for a relay.

    Attributes:
        done: Run -> the objects that this run changed, or for a get the objects that it read.
        kills: The number of kills by the moment of the request.
    """

    def __init__(self, seed: int) -> None:
        self.done: dict[int, set[str]] = defaultdict(set)
        self.kills: dict[str, int] = defaultdict(int)
        self.run = -1
        self.has_killed = False
        self._random = random.Random(f"kills-{seed}")
        self._process: subprocess.Popen[bytes] | None = None
        self._left = 0
        self._moment = ""
        self._verb = ""
        self._under_way = 0
        self._changed = threading.Condition()

    def begin(self, process: subprocess.Popen[bytes], verb: str, within: int) -> None:
        """Follow the next run of a verb, and kill it at one of its next `within` requests.

        If `within` is 0, do not kill it.
        """
        with self._changed:
            self.run += 1
            self.has_killed = False
            self._process, self._verb = process, verb
            self._left = self._random.randrange(1, within + 1) if within else -1
            self._moment = self._random.choice(("before it", "after it", "in its reply"))

    def settle(self) -> None:
        """Wait until no request of the command is running."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._under_way, _SETTLED_SECONDS):
                raise TimeoutError("a request of a killed command does not end")

    def spoil(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Forward the request, and kill the command if this is the chosen request."""
        if len(asked.body) < int(asked.headers.get("content-length", "0")):
            # The command was killed while it sent this request. A server drops an incomplete
            # request.
            raise ConnectionResetError
        with self._changed:
            self._left -= 1
            is_time = self._left == 0
            self._under_way += 1
            run = self.run
        try:
            if is_time and self._moment == "before it":
                self._kill()
            answer = forward()
            self._count(run, asked, answer)
            if is_time and self._moment != "before it":
                self._kill()
                answer.cut = len(answer.body) // 2 if self._moment == "in its reply" else None
            return answer
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _kill(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self.has_killed = True
            self.kills[self._moment] += 1

    def _count(self, run: int, asked: Asked, answer: Answer) -> None:
        is_change = (asked.method == "PUT" and not asked.is_part) or "uploadId" in asked.query
        is_read = asked.method == "GET" and asked.path.startswith(f"/{_BUCKET}/t/")
        if answer.status < 300 and (is_read if self._verb == "get" else is_change):
            with self._changed:
                if not asked.is_part:
                    self.done[run].add(asked.path)


@dataclass(slots=True)
class _Trial:
    """The folders, the command lines and the results of a trial."""

    given: argparse.Namespace
    folder: Path
    killer: Killer
    url: str
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _whole: set[str] = field(default_factory=set)

    def problem(self, kind: str, what: object) -> None:
        """Record a fault."""
        self.problems.append(f"{kind}: {what}")

    @property
    def source(self) -> Path:
        """Return the folder whose files are put."""
        return self.folder / "source"

    @property
    def target(self) -> Path:
        """Return the folder into which a get writes."""
        return self.folder / "target"

    def make(self) -> None:
        """Make the keys and the files."""
        source = random.Random(f"files-{self.given.seed}")
        for name in _KEYS:
            (self.folder / name).write_bytes(source.randbytes(32))
        for number in range(self.given.objects):
            size = source.randrange(_MOST_BYTES)
            size = _LARGE if number % _LARGE_EVERY == _LARGE_EVERY // 2 else size
            path = self.source / f"{number % 7}" / f"{number:05}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.randbytes(size))

    def command(self, verb: str) -> list[str]:
        """Return the command line of a verb."""
        from_to = {
            "put": (str(self.source), _PREFIX, "--key", "aes:team/one=one"),
            "get": (_PREFIX, str(self.target), "--key", "aes:team/one=one"),
            "rotate": (_PREFIX, "--from-key", "aes:team/one=one", "--key", "aes:team/two=two"),
        }
        options = ("--journal", f"{verb}.journal", "--jobs", str(self.given.jobs))
        return [sys.executable, "-m", "s3crypt_cli", verb, "-r", *from_to[verb], *options]

    def run(self, verb: str, *, within: int) -> int:
        """Run a verb, and kill it at one of its first `within` requests; return its exit code."""
        package = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            self.command(verb),
            cwd=self.folder,
            env=os.environ
            | {"AWS_ENDPOINT_URL_S3": self.url, "PYTHONPATH": os.pathsep.join(package)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.killer.begin(process, verb, within)
        _, said = process.communicate()
        self.killer.settle()
        if process.returncode and not self.killer.has_killed:
            self.problem("a run failed", f"{verb}, code {process.returncode}: {said.decode()}")
        return process.returncode

    def repeat(self, verb: str) -> None:
        """Run a verb until it ends by itself, and then once more. Check the result."""
        began, first, kills = time.monotonic(), self.killer.run + 1, 0
        while True:
            before = self._left_over()
            code = self.run(verb, within=self._within(verb, first, self.given.kills - kills))
            self._check_files(verb)
            if not self.killer.has_killed:
                break
            kills += 1
        last = self.killer.run
        if code == 0:
            self._check_end(verb, before)
        extra = self._check_repeats(verb, first, last)
        self.run(verb, within=0)
        if again := self.killer.done[self.killer.run]:
            self.problem("done after the end", f"{verb}: {sorted(again)[:5]}")
        uploads, files = self._left_over()
        seconds = time.monotonic() - began
        self.lines.append(
            f"{verb:8}{self.given.objects:6} objects {kills:4} kills {extra:4} done again "
            f"{len(uploads):4} uploads and {len(files)} temporary files left by kills, "
            f"{seconds:.0f} s"
        )
        if kills < self.given.kills:
            self.problem("too few kills", f"{verb}: {kills}; more objects are needed")

    def _within(self, verb: str, first: int, kills: int) -> int:
        """Return the number of requests within which the next run is killed; 0 for no kill.

        On average the last kill comes when 70 % of the job is done. Each kill is certain to happen:
        its number is within the requests that the previous runs have left.
        """
        done = set().union(*(self.killer.done[run] for run in range(first, self.killer.run + 1)))
        left = _REQUESTS.get(verb, 1) * (self.given.objects - len(done))
        return max(1, left if kills == 1 else int(1.4 * left / kills)) if kills else 0

    def _left_over(self) -> tuple[set[str], set[str]]:
        """Return the uploads that are unfinished, and the temporary files that were left."""
        s3: Any = boto3.client("s3")
        uploads = s3.list_multipart_uploads(Bucket=_BUCKET).get("Uploads", ())
        files = {str(path) for path in self.folder.rglob(".*.s3crypt")}
        return {upload["UploadId"] for upload in uploads}, files

    def _check_end(self, verb: str, before: tuple[set[str], set[str]]) -> None:
        """Check that the finished run is complete, and that it left nothing new unfinished."""
        for kind, was, now in zip(("upload", "file"), before, self._left_over(), strict=True):
            if new := now - was:
                self.problem("left half done", f"{verb}, {kind}: {sorted(new)[:5]}")
        if verb == "get":
            return
        name = "two" if verb == "rotate" else "one"
        keyring = AESKeyring("team", name, (self.folder / name).read_bytes())
        store = S3Crypt(ClientSide(keyring))
        wanted = {f"{path.relative_to(self.source)}": path for path in _files(self.source)}
        found = {item.uri.removeprefix(_PREFIX) for item in store.list(_PREFIX)}
        for difference in sorted(found ^ wanted.keys()):
            self.problem("incomplete", f"{verb}: {difference}")
        for each in found & wanted.keys():
            if store.read(_PREFIX + each) != wanted[each].read_bytes():
                self.problem("other bytes", f"{verb}: {each}")

    def _check_files(self, verb: str) -> None:
        """Check that each file that a get has made is complete, even if the get was killed."""
        if verb != "get":
            return
        for path in _files(self.target):
            name = str(path.relative_to(self.target))
            if name in self._whole or path.name.endswith(".s3crypt"):
                continue
            self._whole.add(name)
            if path.read_bytes() != (self.source / name).read_bytes():
                self.problem("other bytes", f"get: {name}")
        if not self.killer.has_killed:
            for path in _files(self.source):
                if str(path.relative_to(self.source)) not in self._whole:
                    self.problem("incomplete", f"get: {path}")

    def _check_repeats(self, verb: str, first: int, last: int) -> int:
        """Check that only objects in flight at a kill were processed again; return their number."""
        total = 0
        for run in range(first, last):
            later = set().union(*(self.killer.done[next_] for next_ in range(run + 1, last + 1)))
            again = self.killer.done[run] & later
            total += len(again)
            if len(again) > self.given.jobs:
                self.problem("done twice", f"{verb}, run {run}: {len(again)} objects")
        return total


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def kill_jobs(given: argparse.Namespace, url: str) -> tuple[list[str], list[str]]:
    """Kill and resume each verb. Return lines of figures, and the faults that were found."""
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(given.seed)
        with relaying(url, killer.spoil) as relay:
            trial = _Trial(given, Path(folder), killer, relay.url)
            trial.make()
            for verb in given.verbs.split(","):
                trial.repeat(verb)
    trial.lines.append(f"kills by the moment of a request: {dict(killer.kills)}")
    return trial.lines, trial.problems
