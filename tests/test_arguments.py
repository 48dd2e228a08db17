# SPDX-License-Identifier: Apache-2.0
"""Modes, keyrings, file modes and files as callers give them: taken, or refused with what to do."""

from __future__ import annotations

import codecs
import inspect
import io
import random
from array import array
from contextlib import contextmanager
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import boto3
import numpy as np
import pytest
from samples import aes, connect, kms_keyring

import s3crypt
from s3crypt import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    SSES3,
    AESKeyring,
    CachingKeyring,
    ClientSide,
    ConfigError,
    KMSKeyring,
    LocalFileNotFoundError,
    MultiKeyring,
    S3Crypt,
    StorageError,
    configuration,
    decrypt_file,
    encrypt_file,
    message,
    parquet,
)
from s3crypt.errors import KeyFileNotFoundError
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import RequestsLog

URI = "s3://acme/x"
KEY = random.Random("arguments").randbytes(32)
MESSAGE = message.encrypt(b"data", aes())
HEADER = message.read_header(io.BytesIO(MESSAGE))

# Values of wrong types, which callers have at hand.
WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "int": lambda: 7,
    "raw key": lambda: KEY,
    "bytearray": lambda: bytearray(KEY),
    "key in hex": KEY.hex,
    "class of modes": lambda: SSES3,
    "class of modes with a key": lambda: ClientSide,
    "class of keyrings": lambda: AESKeyring,
    "dict": lambda: {"key": KEY},
    "list": lambda: ["kms:alias/a", "kms:alias/b"],
    "client": lambda: boto3.client("s3"),
    "session": boto3.Session,
    "empty text": lambda: "",
    "text": lambda: "alias/reports",
}
# Every public argument that is a mode; those that may be None have the store's mode, or none.
MODES: dict[str, Callable[[Any], object]] = {
    "put": lambda mode: S3Crypt().put(b"", URI, mode=mode),
    "open to write": lambda mode: S3Crypt().open(URI, "wb", mode=mode),
    "rotate": lambda mode: S3Crypt(SSES3()).rotate(URI, to=mode),
    "needs_rotation": lambda mode: S3Crypt(SSES3()).needs_rotation(URI, to=mode),
}
OPTIONAL_MODES: dict[str, Callable[[Any], object]] = {
    "S3Crypt": S3Crypt,
    "get": lambda mode: S3Crypt().get(URI, io.BytesIO(), mode=mode),
    "read": lambda mode: S3Crypt().read(URI, mode=mode),
    "open": lambda mode: S3Crypt().open(URI, mode=mode),
    "head": lambda mode: S3Crypt().head(URI, mode=mode),
    "inspect": lambda mode: S3Crypt().inspect(URI, mode=mode),
    "filesystem": lambda mode: S3CryptFileSystem(encryption=mode),
}
# Every public argument that is a keyring.
KEYRINGS: dict[str, Callable[[Any], object]] = {
    "ClientSide": ClientSide,
    "MultiKeyring": MultiKeyring,
    "MultiKeyring's second": lambda keyring: MultiKeyring(aes(), keyring),
    "CachingKeyring": lambda keyring: CachingKeyring(keyring, max_age=60),
    "encrypt_file": lambda keyring: encrypt_file("absent", "out", keyring),
    "decrypt_file": lambda keyring: decrypt_file("absent", "out", keyring),
    "message.encrypt": lambda keyring: message.encrypt(b"data", keyring),
    "message.decrypt": lambda keyring: message.decrypt(MESSAGE, keyring),
    "EncryptingReader": lambda keyring: message.EncryptingReader(io.BytesIO(), keyring),
    "DecryptingReader": lambda keyring: message.DecryptingReader(io.BytesIO(), keyring),
    "Sealer": message.Sealer,
    "Opener": lambda keyring: message.Opener(HEADER, keyring),
    "parquet": lambda keyring: parquet.crypto_factory({"footer": keyring}),
    "a mapping for parquet": parquet.crypto_factory,
    "keyring_of": lambda keyring: configuration.keyring_of([keyring]),
}


def said(error: BaseException | None) -> str:
    """Return all that an error says, its hint and causes included."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), str(getattr(error, "hint", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def check_refused(call: Callable[[Any], object], wrong: str) -> None:
    """Call with a wrong value: a ConfigError must say what to write, and repeat no key."""
    with pytest.raises(ConfigError) as caught:
        call(WRONG[wrong]())
    text = said(caught.value)
    assert caught.value.hint or "needs" in text or "mode object" in text or "mapping" in text
    assert KEY.hex() not in text
    assert repr(KEY)[2:-1] not in text


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [(entry, wrong) for entry in MODES for wrong in WRONG]
    + [(entry, wrong) for entry in OPTIONAL_MODES for wrong in WRONG if wrong != "None"],
)
def test_what_is_no_mode(entry: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before any request is made."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    check_refused((MODES | OPTIONAL_MODES)[entry], wrong)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (entry, wrong)
        for entry in KEYRINGS
        for wrong in WRONG
        # A mapping is what it takes; the values of one are tested as `parquet`.
        if (entry, wrong) != ("a mapping for parquet", "dict")
    ],
)
def test_what_is_no_keyring(entry: str, wrong: str) -> None:
    """It is refused before a file is opened."""
    check_refused(KEYRINGS[entry], wrong)


@pytest.mark.parametrize("kind", [SSEKMS, DSSEKMS, KMSKeyring])
@pytest.mark.parametrize("wrong", [name for name in WRONG if name not in ("key in hex", "text")])
def test_what_is_no_key_of_kms(kind: Callable[[Any], object], wrong: str) -> None:
    """Only text names one."""
    check_refused(kind, wrong)


@pytest.mark.parametrize("kind", [SSEKMS, DSSEKMS])
@pytest.mark.parametrize("key", ["aes:n/k=file", "rsa:n/k=file", "kms:"])
def test_keys_that_s3_cannot_use(kind: type[SSEKMS | DSSEKMS], key: str) -> None:
    """A reference to another key than one of KMS."""
    with pytest.raises(ConfigError, match="needs a KMS key"):
        kind(key)


def test_what_is_no_key_of_a_raw_keyring() -> None:
    """Text that is as long as a key is none."""
    with pytest.raises(ConfigError, match="is bytes"):
        AESKeyring("n", "k", "k" * 32)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="32 bytes") as caught:
        SSEC("k" * 32)  # type: ignore[arg-type]  # the mistake under test
    assert "from_file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (SSES3, "SSES3()"),
        (SSEKMS, 'SSEKMS("kms:alias/NAME")'),
        (KEY, "SSEC(key)"),
        (aes(), "ClientSide(keyring)"),
        ("sse-kms", 'SSEKMS("kms:alias/NAME")'),
        ("sse-c", 'SSEC.from_file("FILE")'),
        ("client", 'ClientSide("kms:alias/NAME")'),
        ("SSE-S3", '"sse-s3"'),
        (boto3.Session(), "session="),
        (7, "SSES3()"),
    ],
    ids=str,
)
def test_what_to_write_for_a_mode(given: Any, hint: str) -> None:
    """The hint has the caller's own case."""
    with pytest.raises(ConfigError) as caught:
        S3Crypt(given)
    assert hint in str(caught.value.hint)


def test_what_to_write_for_a_keyring() -> None:
    """Messages know no key source, so that text is refused there, with what makes a keyring."""
    with pytest.raises(ConfigError) as caught:
        message.encrypt(b"", "kms:alias/a")  # type: ignore[arg-type]  # the mistake under test
    assert "configuration.keyring_of" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        message.encrypt(b"", AESKeyring)  # type: ignore[arg-type]  # the mistake under test
    assert "AESKeyring(...)" in str(caught.value.hint)


def test_text_for_a_mode(tmp_path: Path) -> None:
    """What needs nothing else, and a key."""
    (tmp_path / "own.key").write_bytes(KEY)
    aes_text = f"aes:n/k={tmp_path / 'own.key'}"
    assert S3Crypt("sse-s3").mode == SSES3()
    assert S3Crypt(aes_text).mode == ClientSide(AESKeyring("n", "k", KEY)) == ClientSide(aes_text)
    mode = S3Crypt("kms:alias/reports").mode
    assert isinstance(mode, ClientSide)
    assert isinstance(mode.keyring, KMSKeyring)
    assert mode.keyring.key == "alias/reports"
    assert SSEKMS("kms:alias/reports") == SSEKMS("alias/reports")
    assert DSSEKMS("kms:alias/reports") == DSSEKMS("alias/reports")
    assert KMSKeyring("kms:alias/reports").key == "alias/reports"


def test_text_for_a_mode_of_one_call(bucket: str, kms_key: str) -> None:
    """Put, read, opened, inspected and rotated."""
    uri, store = f"s3://{bucket}/x", connect()
    assert store.put(b"data", uri, mode="sse-s3").mode == "sse-s3"
    assert store.read(uri, mode="sse-s3") == b"data"
    (outcome,) = connect(SSES3()).rotate(uri, to=f"kms:{kms_key}")
    assert outcome.action == "re-encrypted"
    with store.open(uri, mode=kms_key) as file:
        assert file.read() == b"data"
    assert not connect(ClientSide(kms_key)).needs_rotation(uri, to=kms_key)
    with store.open(uri, "wb", mode="sse-s3", content_type="text/plain") as writer:
        writer.write(b"more")
    assert store.inspect(uri, mode="sse-s3").size == 4


def test_text_for_a_keyring(tmp_path: Path) -> None:
    """Of files, and of Parquet's master keys."""
    (tmp_path / "own.key").write_bytes(KEY)
    (tmp_path / "plain").write_bytes(b"data")
    text = f"aes:n/k={tmp_path / 'own.key'}"
    encrypt_file(tmp_path / "plain", tmp_path / "sealed", text)
    assert message.decrypt((tmp_path / "sealed").read_bytes(), AESKeyring("n", "k", KEY)) == b"data"
    decrypt_file(tmp_path / "sealed", tmp_path / "opened", text)
    assert (tmp_path / "opened").read_bytes() == b"data"
    client = parquet.ParquetKmsClient({"footer": text})
    assert client.unwrap_key(client.wrap_key(KEY, "footer"), "footer") == KEY


def test_other_arguments_of_modes() -> None:
    """What is no mapping, and what is no number."""
    wrong: Any = "a=b"
    for make in (lambda: SSEKMS("a", context=wrong), lambda: ClientSide(aes(), context=wrong)):
        with pytest.raises(ConfigError, match="mapping of text"):
            make()
    for length in ("64KiB", None, True, 4096.0):
        with pytest.raises(ConfigError, match="number of bytes"):
            ClientSide(aes(), frame_length=length)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    ("how", "hint"),
    [
        ("r", 'open(uri, "rb"). For text, put io.TextIOWrapper'),
        ("rt", 'open(uri, "rb"). For text'),
        ("w", 'open(uri, "wb"). For text'),
        ("x", 'open(uri, "xb"). For text'),
        ("br", 'open(uri, "rb").'),
        ("a", 'open(uri, "wb") to write it anew'),
        ("ab", "Nothing is appended"),
        ("r+b", "Nothing is appended or changed in place"),
        ("w+", "Nothing is appended or changed in place"),
        ("", 'open(uri, "wb")'),
        ("sse-s3", "mode=..."),
        (SSES3(), "mode=..."),
        (None, "mode=..."),
    ],
    ids=str,
)
def test_other_ways_to_open(how: Any, hint: str) -> None:
    """Each is refused with what to write."""
    with pytest.raises(ConfigError) as caught:
        S3Crypt(SSES3()).open(URI, how)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(("how", "written"), [("rb", "rb"), ("wb", "wb"), ("r", "rb"), ("x", "xb")])
def test_a_file_mode_by_the_name_of_the_other(how: str, written: str) -> None:
    """To everybody else `mode` is the file's: the error says which argument that is here."""
    with pytest.raises(ConfigError, match="how the object is encrypted") as caught:
        S3Crypt(SSES3()).open(URI, mode=how)
    assert f'open(uri, "{written}")' in str(caught.value.hint)


def test_misspelt_arguments_are_found() -> None:
    """By a type checker, or else these comments were unused; and by an error that names them."""
    store = S3Crypt(SSES3())
    with pytest.raises(TypeError, match="verison_id"):
        store.open(URI, verison_id="1")  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(TypeError, match="'version_id'"):
        store.open(URI, "wb", version_id="1")  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(TypeError, match="'cache_length'"):
        store.open(URI, "xb", cache_length=0)  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(TypeError, match="'tags'"):
        store.open(URI, "rb", tags={})  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(ConfigError, match="0 bytes or more"):
        store.open(URI, cache_length=-1)


def test_methods_have_real_signatures() -> None:
    """Help and editors show every argument."""
    for name, method in vars(S3Crypt).items():
        if callable(method) and not name.startswith("_"):
            kinds = {each.kind for each in inspect.signature(method).parameters.values()}
            assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


MISSING: dict[str, Callable[[Path], object]] = {
    "put": lambda path: S3Crypt(SSES3()).put(path, URI),
    "encrypt_file": lambda path: encrypt_file(path, path.with_name("out"), aes()),
    "decrypt_file": lambda path: decrypt_file(path, path.with_name("out"), aes()),
    "target's folder": lambda path: encrypt_file(__file__, path / "out", aes()),
}
MISSING_KEYS: dict[str, Callable[[Path], object]] = {
    "SSEC": SSEC.from_file,
    "ClientSide": lambda path: ClientSide(f"aes:n/k={path}"),
    "RSA": lambda path: configuration.keyring_of(f"rsa:n/k={path}"),
    "S3Crypt": lambda path: S3Crypt(f"aes:n/k={path}"),
    "mode_of": lambda path: configuration.mode_of(None, sse_c_key_file=path),
}


@pytest.mark.parametrize("entry", MISSING | MISSING_KEYS)
def test_a_missing_local_file(entry: str, tmp_path: Path) -> None:
    """It is what Python says, too; that of a key is a wrong argument besides."""
    with pytest.raises(FileNotFoundError, match="absent") as caught:
        (MISSING | MISSING_KEYS)[entry](tmp_path / "absent")
    assert isinstance(caught.value, LocalFileNotFoundError)
    assert isinstance(caught.value, StorageError)
    assert isinstance(caught.value, ConfigError) == (entry in MISSING_KEYS)
    assert isinstance(caught.value, KeyFileNotFoundError) == (entry in MISSING_KEYS)
    assert list(tmp_path.iterdir()) == []


def test_a_key_for_the_name_of_its_file() -> None:
    """It is refused and not repeated, wherever a file is named."""
    for name in (KEY.hex(), KEY):
        with pytest.raises(ConfigError, match="never itself") as caught:
            SSEC.from_file(name)  # type: ignore[arg-type]  # the mistake under test
        assert KEY.hex() not in said(caught.value)


class Given:
    """A file of the caller's own, whose `read` gives what it was made of."""

    def __init__(self, chunk: object) -> None:
        self.chunk = chunk

    def read(self, size: int) -> object:
        """Return it, however much was asked for."""
        del size
        return self.chunk


class NoLength:
    """A file of the caller's own, whose `read` takes no length."""

    def read(self) -> bytes:
        """Return all."""
        return b"data"


class BytesPath:
    """A path of bytes, as `os.scandir` gives it where it is given one."""

    def __fspath__(self) -> bytes:
        return b"path"


def file_of(folder: Path, how: str) -> Any:
    """Return a file that was opened so."""
    (folder / "file").write_bytes(b"data")
    return (folder / "file").open(how)


def temporary(kind: Callable[..., Any]) -> Any:
    """Return a temporary file that is open as text."""
    return kind(mode="w+")


def closed() -> io.BytesIO:
    """Return a closed file."""
    file = io.BytesIO(b"data")
    file.close()
    return file


# What is no source, given a folder for files that are needed -> a part of its error or hint.
SOURCES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "None": (lambda _: None, "A source is a path, bytes, or a file"),
    "int": (lambda _: 7, "A source is a path"),
    "dict": (lambda _: {}, "A source is a path"),
    "array": (lambda _: array("d", [1.0]), "A source is a path"),
    "generator": (lambda _: (piece for piece in [b"data"]), 's3.open(URI, "wb")'),
    "list": (lambda _: [b"data"], 's3.open(URI, "wb")'),
    "class": (lambda _: io.BytesIO, "A source is a path"),
    "StringIO": (lambda _: io.StringIO("data"), "open as text"),
    "text file": (lambda folder: file_of(folder, "r+"), "open as text"),
    "codecs reader": (lambda _: codecs.getreader("utf-8")(io.BytesIO(b"x")), "open as text"),
    "codecs reader and writer": (
        lambda _: codecs.StreamReaderWriter(
            io.BytesIO(), codecs.getreader("utf-8"), codecs.getwriter("utf-8")
        ),
        "open as text",
    ),
    "gives text": (lambda _: Given("data"), "read(1) fails"),
    "gives a character": (lambda _: Given("d"), "gives str, not bytes"),
    "gives a number": (lambda _: Given(5), "read(1) fails"),
    "gives a list": (lambda _: Given([1]), "gives list, not bytes"),
    "takes no length": (lambda _: NoLength(), "read(1) fails"),
    "named temporary": (lambda _: temporary(NamedTemporaryFile), "open as text"),
    "spooled temporary": (lambda _: temporary(SpooledTemporaryFile), "open as text"),
    "closed": (lambda _: closed(), "closed file"),
    "write only": (lambda folder: file_of(folder, "wb"), "not readable"),
    "NUL": (lambda _: "a\0b", "NUL"),
    "path of bytes": (lambda _: BytesPath(), "A path is text or a Path"),
}
TARGETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "None": (lambda _: None, "A target is a path"),
    "int": (lambda _: 7, "A target is a path"),
    "bytes": (lambda _: b"path", "os.fsdecode"),
    "class": (lambda _: io.BytesIO, "A target is a path"),
    "StringIO": (lambda _: io.StringIO(), "open as text"),
    "text file": (lambda folder: file_of(folder, "w"), "open as text"),
    "codecs writer": (lambda _: codecs.getwriter("utf-8")(io.BytesIO()), "open as text"),
    "named temporary": (lambda _: temporary(NamedTemporaryFile), "open as text"),
    "spooled temporary": (lambda _: temporary(SpooledTemporaryFile), "open as text"),
    "closed": (lambda _: closed(), "closed file"),
    "read only": (lambda folder: file_of(folder, "rb"), "not writable"),
    "NUL": (lambda _: "a\0b", "NUL"),
    "path of bytes": (lambda _: BytesPath(), "A path is text or a Path"),
}


@pytest.mark.parametrize("wrong", SOURCES)
def test_what_is_no_source(wrong: str, key: str, tmp_path: Path, requests_log: RequestsLog) -> None:
    """It is refused before S3 or KMS is asked for anything."""
    make, words = SOURCES[wrong]
    with closed_later(make(tmp_path)) as source, pytest.raises(ConfigError) as caught:
        connect(ClientSide(kms_keyring(key))).put(source, URI)
    assert words in said(caught.value)
    assert requests_log.list() == []


@pytest.mark.parametrize("wrong", TARGETS)
def test_what_is_no_target(wrong: str, tmp_path: Path, requests_log: RequestsLog) -> None:
    """It is refused before S3 is asked for the object."""
    make, words = TARGETS[wrong]
    with closed_later(make(tmp_path)) as target, pytest.raises(ConfigError) as caught:
        connect().get(URI, target)
    assert words in said(caught.value)
    assert requests_log.list() == []


@contextmanager
def closed_later(given: Any) -> Iterator[Any]:
    """Give what may be a file, and close it if it is."""
    try:
        yield given
    finally:
        if not isinstance(given, type) and hasattr(given, "close"):
            given.close()


def test_text_is_a_path_and_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such file, the hint is what stores the text; long text is not repeated."""
    monkeypatch.chdir(tmp_path)
    for text in ("a,b", "a,b\n1,2\n", "secret " * 1000):
        with pytest.raises(StorageError) as caught:
            connect(SSES3()).put(text, URI)
        assert "text.encode()" in str(caught.value.hint)
        assert text == "a,b" or text.strip() not in str(caught.value)
    with pytest.raises(LocalFileNotFoundError) as caught:
        connect(SSES3()).put(tmp_path / "absent", URI)
    assert "encode" not in str(caught.value.hint)


def view_of(elements: Any) -> memoryview:
    """Return the memory of an array."""
    return memoryview(elements)


# Views of bytes that are not one after another, or whose elements are not bytes.
VIEWS: dict[str, memoryview] = {
    "every second": memoryview(b"abcdef")[::2],
    "backwards": memoryview(b"abcdef")[::-1],
    "numbers": memoryview(array("d", [1.0, 2.0])),
    "every second number": memoryview(array("i", range(10)))[::2],
    "two dimensions": memoryview(b"abcdef").cast("B", (2, 3)),
    "foreign byte order": view_of(np.arange(4, dtype=">i4")),
    "columns": view_of(np.arange(6, dtype="u1").reshape(2, 3).T),
    "nothing": view_of(np.zeros((0, 3))),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_any_layout_are_stored(name: str, bucket: str) -> None:
    """As their elements follow one another: by put, through a file, and as a message."""
    view, store, uri = VIEWS[name], connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(view, uri)  # type: ignore[arg-type]  # typeshed's bytes no longer mean views
    assert store.read(uri) == view.tobytes()
    with store.open(uri, "wb") as file:
        file.write(view)
    assert store.read(uri) == view.tobytes()
    assert message.decrypt(message.encrypt(view, aes()), aes()) == view.tobytes()


def test_sources_of_the_callers_own_are_stored(bucket: str) -> None:
    """Classes that have nothing but `read`, whatever kind of bytes it gives."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"

    class Reader:
        def __init__(self, kind: Callable[[bytes], object]) -> None:
            self.kind = kind
            self.rest = io.BytesIO(b"some data")

        def read(self, size: int = -1) -> object:
            return self.kind(self.rest.read(size))

    for kind in (bytes, bytearray, memoryview):
        store.put(Reader(kind), uri)  # type: ignore[arg-type]  # all that is asked of it
        assert store.read(uri) == b"some data"
    with SpooledTemporaryFile() as spooled:
        spooled.write(b"spooled")
        spooled.seek(0)
        store.put(spooled, uri)  # type: ignore[arg-type]  # typeshed has it as another class
    assert store.read(uri) == b"spooled"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metadata": {"a": 1}}, "mapping of text to text"),
        ({"metadata": {1: "a"}}, "mapping of text to text"),
        ({"metadata": ["a"]}, "mapping of text to text"),
        ({"metadata": {"a b": "c"}}, "not a name of S3 metadata"),
        ({"metadata": {"": "c"}}, "not a name of S3 metadata"),
        ({"metadata": {"a:b": "c"}}, "not a name of S3 metadata"),
        ({"metadata": {"a": "b\nc"}}, "control character"),
        ({"metadata": {"a": "b\x7f"}}, "control character"),
        ({"metadata": {"a": " b"}}, "a space at an end"),
        ({"metadata": {"a": "b "}}, "a space at an end"),
        ({"metadata": {"a": "b" * 2048}}, "2049 bytes"),
        ({"metadata": {"Team": "a", "team": "b"}}, "differ by case"),
        ({"tags": {"a": 1}}, "mapping of text to text"),
        ({"tags": "a=b"}, "mapping of text to text"),
        ({"tags": {"": "a"}}, "has no name"),
        ({"tags": {"a" * 129: "b"}}, "too long"),
        ({"tags": {"a": "b" * 257}}, "too long"),
        ({"tags": {"a": "b&c"}}, "a character that tags"),
        ({"tags": {"a\n": "b"}}, "a character that tags"),
        ({"tags": {str(number): "" for number in range(11)}}, "10 tags at most, not 11"),
        ({"content_type": 7}, "content_type is a line"),
        ({"content_type": "text/csv\r\nX-Evil: 1"}, "content_type is a line"),
        ({"storage_class": ["GLACIER"]}, "storage_class is a line"),
    ],
)
def test_what_s3_cannot_hold(
    options: dict[str, Any], words: str, key: str, requests_log: RequestsLog
) -> None:
    """Metadata, tags and headers are checked before S3 or KMS is asked, for files too."""
    store = connect(ClientSide(kms_keyring(key)))
    for write in (
        lambda: store.put(b"", URI, **options),
        lambda: store.open(URI, "wb", **options),
    ):
        with pytest.raises(ConfigError, match=words):
            write()
    (outcome,) = store.many.put([(b"", URI)], **options)
    assert isinstance(outcome.error, ConfigError)
    assert requests_log.list() == []


def test_all_that_s3_can_hold(bucket: str, s3: Any) -> None:
    """The longest names and values, and every kind of character that they may have."""
    metadata = {"a-z.0_9": "", "b": "c  d\te~", "full": "x" * 2000}
    tags = {"n" * 128: "v" * 256, "\u00e4\u4e2d 1": "+ - = . _ : / @", "empty": ""}
    connect(SSES3()).put(b"", f"s3://{bucket}/x", metadata=metadata, tags=tags)
    assert s3.head_object(Bucket=bucket, Key="x")["Metadata"] == metadata
    found = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in found} == tags


# The public names without their types, whose checks would find these mistakes.
STORE: Any = S3Crypt
KMS: Any = KMSKeyring
ENCRYPT: Any = encrypt_file


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: STORE(workers="4"), "workers is a number"),
        (lambda: STORE(workers=True), "workers is a number"),
        (lambda: STORE(max_memory="1GiB"), "max_memory is a number"),
        (lambda: STORE(session="default"), "session is a boto3.Session, not str"),
        (lambda: STORE(session=boto3.client("s3")), "session is a boto3.Session"),
        (lambda: STORE(client=boto3.Session()), 'client is boto3.client\\("s3"\\), not Session'),
        (lambda: STORE(client=boto3.client("kms")), 'client is boto3.client\\("s3"\\), not KMS'),
        (lambda: KMS("alias/a", client=boto3.client("s3")), r'boto3.client\("kms"\)'),
        (lambda: STORE().read(URI, version_id=7), "version_id is text"),
        (lambda: STORE().read(URI, written_as=b"x"), "written_as is text"),
        (lambda: STORE().open(URI, version_id=7), "version_id is text"),
        (lambda: STORE().read(URI, byte_range=7), "no range of bytes"),
        (lambda: STORE().read(URI, byte_range=b"0-9"), "no range of bytes"),
        (lambda: ENCRYPT(b"path", "out", aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(None, "out", aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(__file__, None, aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(__file__, "a\0b", aes()), "NUL"),
    ],
)
def test_other_arguments_of_a_wrong_kind(
    call: Callable[[], object], words: str, requests_log: RequestsLog
) -> None:
    """Each is a ConfigError before anything is sent, and no error of Python from deep below."""
    with pytest.raises(ConfigError, match=words):
        call()
    assert requests_log.list() == []


def test_a_missing_key_is_no_missing_object(tmp_path: Path) -> None:
    """A FileNotFoundError would be an object that is not there, which zarr fills in."""
    fs = S3CryptFileSystem(key=f"aes:n/k={tmp_path / 'absent'}")
    with pytest.raises(ConfigError, match="Cannot read the key file") as caught:
        fs.get_mapper("acme/field.zarr")["c/0/0"]
    assert not isinstance(caught.value, FileNotFoundError)


def test_the_public_names_are_few() -> None:
    """What is exported is what a reader has to learn."""
    assert len(s3crypt.__all__) <= 44
