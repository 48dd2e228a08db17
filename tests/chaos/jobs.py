# SPDX-License-Identifier: Apache-2.0
"""Jobs that are killed and resumed, and jobs whose replies are cut; every object is compared.

    python tests/chaos/jobs.py kill [--objects 300] [--kills 10] [--seed N] [--verbs put,get,rotate]
    python tests/chaos/jobs.py cut [--objects 200] [--rounds 1] [--cuts 200] [--seed N]

`kill` runs `put -r`, `get -r` and `rotate -r` with a journal. A relay kills the command at a random
request, and the command is run again until it ends. Then all bytes are compared; a finished file or
object may be processed again only if it was in flight at a kill. `cut` runs the same jobs, and jobs
that inspect and delete, in this process behind the relay of run.py, and run.py's oracle compares.
The exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from chaos.cut_jobs import cut_jobs  # noqa: E402 - found by the path above
from chaos.killed_jobs import kill_jobs  # noqa: E402
from s3crypt import sandbox  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill jobs, or cut their replies, and compare.")
    trials = parser.add_subparsers(dest="trial", required=True)
    kill = trials.add_parser("kill")
    kill.add_argument("--objects", type=int, default=300)
    kill.add_argument("--kills", type=int, default=10, help="of each verb")
    kill.add_argument("--jobs", type=int, default=8, help="objects in flight at once")
    kill.add_argument(
        "--verbs",
        choices=("put", "put,get", "put,rotate", "put,get,rotate"),
        default="put,get,rotate",
        help="get and rotate need the objects that put stores",
    )
    cut = trials.add_parser("cut")
    cut.add_argument("--objects", type=int, default=200, help="of each job")
    cut.add_argument("--rounds", type=int, default=1, help="of all jobs")
    cut.add_argument("--cuts", type=int, default=200, help="aimed at")
    cut.add_argument("--deadline", type=float, default=2, help="seconds that requests retry")
    for trial in (kill, cut):
        trial.add_argument("--seed", type=int, default=int(time.time()))
    return parser.parse_args()


@contextmanager
def _sandbox(deadline: float) -> Iterator[str]:
    """Run a sandbox with an empty bucket, `jobs`, direct all clients to it, and yield its URL."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    with sandbox.running() as running:
        os.environ.update(sandbox.environment(running))
        os.environ["S3CRYPT_RETRY_SECONDS"] = str(deadline)
        s3: Any = boto3.client("s3")
        s3.create_bucket(Bucket="jobs")
        yield running.endpoint_url


def main() -> int:
    """Run the trial; return the exit code."""
    given = _arguments()
    sys.stdout.write(f"seed {given.seed}\n")
    with _sandbox(getattr(given, "deadline", 60)) as url:
        trial = kill_jobs if given.trial == "kill" else cut_jobs
        lines, problems = trial(given, url)
    counted = Counter(problem.partition(":")[0] for problem in problems)
    lines += [f"{number:6}  {kind}" for kind, number in counted.most_common()]
    lines += problems[:40]
    lines.append("failed" if problems else "passed")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
