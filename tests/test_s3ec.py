# SPDX-License-Identifier: Apache-2.0
"""Objects of the Amazon S3 Encryption Client are never read as plaintext."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, Asked, relaying
from s3crypt_cli.main import run
from samples import aes, connect, names, stored

from s3crypt import (
    SSES3,
    ClientSide,
    ConfigError,
    FormatError,
    ObjectNotFoundError,
    PolicyError,
    RotationError,
    StorageError,
)
from s3crypt import s3ec as marks
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import RequestsLog

# Like almost any ciphertext, these bytes are not text, and do not begin like a known file type.
CIPHERTEXT = b"\x07\xc1\x00" + random.Random(1).randbytes(3000)
LENGTH = {"x-amz-unencrypted-content-length": "2987"}


def _base64(count: int) -> str:
    return base64.b64encode(random.Random(count).randbytes(count)).decode()


V1 = {"x-amz-key": _base64(48), "x-amz-iv": _base64(16), "x-amz-matdesc": "{}"}
V2 = {
    "x-amz-key-v2": _base64(184),
    "x-amz-iv": _base64(12),
    "x-amz-matdesc": '{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}',
    "x-amz-wrap-alg": "kms+context",
    "x-amz-cek-alg": "AES/GCM/NoPadding",
    "x-amz-tag-len": "128",
}
V3_OBJECT = {"x-amz-c": "115", "x-amz-d": _base64(28), "x-amz-i": _base64(27)}
V3_FILE = {"x-amz-3": _base64(184), "x-amz-w": "12", "x-amz-t": '{"a": "b"}'}
ENVELOPES: dict[str, dict[str, str]] = {
    "V1": V1,
    "V2": V2,
    "V3": {**V3_OBJECT, **V3_FILE},
    "V3, its length empty as Go writes it": {**V3_OBJECT, **V3_FILE, "x-amz-m": ""},
}
# For each client: the metadata of the object, and the content of its instruction file.
SPLIT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "Ruby V1": (LENGTH, V1),
    "Ruby V2": (LENGTH, V2),
    "PHP V1": ({}, {**V1, **LENGTH}),
    "PHP V2": ({}, {**V2, **LENGTH}),
    "V3": (V3_OBJECT, V3_FILE),
}
READS: dict[str, Callable[[Any, str], Any]] = {
    "read": lambda store, uri: store.read(uri),
    "get": lambda store, uri: store.get(uri, io.BytesIO()),
    "a range": lambda store, uri: store.read(uri, byte_range="100-199"),
    "open": lambda store, uri: store.open(uri),
    "head": lambda store, uri: store.head(uri),
    "inspect": lambda store, uri: store.inspect(uri),
    "needs_rotation": lambda _, uri: connect(SSES3()).needs_rotation(uri, to=ClientSide(aes())),
    "rotate": lambda _, uri: connect(SSES3()).rotate(uri, to=ClientSide(aes())),
}


def _store_pair(s3: Any, bucket: str, name: str, kind: str) -> str:
    """Put an object and its instruction file, as the client `kind` writes them. Return the URI."""
    on_object, in_file = SPLIT[kind]
    s3.put_object(Bucket=bucket, Key=name, Body=CIPHERTEXT, Metadata=on_object)
    s3.put_object(Bucket=bucket, Key=f"{name}.instruction", Body=json.dumps(in_file))
    return f"s3://{bucket}/{name}"


@pytest.mark.parametrize("kind", SPLIT)
def test_an_object_with_an_instruction_file_is_refused(kind: str, bucket: str, s3: Any) -> None:
    """Every read and rotation refuses an object with an instruction file, and names the file."""
    uri = _store_pair(s3, bucket, "x", kind)
    for how, read in READS.items():
        with pytest.raises(FormatError, match=r"S3 Encryption Client.*instruction.*key") as error:
            read(connect(), uri)
        assert str(error.value).startswith(f"{uri}: "), how
    assert stored(s3, bucket, "x") == CIPHERTEXT


@pytest.mark.parametrize("kind", ENVELOPES)
def test_an_object_with_its_envelope_in_metadata_is_refused(
    kind: str, bucket: str, s3: Any
) -> None:
    """An object with the S3 Encryption Client's metadata is refused, whatever the store's mode."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT, Metadata=ENVELOPES[kind])
    for mode in (None, SSES3(), ClientSide(aes())):
        with pytest.raises(FormatError, match="is of the Amazon S3 Encryption Client"):
            connect(mode).read(f"s3://{bucket}/x")


def test_the_length_that_ruby_leaves_needs_no_request(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """The length that the Ruby client stores as metadata suffices to refuse without a request."""
    uri = _store_pair(s3, bucket, "x", "Ruby V2")
    requests_log.clear()
    for mode in (None, SSES3()):
        with pytest.raises(FormatError, match="instruction file"):
            connect(mode).read(uri)
    assert [entry["method"] for entry in requests_log.list()] == ["GET", "GET"]


def _instruction_files() -> dict[str, tuple[str, dict[str, str]]]:
    return {
        "V1": (json.dumps(V1), {}),
        "V2, compact": (json.dumps(V2, separators=(",", ":")), {}),
        "V3": (json.dumps(V3_FILE, indent=2), {}),
        "old .NET": (json.dumps({"EncryptedEnvelopeKey": _base64(48), "IV": _base64(16)}), {}),
        "a long description": (json.dumps(V2 | {"x-amz-matdesc": "a" * 9000}), {}),
        "Java's mark": ("anything", {"x-amz-crypto-instr-file": ""}),
    }


@pytest.mark.parametrize("kind", _instruction_files())
@pytest.mark.parametrize("name", ["x.instruction", "x.another-suffix"])
def test_an_instruction_file_is_known_by_its_body_or_mark(
    kind: str, name: str, bucket: str, s3: Any
) -> None:
    """An instruction file is known by its content or metadata, whatever its name, and refused."""
    body, metadata = _instruction_files()[kind]
    s3.put_object(Bucket=bucket, Key=name, Body=body, Metadata=metadata)
    for how in ("read", "inspect", "rotate"):
        with pytest.raises(FormatError, match="is an instruction file"):
            READS[how](connect(), f"s3://{bucket}/{name}")
    assert stored(s3, bucket, name) == body.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"",
        b"instructions: stir",
        b'{"x-amz-key": 1, "x-amz-iv": 2}',
        b'{"x-amz-key": "AAAA"}',
        b'{"x-amz-key": "AAAA", "x-amz-iv": "AAAA"',
        b'["x-amz-key", "x-amz-iv"]',
        b'{"x-amz-key-v2": ' + b"[" * 60_000,
        random.Random(2).randbytes(100),
        json.dumps(V2 | {"x-amz-matdesc": "a" * 2**17}).encode(),
    ],
)
def test_the_suffix_alone_makes_no_instruction_file(body: bytes, bucket: str, s3: Any) -> None:
    """A file with only the name of an instruction file is read, and so is the object beside it."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT)
    s3.put_object(Bucket=bucket, Key="x.instruction", Body=body)
    store = connect()
    assert store.read(f"s3://{bucket}/x.instruction") == body
    assert store.read(f"s3://{bucket}/x") == CIPHERTEXT
    (outcome,) = connect(SSES3()).rotate(f"s3://{bucket}/x", to=ClientSide(aes()))
    assert outcome.action == "re-encrypted"


@pytest.mark.parametrize(
    "body",
    [b"", b"plain text", "größer".encode(), b"PAR1" + CIPHERTEXT, b"PK\x03\x04" + CIPHERTEXT,
     b"15 random bytes"[:14] + b"\xff"],
)  # fmt: skip
def test_what_cannot_be_ciphertext_costs_no_request(
    body: bytes, bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """No instruction file is looked for if the content cannot be the client's ciphertext.

    This is so for text, for known file types, and if there are fewer bytes than a tag has.
    """
    s3.put_object(Bucket=bucket, Key="x", Body=body)
    requests_log.clear()
    assert connect().read(f"s3://{bucket}/x") == body
    assert not any(entry["path"].endswith(".instruction") for entry in requests_log.list())


def _about_neighbours(log: RequestsLog) -> list[str]:
    return [entry["method"] for entry in log.list() if str(entry["path"]).endswith(".instruction")]


def test_other_bytes_cost_one_head(bucket: str, s3: Any, requests_log: RequestsLog) -> None:
    """For other content, one HEAD looks for an instruction file, if the store has no mode."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT)
    for mode, asked in ((None, ["HEAD"]), (SSES3(), [])):
        requests_log.clear()
        assert connect(mode).read(f"s3://{bucket}/x") == CIPHERTEXT
        assert _about_neighbours(requests_log) == asked


def test_a_message_costs_no_head(bucket: str, requests_log: RequestsLog) -> None:
    """`inspect` of an Encryption SDK message does not look for an instruction file."""
    connect(ClientSide(aes())).put(b"x", f"s3://{bucket}/x")
    requests_log.clear()
    connect().inspect(f"s3://{bucket}/x")
    assert _about_neighbours(requests_log) == []


def test_rotating_a_plain_object_to_client_side_always_asks(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """A rotation of a plain object to client-side always looks for an instruction file.

    If the object has an instruction file, no client could open it after it is encrypted again.
    """
    s3.put_object(Bucket=bucket, Key="x", Body=b"text")
    requests_log.clear()
    with pytest.raises(PolicyError, match="no mode was given"):
        connect().rotate(f"s3://{bucket}/x", to=ClientSide(aes()))
    assert _about_neighbours(requests_log) == []
    connect(SSES3()).rotate(f"s3://{bucket}/x", to=ClientSide(aes()))
    assert _about_neighbours(requests_log) == ["HEAD"]
    s3.put_object(Bucket=bucket, Key="y", Body=b"text")
    s3.put_object(Bucket=bucket, Key="y.instruction", Body=json.dumps(V2))
    with pytest.raises(FormatError, match=f"s3://{bucket}/y.instruction holds its key"):
        connect(SSES3()).rotate(f"s3://{bucket}/y", to=ClientSide(aes()))


@pytest.mark.parametrize(("status", "goes_on"), [(403, True), (404, True), (500, False)])
def test_a_neighbour_that_may_not_be_seen_is_none(
    status: int, goes_on: bool, bucket: str, s3: Any, sandbox: Any
) -> None:
    """A 403 or 404 means that there is no instruction file; any other failure fails the read."""
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT)

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        return Answer(status) if asked.path.endswith(".instruction") else forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store, uri = connect(endpoint_url=relay.url), f"s3://{bucket}/x"
        if goes_on:
            assert store.read(uri) == CIPHERTEXT
            return
        with pytest.raises(StorageError, match="instruction"):
            store.read(uri)


def test_a_name_too_long_for_a_neighbour_is_read(bucket: str, s3: Any) -> None:
    """For a name of 1,020 bytes no request is made: `.instruction` would exceed S3's limit."""
    s3.put_object(Bucket=bucket, Key="x" * 1020, Body=CIPHERTEXT)
    assert connect().read(f"s3://{bucket}/{'x' * 1020}") == CIPHERTEXT


def test_a_prefix_is_rotated_around_such_objects(
    bucket: str, s3: Any, requests_log: RequestsLog
) -> None:
    """A rotation of a prefix refuses both objects of each pair; other objects cost no HEAD."""
    for number, kind in enumerate(SPLIT):
        _store_pair(s3, bucket, f"p/{number}", kind)
    for name in ("p/plain", "p/2-between", "p/other.instruction"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"plain")
    before = {name: stored(s3, bucket, name) for name in names(s3, bucket)}
    requests_log.clear()
    with pytest.raises(RotationError) as error:
        connect(SSES3()).rotate(f"s3://{bucket}/p/", to=ClientSide(aes()))
    outcomes: Any = error.value.outcomes
    failed = {o.uri.rpartition("p/")[2] for o in outcomes if o.action == "failed"}
    pairs = {str(number) for number in range(len(SPLIT))}
    assert failed == pairs | {f"{name}.instruction" for name in pairs}
    for outcome in outcomes:
        assert outcome.error is None or isinstance(outcome.error, FormatError), outcome
    after = {name: stored(s3, bucket, name) for name in before}
    assert {name.removeprefix("p/") for name in before if after[name] == before[name]} == failed
    heads = [e for e in requests_log.list() if e["method"] == "HEAD"]
    listed = {f"/{bucket}/{name}" for name in before}
    assert {entry["path"] for entry in heads} <= listed


def test_a_recursive_get_knows_neighbours_by_the_listing(
    bucket: str, s3: Any, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """A recursive get makes no HEAD for instruction files: it uses the listing."""
    _store_pair(s3, bucket, "p/pair", "PHP V2")
    s3.put_object(Bucket=bucket, Key="p/alone", Body=CIPHERTEXT)
    s3.put_object(Bucket=bucket, Key="p/told", Body=CIPHERTEXT)
    s3.put_object(Bucket=bucket, Key="p/told.instruction", Body=b"no such file")
    requests_log.clear()
    assert run(["get", "-r", f"s3://{bucket}/p", str(tmp_path)]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "alone",
        "told",
        "told.instruction",
    ]
    # The other HEADs fetch checksums of objects that were read, with the ETag as condition.
    heads = [entry for entry in requests_log.list() if entry["method"] == "HEAD"]
    assert all("if-match" in entry["headers"] for entry in heads)
    assert not any(entry["path"].endswith("/alone.instruction") for entry in requests_log.list())


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        ([], {}),
        (["a", "a-b", "a.instruction"], {"a": True, "a-b": False, "a.instruction": False}),
        (["a", "a.instruction", "a.instruction.instruction"],
         {"a": True, "a.instruction": True, "a.instruction.instruction": False}),
        (["a", "b", "c"], dict.fromkeys("abc", False)),
        (["b", "a", "a.instruction"], {"b": None, "a": None, "a.instruction": None}),
        (["é", "é.instruction"], {"é": True, "é.instruction": False}),
    ],
)  # fmt: skip
def test_a_listing_tells_neighbours(listing: list[str], found: dict[str, bool | None]) -> None:
    """A sorted listing shows which items have an instruction file; an unsorted one does not."""
    pairs = list(marks.with_neighbours(listing, str))
    assert [name for name, _ in pairs] == listing
    assert dict(pairs) == found


def test_a_listing_is_read_no_further_than_needed() -> None:
    """An item is yielded once the listing has passed the place of its instruction file."""
    taken = []

    def listing() -> Iterator[str]:
        for number in range(10):
            taken.append(number)
            yield f"{number:03}"

    assert next(iter(marks.with_neighbours(listing(), str))) == ("000", False)
    assert taken == [0, 1]


@pytest.mark.parametrize("kind", ["Ruby V2", "PHP V2"])
def test_a_copy_and_the_file_system_refuse_too(kind: str, bucket: str, s3: Any) -> None:
    """The file system refuses an S3 Encryption Client object in cat, open, info and copy."""
    _store_pair(s3, bucket, "x", kind)
    files: Any = S3CryptFileSystem(encryption="any")
    acts: tuple[Callable[[], Any], ...] = (
        lambda: files.cat_file(f"{bucket}/x"),
        lambda: files.cat_file(f"{bucket}/x", 0, 10),
        lambda: files.open(f"{bucket}/x"),
        lambda: files.info(f"{bucket}/x"),
        lambda: files.cp_file(f"{bucket}/x", f"{bucket}/y", mode=SSES3()),
    )
    for act in acts:
        with pytest.raises(FormatError, match="S3 Encryption Client"):
            act()
    assert "y" not in names(s3, bucket)


def test_cat_refuses_with_exit_code_3_and_no_output(
    bucket: str, s3: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """`cat` of an S3 Encryption Client object exits with 3 and prints nothing to stdout."""
    _store_pair(s3, bucket, "x", "PHP V2")
    assert run(["cat", f"s3://{bucket}/x"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert f"s3://{bucket}/x.instruction" in err


# --- The S3 Encryption Client's metadata entries in our writes -----------------------------------


@pytest.mark.parametrize("name", sorted(marks.ENTRIES))
def test_its_entries_are_refused_as_metadata(name: str, bucket: str, s3: Any) -> None:
    """`put` and `open` refuse the S3 Encryption Client's metadata names, in any case."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"
    for spelled in (name, name.upper()):
        with pytest.raises(ConfigError, match="S3 Encryption Client"):
            store.put(b"x", uri, metadata={spelled: "AAAA"})
        with pytest.raises(ConfigError, match="S3 Encryption Client"):
            store.open(uri, "wb", metadata={spelled: "AAAA"})
    assert names(s3, bucket) == []


def test_the_command_and_the_file_system_refuse_its_entries(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    """The command and the file system refuse the S3 Encryption Client's metadata names, too."""
    source = tmp_path / "in"
    source.write_bytes(b"x")
    uri = f"s3://{bucket}/x"
    entry = ["--mode", "sse-s3", "--metadata", "x-amz-key=AAAA"]
    assert run(["put", str(source), uri, *entry]) == 2
    files: Any = S3CryptFileSystem(encryption="sse-s3")
    with pytest.raises(ConfigError, match="S3 Encryption Client"):
        files.pipe_file(f"{bucket}/x", b"x", metadata={"x-amz-i": "AAAA"})
    with pytest.raises(ConfigError, match="S3 Encryption Client"):
        files.open(f"{bucket}/x", "wb", metadata={"x-amz-i": "AAAA"})
    assert names(s3, bucket) == []


@pytest.mark.parametrize("location", ["header", "metadata"])
@pytest.mark.parametrize("to", [SSES3(), ClientSide(aes("two"))])
def test_a_message_with_a_stray_entry_is_read_and_not_rewritten(
    location: Any, to: Any, bucket: str, s3: Any
) -> None:
    """A message with one such metadata entry is read, but not copied or rotated."""
    mode = ClientSide(aes(), key_location=location)
    store, uri = connect(mode), f"s3://{bucket}/x"
    store.put(b"x", uri)
    head = s3.head_object(Bucket=bucket, Key="x")
    s3.put_object(
        Bucket=bucket,
        Key="x",
        Body=stored(s3, bucket, "x"),
        Metadata={**head["Metadata"], "x-amz-matdesc": "{}"},
    )
    assert store.read(uri) == b"x"
    with pytest.raises(FormatError) as error:
        store.rotate(uri, to=to)
    assert "x-amz-matdesc" in str(error.value.hint)
    files: Any = S3CryptFileSystem(mode)
    with pytest.raises(FormatError, match="S3 Encryption Client"):
        files.cp_file(f"{bucket}/x", f"{bucket}/y")
    files.cp_file(f"{bucket}/x", f"{bucket}/y", metadata={"a": "b"})
    assert store.read(f"s3://{bucket}/y", written_as="y") == b"x"


def test_a_client_side_store_says_what_it_was_given(bucket: str, s3: Any) -> None:
    """The error names the S3 Encryption Client only if the object has the client's metadata."""
    store = connect(ClientSide(aes()))
    s3.put_object(Bucket=bucket, Key="x", Body=CIPHERTEXT, Metadata=LENGTH)
    with pytest.raises(FormatError, match="S3 Encryption Client"):
        store.read(f"s3://{bucket}/x")
    with pytest.raises(ObjectNotFoundError):
        store.read(f"s3://{bucket}/nothing")
    s3.put_object(Bucket=bucket, Key="y", Body=CIPHERTEXT)
    with pytest.raises((FormatError, PolicyError)) as error:
        store.read(f"s3://{bucket}/y")
    assert "S3 Encryption Client" not in str(error.value)
