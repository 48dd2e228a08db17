# SPDX-License-Identifier: Apache-2.0
"""Rows of many.py that run put, get, cp, sync, rm and more on many small objects.

Every object has 1 KiB. Our objects are sealed, or encrypted by S3 if the row names an SSE mode; the
objects of aws-cli, s5cmd and boto3 are plain. A run counts only if the server counted a request for
each object, and if a `get` wrote every file.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import peers
import workload
from canned import KMS_KEY, MTIME
from checkouts import Checkout
from peers import MissingPeerError
from rows import Bench, Row, Run, Side, check_done, counted, nobody
from workload import BenchmarkError

_PLAIN_BOTO3 = Path(__file__).with_name("plain_boto3.py")
_OTHER_KMS_KEY = KMS_KEY.replace("11111111-", "99999999-")
_CACHED = ("--cache-data-keys", "3600")
_MEMORY_COUNTS = (10_000, 100_000)
_UNBOUND = "--no-bind-name"

Words = tuple[str | Path, ...]


def _key(bench: Bench) -> Words:
    return ("--key", f"aes:benchmark/memory={bench.key_file}")


def _kms(_: Bench) -> Words:
    return ("--key", f"kms:{KMS_KEY}")


def _kms_cached(bench: Bench) -> Words:
    return (*_kms(bench), *_CACHED)


def _sse_s3(_: Bench) -> Words:
    return ("--mode", "sse-s3")


# For each mode of a row: the command's options, and the bucket of canned.py with such objects.
_MODES: dict[str, tuple[Callable[[Bench], Words], str]] = {
    "aes": (_key, "aes"),
    "kms": (_kms, "kms"),
    "kms-cached": (_kms_cached, "kms"),
    "sse-s3": (_sse_s3, "sse-s3"),
}


def _unbound(mode: str) -> Words:
    return () if mode == "sse-s3" else (_UNBOUND,)


# --- runs --------------------------------------------------------------------------------------


def _run(
    bench: Bench,
    words: Words,
    environment: dict[str, str],
    operations: Sequence[str],
    count: int,
    target: Path | None = None,
) -> Run:
    if target:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
    bench.server.forget()
    ended = workload.run(words, environment)
    requests = bench.server.counts()
    check_done(requests, operations, count)
    if target:
        _check_files(target, count, bench.server.folder / "plain.body")
    return Run(ended.seconds, ended.cpu_seconds, ended.peak_rss, requests)


def _check_files(target: Path, count: int, plain: Path) -> None:
    files = [path for path in target.rglob("*") if path.is_file()]
    if len(files) != count or files[0].read_bytes() != plain.read_bytes():
        raise BenchmarkError(f"{len(files)} of {count} files came, or with other content")


def _ours(
    bench: Bench, words: Words, operations: Sequence[str], count: int, target: Path | None = None
) -> Iterator[Side]:
    for checkout in bench.checkouts:
        lacks = _lacking(checkout, words)
        command = checkout.command(*words)
        environment = checkout.environment(bench.server.endpoint_url)
        run = partial(_run, bench, command, environment, operations, count, target)
        yield Side(checkout.name, run, count, lacks)


def _lacking(checkout: Checkout, words: Words) -> str:
    """Return which options a checkout's command lacks, or "" if it has them all."""
    options = [word for word in words if isinstance(word, str) and word.startswith("--")]
    verb = str(words[0])
    missing = [option for option in options if not checkout.takes(verb, option)]
    return f"s3crypt {verb} has no {', '.join(missing)}" if missing else ""


def _peers(
    bench: Bench,
    verb: str,
    ends: Words,
    operations: Sequence[str],
    target: Path | None = None,
) -> Iterator[Side]:
    url = bench.server.endpoint_url
    # s5cmd needs a pattern to copy a folder's content or to delete below a prefix.
    starred = (f"{str(ends[0]).rstrip('/')}/*", *ends[1:])
    commands: dict[str, tuple[Callable[[], str], Words]] = {
        "aws-cli": (
            peers.PEERS["aws-cli"].path,
            ("--endpoint-url", url, "s3", verb, "--recursive", "--only-show-errors", *ends),
        ),
        "s5cmd": (
            peers.s5cmd_binary,
            ("--endpoint-url", url, "--no-sign-request", "--log", "error", verb, *starred),
        ),
    }
    for name, (path, words) in commands.items():
        try:
            command = (path(), *words)
        except MissingPeerError as missing:
            yield Side(name, lambda: Run(0, 0, 0), bench.count, str(missing))
            continue
        run = partial(_run, bench, command, nobody(), operations, bench.count, target)
        yield Side(name, run, bench.count)


def _boto3(
    bench: Bench, words: Words, operations: Sequence[str], target: Path | None = None
) -> Side:
    command = (sys.executable, _PLAIN_BOTO3, *words)
    environment = bench.checkouts[0].environment(bench.server.endpoint_url)
    run = partial(_run, bench, command, environment, operations, bench.count, target)
    return Side("boto3", run, bench.count)


# --- rows --------------------------------------------------------------------------------------


def _put(mode: str, bench: Bench) -> list[Side]:
    options, _ = _MODES[mode]
    source = bench.source(bench.count)
    # The objects share a cached data key, so their names cannot be bound to it.
    unbound = _unbound(mode) if mode == "kms-cached" else ()
    words = ("put", "-r", "-q", *options(bench), *unbound, source, "s3://written/")
    sides = list(_ours(bench, words, ["PutObject"], bench.count))
    if mode == "aes":
        sides += _peers(bench, "cp", (source, "s3://written/"), ["PutObject"])
        sides.append(_boto3(bench, ("put", source, "written"), ["PutObject"]))
    return sides


def _get(mode: str, bench: Bench) -> list[Side]:
    options, bucket = _MODES[mode]
    target, below = bench.folder / "got", f"{bench.count}/"
    ends = (f"s3://{bucket}/{below}", target)
    words = ("get", "-r", "-q", *options(bench), *_unbound(mode), *ends)
    sides = list(_ours(bench, words, ["GetObject"], bench.count, target))
    if mode == "aes":
        plain = (f"s3://plain/{below}", f"{target}/")
        sides += _peers(bench, "cp", plain, ["GetObject"], target)
        sides.append(_boto3(bench, ("get", "plain", below, target), ["GetObject"], target))
    return sides


def _beside(bench: Bench, words: Words, name: str, operations: Sequence[str]) -> Side:
    """Return a side that runs another command of this checkout, for comparison."""
    command = bench.checkouts[0].command(*words)
    environment = bench.checkouts[0].environment(bench.server.endpoint_url)
    run = partial(_run, bench, command, environment, operations, bench.count)
    return Side(name, run, bench.count)


def _as_put(verb: str, options: Words, bench: Bench) -> list[Side]:
    """Return the sides of `cp -r` or `sync` of new files, and of `put -r` of the same files."""
    ends = (bench.source(bench.count), "s3://written/new/")
    words = (*verb.split(), "-q", *options, *ends)
    put = _beside(bench, ("put", "-r", "-q", *options, *ends), "put -r", ["PutObject"])
    sides = [*_ours(bench, words, ["PutObject"], bench.count), put]
    if verb == "sync":
        sides.append(_aws_sync(bench, ends, ["PutObject"], bench.count))
    return sides


def _sync_none(mode: str, bench: Bench) -> list[Side]:
    """Return the sides of a sync of files that the bucket already has: nothing is stored."""
    options, bucket = _MODES[mode]
    source = bench.once("unchanged", lambda: _unchanged(bench))
    is_listed = mode == "sse-s3"
    operations, asked = (["ListObjectsV2"], 1) if is_listed else (["HeadObject"], bench.count)
    target = f"s3://{bucket}{'' if is_listed else '-mtime'}/{bench.count}/"
    words = ("sync", "-q", *options(bench), *_unbound(mode), source, target)
    sides = list(_ours(bench, words, operations, asked))
    if is_listed:
        sides.append(_aws_sync(bench, (source, f"s3://plain/{bench.count}/"), operations, asked))
    else:
        sides.append(_rclone_sync(bench, source, operations))
    return [
        replace(side, run=partial(_nothing_stored, side.run), items=bench.count) for side in sides
    ]


def _nothing_stored(run: Callable[[], Run]) -> Run:
    made = run()
    if made.requests.get("PutObject"):
        raise BenchmarkError("something was stored, although nothing is new")
    return made


def _unchanged(bench: Bench) -> Path:
    """Return a folder with the files that the canned server lists, with the same `mtime`."""
    folder = bench.new_folder("unchanged")
    for number in range(bench.count):
        path = folder / f"{number:07}"
        path.write_bytes(number.to_bytes(8) * 128)
        os.utime(path, (MTIME, MTIME))
    return folder


def _aws_sync(bench: Bench, ends: Words, operations: Sequence[str], count: int) -> Side:
    words = ("--endpoint-url", bench.server.endpoint_url, "s3", "sync", "--only-show-errors", *ends)
    return _peer(bench, "aws-cli", words, operations, count)


def _rclone_sync(bench: Bench, source: Path, operations: Sequence[str]) -> Side:
    # Without the slash at the end, rclone would first request whether the target is an object.
    words = ("sync", source, f"s:plain-mtime/{bench.count}/")
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_S_TYPE": "s3",
        "RCLONE_CONFIG_S_PROVIDER": "AWS",
        "RCLONE_CONFIG_S_ENV_AUTH": "true",
        "RCLONE_CONFIG_S_REGION": "us-east-1",
        "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_S_ENDPOINT": bench.server.endpoint_url,
    }
    return _peer(bench, "rclone", words, operations, bench.count, environment)


def _peer(
    bench: Bench,
    name: str,
    words: Words,
    operations: Sequence[str],
    count: int,
    environment: dict[str, str] | None = None,
) -> Side:
    try:
        command = (peers.PEERS[name].path(), *words)
    except MissingPeerError as missing:
        return Side(name, lambda: Run(0, 0, 0), count, str(missing))
    run = partial(_run, bench, command, nobody(**(environment or {})), operations, count)
    return Side(name, run, count)


def _rm(bench: Bench) -> list[Side]:
    words = ("rm", "-r", "-q", f"s3://aes/{bench.count}/")
    deleted = ["deleted keys"]
    sides = list(_ours(bench, words, deleted, bench.count))
    return [*sides, *_peers(bench, "rm", (f"s3://plain/{bench.count}/",), deleted)]


def _inspect(mode: str, bench: Bench) -> list[Side]:
    words = ("inspect", "-r", "-q", f"s3://{_MODES[mode][1]}/{bench.count}/")
    return list(_ours(bench, words, ["GetObject", "HeadObject"], bench.count))


def _rotated(bench: Bench, bucket: str, *options: str | Path) -> list[Side]:
    words = ("rotate", "-r", "-q", *options, f"s3://{bucket}/{bench.count}/")
    return list(_ours(bench, words, ["PutObject", "CopyObject"], bench.count))


def _rotate_aes(bench: Bench) -> list[Side]:
    to = ("--key", f"aes:benchmark/other={bench.other_key_file}", _UNBOUND)
    return _rotated(bench, "aes", *to, "--from-key", _key(bench)[1])


def _rotate_kms(bench: Bench) -> list[Side]:
    to = ("--key", f"kms:{_OTHER_KMS_KEY}", _UNBOUND)
    return _rotated(bench, "kms", *to, "--from-key", _kms(bench)[1])


def _rotate_kms_cached(bench: Bench) -> list[Side]:
    to = ("--key", f"kms:{_OTHER_KMS_KEY}", _UNBOUND, *_CACHED)
    return _rotated(bench, "kms", *to, "--from-key", _kms(bench)[1])


def _rewrap(bench: Bench) -> list[Side]:
    to = ("--key", f"kms:{_OTHER_KMS_KEY}", _UNBOUND, "--key-location", "metadata")
    return _rotated(bench, "kms-metadata", *to, "--from-key", _kms(bench)[1])


def _rotate_sse(bench: Bench) -> list[Side]:
    to = ("--mode", "sse-kms", "--key", f"kms:{KMS_KEY}")
    return _rotated(bench, "sse-s3", *to, "--from-mode", "sse-s3")


def _memory(verb: str, bench: Bench) -> list[Side]:
    """Return sides that do the same work on different numbers of objects, to compare memory."""
    made = []
    for count in (20, 200) if bench.tiny else _MEMORY_COUNTS:
        target = bench.folder / "got" if verb == "get" else None
        words: dict[str, tuple[Words, str]] = {
            "put": ((*_key(bench), bench.source(count), "s3://written/"), "PutObject"),
            "get": ((*_key(bench), _UNBOUND, f"s3://aes/{count}/", target or ""), "GetObject"),
            "rm": ((f"s3://aes/{count}/",), "deleted keys"),
        }
        options, operation = words[verb]
        (side, *_) = _ours(bench, (verb, "-r", "-q", *options), [operation], count, target)
        made.append(Side(f"{count:,}", side.run, count, side.missing))
    return made


def _capacity(verb: str, bench: Bench) -> str:
    put = ("--put", "1024") if verb in {"put", "cp", "rotate"} else ()
    path = "/written/one" if put else "/aes/1/0000000"
    return counted(bench.server, path, *put, delay=bench.delay)


def _row(name: str, what: str, sides: Callable[[Bench], list[Side]]) -> Row:
    verb = name.removeprefix("memory-").partition("-")[0]
    return Row(name, what, sides, partial(_capacity, verb))


_TOLD = {
    "aes": "client-side under an AES key",
    "kms": "client-side under a KMS key",
    "kms-cached": "client-side under a KMS key, data keys cached",
    "sse-s3": "SSE-S3",
}
ROWS: tuple[Row, ...] = (
    *(_row(f"put-{mode}", f"put -r, {told}", partial(_put, mode)) for mode, told in _TOLD.items()),
    *(_row(f"get-{mode}", f"get -r, {told}", partial(_get, mode)) for mode, told in _TOLD.items()),
    _row(
        "cp-aes",
        "cp -r, client-side, and put -r",
        lambda bench: _as_put("cp -r", _key(bench), bench),
    ),
    _row(
        "sync-new-aes",
        "sync, all new, client-side, and put -r",
        lambda bench: _as_put("sync", _key(bench), bench),
    ),
    _row(
        "sync-new-sse-s3",
        "sync, all new, SSE-S3, and put -r",
        lambda bench: _as_put("sync", _sse_s3(bench), bench),
    ),
    _row(
        "sync-none-aes",
        "sync, nothing new, client-side: a HEAD for each",
        partial(_sync_none, "aes"),
    ),
    _row(
        "sync-none-sse-s3",
        "sync, nothing new, SSE-S3: by the listing",
        partial(_sync_none, "sse-s3"),
    ),
    _row("rm", "rm -r", _rm),
    _row("inspect-aes", "inspect -r, client-side", partial(_inspect, "aes")),
    _row("inspect-sse-s3", "inspect -r, SSE-S3", partial(_inspect, "sse-s3")),
    _row("rotate-aes", "rotate -r, re-encrypted under another AES key", _rotate_aes),
    _row("rotate-kms", "rotate -r, re-encrypted under another KMS key", _rotate_kms),
    _row("rotate-kms-cached", "rotate -r, the same, data keys cached", _rotate_kms_cached),
    _row("rotate-rewrap", "rotate -r, rewrapped by KMS, key in the metadata", _rewrap),
    _row("rotate-sse-s3", "rotate -r, SSE-S3 to SSE-KMS, copied inside S3", _rotate_sse),
    *(
        _row(f"memory-{verb}", f"{verb} -r of more and more objects", partial(_memory, verb))
        for verb in ("put", "get", "rm")
    ),
)
