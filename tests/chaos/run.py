# SPDX-License-Identifier: Apache-2.0
"""Two processes use the same objects through a relay that cuts replies; an oracle judges them.

    python tests/chaos/run.py [--operations 5000] [--cuts 2000] [--seed N] [--log FILE]

Prints a table of operations, outcomes, cuts and wrong outcomes. The exit code is 1 if an outcome
was wrong, or if the run proves too little: too few cuts, a kind of request that was never cut, or
more failed than successful operations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from relay import serving  # noqa: E402 - found by the path above

from chaos.cutting import KINDS, WAYS, Cutter, Goal, cutting  # noqa: E402
from chaos.forms import ALIASES  # noqa: E402
from chaos.history import OK, Event  # noqa: E402
from chaos.oracle import Oracle, Wrong, count  # noqa: E402
from chaos.worker import Settings  # noqa: E402
from s3crypt import sandbox  # noqa: E402

_PROCESSES = 2
# A run of this many operations or more must have cut every kind of request.
_CUTS_EVERY_KIND = 2000
_LEAST_SUCCESSES = 0.6
# In seconds, for a process to stop: longer than the longest wait of all retries with the tests'
# deadline.
_STOP_SECONDS = 180
_PAGE = 1050


@dataclass(slots=True)
class Run:
    """The results of a run."""

    events: dict[str, Event] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    uploads: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description="Cut replies and compare the outcomes.")
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--threads", type=int, default=4, help="of each of the two processes")
    parser.add_argument("--large", type=float, default=0.08, help="share of contents of two parts")
    parser.add_argument("--deadline", type=float, default=2, help="seconds that requests retry")
    parser.add_argument("--minutes", type=float, default=40, help="when to give up")
    parser.add_argument("--log", type=Path, help="where to write all events, one a line")
    parser.add_argument("--shown", type=int, default=12, help="wrong outcomes that are printed")
    return parser.parse_args()


def _prepare(given: argparse.Namespace) -> tuple[Settings, list[Event]]:
    """Make buckets, keys and objects.

    Return the settings of the processes, and the events of the objects that were made.
    """
    s3: Any = boto3.client("s3")
    kms = boto3.client("kms")
    buckets = ("chaos", "chaos-versioned")
    for bucket in buckets:
        s3.create_bucket(Bucket=bucket)
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
        }
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_versioning(Bucket=buckets[1], VersioningConfiguration={"Status": "Enabled"})
    keys = []
    for alias in ALIASES:
        keys.append(kms.create_key()["KeyMetadata"]["Arn"])
        kms.create_alias(AliasName=alias, TargetKeyId=keys[-1])
    shelf = []
    # Make more names than one page of a listing has.
    for number in range(_PAGE if given.operations >= _CUTS_EVERY_KIND else 0):
        s3.put_object(Bucket=buckets[0], Key=f"shelf/{number:04}", Body=b"")
        name = f"{buckets[0]}/shelf/{number:04}"
        shelf.append(Event(f"shelf-{number}", "", "write", name, end=0.0, outcome=OK))
    most = 2 * given.operations // (_PROCESSES * given.threads) + 1
    settings = Settings(
        given.seed, 0, given.threads, (keys[0], keys[1]), buckets, most, given.large
    )
    return settings, shelf


def _start(settings: Settings, endpoint_url: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ENDPOINT_URL_S3": endpoint_url,
        "AWS_ENDPOINT_URL_KMS": endpoint_url,
        "PYTHONPATH": os.pathsep.join(sys.path[:2]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "chaos.worker", json.dumps(asdict(settings))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _follow(process: subprocess.Popen[str], run: Run, ended: Any) -> None:
    """Read the log of a process, and call `ended` for each operation that has ended."""
    assert process.stdout
    for line in process.stdout:
        event = Event.parse(line)
        run.events[event.number] = event
        if event.outcome != "running":
            ended()


def _use(given: argparse.Namespace, settings: Settings, cutter: Cutter, url: str, run: Run) -> None:
    """Let the processes run operations until there are enough operations and cuts."""
    lock = threading.Lock()

    def ended() -> None:
        with lock:
            cutter.operations += 1

    started = time.monotonic()
    processes = [_start(replace(settings, process=n), url) for n in range(_PROCESSES)]
    following = [
        threading.Thread(target=_follow, args=(process, run, ended)) for process in processes
    ]
    for thread in following:
        thread.start()
    try:
        _wait(given, processes, cutter, started, run)
    finally:
        for process in processes:
            _end(process, run)
        for thread in following:
            thread.join()
    run.seconds = time.monotonic() - started


def _wait(
    given: argparse.Namespace,
    processes: list[subprocess.Popen[str]],
    cutter: Cutter,
    started: float,
    run: Run,
) -> None:
    while cutter.operations < given.operations or cutter.cut < given.cuts:
        time.sleep(0.1)
        if time.monotonic() - started > given.minutes * 60:
            run.problems.append(f"not done after {given.minutes} minutes")
            return
        if any(process.poll() is not None for process in processes):
            return


def _end(process: subprocess.Popen[str], run: Run) -> None:
    assert process.stdin
    process.stdin.close()
    try:
        code = process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        run.problems.append(f"a process did not end within {_STOP_SECONDS} s")
        return
    if code:
        run.problems.append(f"a process ended with code {code}")


def _look(settings: Settings, url: str, run: Run) -> None:
    """Check every object and every unfinished upload, without the relay."""
    process = _start(replace(settings, process=9, threads=1, verify=True), url)
    _follow(process, run, lambda: None)
    _end(process, run)
    s3 = boto3.client("s3")
    for bucket in settings.buckets:
        for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            run.uploads.append((bucket, upload["Key"], upload["UploadId"]))


def _check_uploads(run: Run, cutter: Cutter) -> list[str]:
    """Return the uploads that were left open although the caller could know of them.

    If the reply to CreateMultipartUpload was lost, the client does not know the upload's id, which
    is no fault. If the reply to an abort was cut, a note of the error must name the upload.
    """
    said = " ".join(event.notes + event.message for event in run.events.values())
    noted = {each[2] for each in run.uploads if each[2] in said}
    unnoted = [each for each in run.uploads if each[2] not in noted | cutter.untold]
    return [f"upload {each} was left open without a note" for each in unnoted]


def _check_run(given: argparse.Namespace, run: Run, cutter: Cutter) -> None:
    """Add to the faults each reason why the run proves too little."""
    ended = [event for event in run.events.values() if event.outcome != "running"]
    good = sum(event.outcome in (OK, "ObjectNotFoundError", "ConflictError") for event in ended)
    if good < _LEAST_SUCCESSES * len(ended):
        run.problems.append(f"only {good} of {len(ended)} operations succeeded")
    if len(ended) < given.operations:
        run.problems.append(f"only {len(ended)} operations")
    if cutter.cut < given.cuts:
        run.problems.append(f"only {cutter.cut} cuts")
    if given.operations >= _CUTS_EVERY_KIND:
        never = [kind for kind in KINDS if not any((kind, way) in cutter.cuts for way in WAYS)]
        run.problems += [f"{kind} was never cut" for kind in never]
    run.problems += [
        f"the sandbox itself answered {number} {kind} with {status}"
        for (kind, status), number in cutter.failed.items()
    ]
    run.problems += _check_uploads(run, cutter)


def _table(run: Run, cutter: Cutter) -> list[str]:
    """Return the lines of the table of operations, outcomes, cuts and wrong outcomes."""
    lines = ["", f"{'operation':12}{'ended':>7}  outcomes"]
    by_operation: dict[str, Counter[str]] = {}
    for event in run.events.values():
        by_operation.setdefault(event.operation, Counter())[event.outcome] += 1
    for operation, outcomes in sorted(by_operation.items()):
        told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
        lines.append(f"{operation:12}{outcomes.total():7}  {told}")
    lines += ["", f"{'request':18}{'asked':>8}{'cut':>6}  " + ", ".join(WAYS)]
    for kind in sorted(set(cutter.requests), key=lambda kind: (kind not in KINDS, kind)):
        ways = [cutter.cuts[kind, way] for way in WAYS]
        numbers = ", ".join(str(number) for number in ways)
        lines.append(f"{kind:18}{cutter.requests[kind]:8}{sum(ways):6}  {numbers}")
    total = cutter.requests.total()
    lines.append(f"{'all':18}{total:8}{cutter.cut:6}")
    errors = Counter(
        f"{event.operation}: {event.outcome}: {event.message.partition(': ')[2][:90]}"
        for event in run.events.values()
        if event.outcome not in (OK, "ObjectNotFoundError", "ConflictError", "running")
    )
    lines += ["", "errors"] + [f"{number:6}  {text}" for text, number in errors.most_common(20)]
    slowest = max(run.events.values(), key=lambda event: min(event.end, 1e12) - event.start)
    lines += ["", f"slowest: {slowest}", f"{run.seconds:.0f} s, {len(run.uploads)} uploads open"]
    untold = sum(each[2] in cutter.untold for each in run.uploads)
    lines[-1] += f", of which {untold} have an id that nobody was told"
    return lines


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _report(given: argparse.Namespace, run: Run, cutter: Cutter, wrong: list[Wrong]) -> int:
    lines = _table(run, cutter)
    lines += ["", f"wrong outcomes: {len(wrong)}"]
    lines += [f"{number:6}  {rule}" for rule, number in count(wrong).most_common()]
    shown: Counter[str] = Counter()
    for each in wrong:
        shown[each.rule] += 1
        if shown[each.rule] <= given.shown:
            lines.append(str(each))
    lines += [f"the run: {problem}" for problem in run.problems]
    verdict = "failed" if wrong or run.problems else "passed"
    lines.append(f"{verdict}: {cutter.operations} operations, {cutter.cut} cuts, seed {given.seed}")
    _print(lines)
    return int(bool(wrong or run.problems))


def main() -> int:
    """Run the trial, and return the exit code."""
    given = arguments()
    _print([f"seed {given.seed}"])
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    run, cutter = Run(), Cutter(given.seed, Goal(given.operations, given.cuts))
    with ExitStack() as stack:
        running = stack.enter_context(sandbox.running())
        os.environ.update(sandbox.environment(running))
        os.environ["S3CRYPT_RETRY_SECONDS"] = str(given.deadline)
        settings, shelf = _prepare(given)
        relay = stack.enter_context(serving(cutting(running.endpoint_url, cutter)))
        _use(given, settings, cutter, relay.url, run)
        _look(settings, running.endpoint_url, run)
    if given.log:
        given.log.write_text("\n".join(event.line() for event in run.events.values()))
    _check_run(given, run, cutter)
    return _report(given, run, cutter, Oracle([*shelf, *run.events.values()]).wrong())


if __name__ == "__main__":
    sys.exit(main())
