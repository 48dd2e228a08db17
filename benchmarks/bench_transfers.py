# SPDX-License-Identifier: Apache-2.0
"""How long do put and get of one object take, by size and mode, against plain clients?

The transfers go from and to files in memory, against the null server, over http and https. Plain
boto3 runs in this process, in two ways: `object` (put_object, get_object) and `file` (upload_file,
download_file). s5cmd and rclone are whole processes. null_s3.conf.template lists every faked reply
of the server. The server encrypts nothing, so the `sse` modes show the cost of requesting
encryption for a client.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commands
import nullserver
import operation
import peers
import pytest
import workload
from suite import parameters
from workload import BUCKET, size_name

from s3crypt import S3Crypt, message
from s3crypt.formats import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from suite import Measure

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30
SIZES = (_KIB, 64 * _KIB, _MIB, 8 * _MIB, 64 * _MIB, _GIB)
# The largest object that the S3 Encryption Client moves here: it holds several copies in memory.
LARGEST_IN_ONE = 64 * _MIB
# The smallest object that whole commands move: below it, their start takes longer than the
# transfer.
SMALLEST_FOR_COMMANDS = 8 * _MIB
WAYS = ("plain object", "plain file", *operation.MODES, "S3 Encryption Client", "s5cmd", "rclone")
SCHEMES = ("http", "https")
VERBS = ("put", "get")
_S3EC = Path(__file__).with_name("s3ec.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the cases that exist: not every client is measured at every size, or over https."""
    cases = [
        pytest.param(verb, way, size, scheme, id=f"{verb}-{size_name(size)}-{way}-{scheme}")
        for verb in VERBS
        for size in SIZES
        for way in WAYS
        for scheme in SCHEMES
        if _is_case(way, size, scheme)
    ]
    metafunc.parametrize(("verb", "way", "size", "scheme"), cases)


def _is_case(way: str, size: int, scheme: str) -> bool:
    if way in ("s5cmd", "rclone"):
        return size >= SMALLEST_FOR_COMMANDS and scheme == "http"
    if way == "S3 Encryption Client":
        return size <= LARGEST_IN_ONE and scheme == "http"
    return way != "plain object" or size <= LARGEST_IN_ONE


class Objects:
    """The objects of every size and mode. The server needs their headers when it starts.

    Attributes:
        described: The headers of the objects, by `BUCKET/NAME`.
    """

    def __init__(self, folder: Path, theirs: Theirs | None) -> None:
        self._folder = folder
        self._theirs = theirs
        self.described: dict[str, Mapping[str, str]] = {}

    def source(self, size: int) -> Path:
        """Return the file with the plaintext of this size."""
        path = self._folder / size_name(size)
        if not path.exists():
            workload.make_source(path, size)
        return path

    def make(self, way: str, size: int) -> Path:
        """Return a file with the stored bytes of an object of this size, made in this way."""
        source = self.source(size)
        if way.startswith("client"):
            return self._sealed(way, size, source)
        if way == "S3 Encryption Client":
            target = self._folder / name_of(way, size)
            assert self._theirs
            said = self._theirs.ask(do="seal", source=str(source), target=str(target))
            self.described[f"{BUCKET}/{name_of(way, size)}"] = said["headers"]
            return target
        reported = {
            "sse-s3": {"x-amz-server-side-encryption": "AES256"},
            "sse-kms": {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": operation.KMS_KEY,
            },
        }
        self.described[f"{BUCKET}/{name_of(way, size)}"] = reported.get(way, {})
        return source

    def _sealed(self, way: str, size: int, source: Path) -> Path:
        keyring = operation.keyring()
        kept = entries.ObjectKeyring(keyring) if way == "client-metadata" else None
        target = self._folder / name_of(way, size)
        with source.open("rb") as plain, target.open("wb") as sealed:
            reader = message.EncryptingReader(plain, kept or keyring)
            while data := reader.read(_MIB):
                sealed.write(data)
        with target.open("rb") as sealed:
            header = message.read_header(sealed)
        self.described[f"{BUCKET}/{name_of(way, size)}"] = {
            f"x-amz-meta-{name}": value for name, value in entries.described(header, kept).items()
        }
        return target


class Theirs:
    """The S3 Encryption Client, in a process with its own environment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **what: str) -> dict[str, Any]:
        """Send one request to the process. Return its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise workload.BenchmarkError("the S3 Encryption Client ended")
        answer: dict[str, Any] = json.loads(said)
        return answer


def name_of(way: str, size: int) -> str:
    """Return the name of the object that a `get` of this way and size reads."""
    return f"{way.replace(' ', '-')}-{size_name(size)}"


@pytest.fixture(scope="session")
def theirs() -> Iterator[Theirs | None]:
    """Start the S3 Encryption Client. Yield None if it is not installed."""
    try:
        python = peers.PEERS["S3 Encryption Client"].path()
    except peers.MissingPeerError:
        yield None
        return
    with subprocess.Popen(
        [python, _S3EC],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=workload.environment(),
    ) as process:
        yield Theirs(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="session")
def objects(folder: Path, theirs: Theirs | None) -> Objects:
    """Return the objects of the cases. None of them has been made yet."""
    return Objects(folder, theirs)


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, folder: Path, objects: Objects, theirs: Theirs | None
) -> Iterator[nullserver.NullServer]:
    """Run a null server that serves an object for each selected case."""
    cases = [
        parameters(item) for item in request.session.items if isinstance(item, pytest.Function)
    ]
    chosen = {(case["way"], case["size"]) for case in cases if "way" in case}
    made = {
        name_of(way, size): objects.make(way, size)
        for way, size in sorted(chosen)
        if theirs or way != "S3 Encryption Client"
    }
    with nullserver.running(folder, objects.described) as server:
        for name, path in made.items():
            server.serve(BUCKET, name).symlink_to(path)
        if theirs:
            theirs.ask(do="connect", endpoint_url=server.endpoint_url)
        yield server


@pytest.fixture
def client(
    server: nullserver.NullServer, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Return a boto3 client that does not hash payloads for its signatures."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.certificate))
    made = operation.client(server.endpoint_url if scheme == "http" else server.tls_endpoint_url)
    yield made
    made.close()


def _in_process(client: Any, way: str, verb: str, source: Path, target: Path, name: str) -> Any:
    place = {"Bucket": BUCKET, "Key": name}
    uri = f"s3://{BUCKET}/{name}"

    def put_object() -> None:
        with source.open("rb") as body:
            client.put_object(Body=body, **place)

    def get_object() -> None:
        target.write_bytes(client.get_object(**place)["Body"].read())

    if way == "plain object":
        return put_object if verb == "put" else get_object
    if way == "plain file":
        if verb == "put":
            return lambda: client.upload_file(str(source), *place.values())
        return lambda: client.download_file(*place.values(), str(target))
    store = S3Crypt(operation.MODES[way](), client=client)
    return (lambda: store.put(source, uri)) if verb == "put" else (lambda: store.get(uri, target))


def _of_their_client(
    theirs: Theirs | None, verb: str, source: Path, target: Path, name: str
) -> Callable[[], object]:
    peers.find("S3 Encryption Client")
    assert theirs
    if verb == "put":
        return lambda: theirs.ask(do="put", source=str(source), name=name)
    return lambda: theirs.ask(do="get", name=name, target=str(target))


def bench_transfer(  # noqa: PLR0913, PLR0917 - what makes a case; pytest passes it by name
    measure: Measure,
    folder: Path,
    server: nullserver.NullServer,
    client: Any,
    objects: Objects,
    theirs: Theirs | None,
    verb: str,
    way: str,
    size: int,
    scheme: str,
) -> None:
    """Measure put or get of one object."""
    source, target, name = objects.source(size), folder / "got", name_of(way, size)
    work: Callable[[], object]
    if way in ("s5cmd", "rclone"):
        copy = commands.s5cmd_copy if way == "s5cmd" else commands.rclone_copy
        uri = f"s3://{BUCKET}/{name}"
        ends: tuple[Path | str, Path | str] = (source, uri) if verb == "put" else (uri, target)
        work = copy(server.endpoint_url, *ends).run
    elif way == "S3 Encryption Client":
        work = _of_their_client(theirs, verb, source, target, name)
    else:
        work = _in_process(client, way, verb, source, target, name)
    large = size > _MIB
    measure(
        work,
        before=(lambda: target.unlink(missing_ok=True)) if large else None,
        group=f"{verb} {size_name(size)} {scheme}",
        size=size,
        rounds=5 if large else 11,
        direction=verb,
        way=way,
        scheme=scheme,
    )
    assert verb == "put" or target.stat().st_size == size
    target.unlink(missing_ok=True)
