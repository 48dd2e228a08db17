# SPDX-License-Identifier: Apache-2.0
"""Runs of aws-cli, rclone and s3crypt. Each run returns the names that it sent and deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt import NameFilter, S3Crypt

if TYPE_CHECKING:
    from collections.abc import Callable

# This variable names more folders with the peers' commands; benchmarks/peers.py reads it too.
_MORE_PATH = "S3CRYPT_BENCH_PEERS_PATH"


@dataclass(frozen=True, slots=True)
class Variant:
    """Options that all three tools support.

    Attributes:
        name: The name in the table.
        aws, rclone: Command line arguments.
        ours: Options of `Many.sync`.
        rclone_verb: The verb; `copy` deletes nothing.
    """

    name: str
    aws: tuple[str, ...]
    rclone: tuple[str, ...]
    ours: dict[str, Any]
    rclone_verb: str = "sync"


VARIANTS = (
    Variant("--delete", ("--delete",), (), {"delete": True}),
    Variant("no --delete", (), (), {}, "copy"),
    Variant(
        "--delete --exclude '*.tmp'",
        ("--delete", "--exclude", "*.tmp"),
        ("--exclude", "*.tmp"),
        {"delete": True, "names": NameFilter((("exclude", "*.tmp"),))},
    ),
    Variant(
        "--delete --exclude '*' --include '*.csv' --include '*new'",
        ("--delete", "--exclude", "*", "--include", "*.csv", "--include", "*new"),
        ("--include", "*.csv", "--include", "*new"),
        {
            "delete": True,
            "names": NameFilter((("exclude", "*"), ("include", "*.csv"), ("include", "*new"))),
        },
    ),
    Variant(
        "--delete --size-only",
        ("--delete", "--size-only"),
        ("--size-only",),
        {"delete": True, "size_only": True},
    ),
)


@dataclass(frozen=True, slots=True)
class Made:
    """The actions of a tool: the relative names that it sent, and those that it deleted."""

    sent: frozenset[str]
    deleted: frozenset[str]


def path_of(command: str) -> str | None:
    """Return the path of a peer's command. Return None if it is not installed."""
    own = str(Path(sys.executable).parent)
    folders = [own, os.environ.get("PATH", os.defpath), os.environ.get(_MORE_PATH, "")]
    found = shutil.which(command, path=os.pathsep.join(filter(None, folders)))
    if found is None:
        return None
    # A version manager may have a file of this name although the command is not installed.
    done = subprocess.run([found, "--version"], capture_output=True, check=False)
    return found if done.returncode == 0 else None


def aws(source: str, target: str, variant: Variant) -> Made:
    """Run `aws s3 sync`."""
    words = [str(path_of("aws")), "s3", "sync", source, target, *variant.aws]
    words += ["--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "--no-progress"]
    sent, deleted = set(), set()
    for line in _output(words).splitlines():
        verb, _, rest = line.partition(": ")
        if verb == "delete":
            deleted.add(_below(rest, target))
        elif verb in ("upload", "download", "copy"):
            sent.add(_below(rest.rsplit(" to ", 1)[1], target))
    return Made(frozenset(sent), frozenset(deleted))


def rclone(source: str, target: str, variant: Variant) -> Made:
    """Run `rclone sync`, or `rclone copy` if the tool must delete nothing."""
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_S_TYPE": "s3",
        "RCLONE_CONFIG_S_PROVIDER": "Other",
        "RCLONE_CONFIG_S_ENV_AUTH": "true",
        "RCLONE_CONFIG_S_ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
        "RCLONE_CONFIG_S_REGION": "us-east-1",
    }
    places = [place.replace("s3://", "s:", 1) for place in (source, target)]
    words = [str(path_of("rclone")), variant.rclone_verb, *places, *variant.rclone]
    words += ["-v", "--use-json-log", "--stats", "0"]
    sent, deleted = set(), set()
    for line in _output(words, environment, errors=True).splitlines():
        said = json.loads(line)
        if said["msg"].startswith("Copied"):
            sent.add(said["object"])
        elif said["msg"].startswith("Deleted"):
            deleted.add(said["object"])
    return Made(frozenset(sent), frozenset(deleted))


def ours(source: str, target: str, variant: Variant) -> Made:
    """Run `Many.sync`."""
    sent, deleted = set(), set()
    for outcome in S3Crypt("sse-s3").many.sync(source, target, **variant.ours):
        if outcome.error is not None:
            raise outcome.error
        if outcome.action == "copied":
            sent.add(_below(outcome.target, target))
        elif outcome.action == "deleted":
            deleted.add(_below(outcome.target, target))
    return Made(frozenset(sent), frozenset(deleted))


TOOLS: dict[str, Callable[[str, str, Variant], Made]] = {
    "aws": aws,
    "rclone": rclone,
    "ours": ours,
}


def _below(place: str, root: str) -> str:
    if not root.startswith("s3://"):
        # aws-cli prints paths relative to the current folder, so return them relative to `root`.
        return os.path.relpath(place, root)
    return place[len(root) :]


def _output(
    words: list[str], environment: dict[str, str] | None = None, *, errors: bool = False
) -> str:
    done = subprocess.run(
        words,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{words[:3]}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stderr if errors else done.stdout
