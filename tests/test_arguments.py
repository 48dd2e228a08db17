# SPDX-License-Identifier: Apache-2.0
"""Arguments of public functions: correct values are accepted, wrong ones refused with a hint."""

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

# Values of wrong types that a caller may pass by mistake.
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
# Every public argument that takes a mode. If the argument may be None, None means the store's
# mode, or no mode at all.
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
# Every public argument that takes a keyring.
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
    """Return the whole text of an error, including its hint and its causes."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), str(getattr(error, "hint", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def check_refused(call: Callable[[Any], object], wrong: str) -> None:
    """Check that a wrong value raises a ConfigError that explains it and contains no key."""
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
    """A value that is no mode is refused before any request is made."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    check_refused((MODES | OPTIONAL_MODES)[entry], wrong)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (entry, wrong)
        for entry in KEYRINGS
        for wrong in WRONG
        # `parquet` takes a mapping, so a dict is correct there; its values are tested as `parquet`.
        if (entry, wrong) != ("a mapping for parquet", "dict")
    ],
)
def test_what_is_no_keyring(entry: str, wrong: str) -> None:
    """A value that is no keyring is refused before a file is opened."""
    check_refused(KEYRINGS[entry], wrong)


@pytest.mark.parametrize("kind", [SSEKMS, DSSEKMS, KMSKeyring])
@pytest.mark.parametrize("wrong", [name for name in WRONG if name not in ("key in hex", "text")])
def test_what_is_no_key_of_kms(kind: Callable[[Any], object], wrong: str) -> None:
    """Only text is accepted as the name of a KMS key."""
    check_refused(kind, wrong)


@pytest.mark.parametrize("kind", [SSEKMS, DSSEKMS])
@pytest.mark.parametrize("key", ["aes:n/k=file", "rsa:n/k=file", "kms:"])
def test_keys_that_s3_cannot_use(kind: type[SSEKMS | DSSEKMS], key: str) -> None:
    """A KMS mode refuses a reference to a key of another kind."""
    with pytest.raises(ConfigError, match="needs a KMS key"):
        kind(key)


def test_what_is_no_key_of_a_raw_keyring() -> None:
    """A text of 32 characters is refused as a raw key: a key is bytes."""
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
    """If a value is no mode, the hint shows how to write the mode that was probably meant."""
    with pytest.raises(ConfigError) as caught:
        S3Crypt(given)
    assert hint in str(caught.value.hint)


def test_what_to_write_for_a_keyring() -> None:
    """Functions for messages refuse text as a keyring, and the hint names `keyring_of`."""
    with pytest.raises(ConfigError) as caught:
        message.encrypt(b"", "kms:alias/a")  # type: ignore[arg-type]  # the mistake under test
    assert "configuration.keyring_of" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        message.encrypt(b"", AESKeyring)  # type: ignore[arg-type]  # the mistake under test
    assert "AESKeyring(...)" in str(caught.value.hint)


def test_text_for_a_mode(tmp_path: Path) -> None:
    """Text is accepted as a mode if it names a key, or a mode without required arguments."""
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
    """The text of a mode works for put, read, open, inspect and rotate."""
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
    """The text of a key works as the keyring of files and of Parquet's master keys."""
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
    """A context that is no mapping and a frame length that is no number are refused."""
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
    """A file mode other than rb, wb and xb is refused, and the hint shows the correct call."""
    with pytest.raises(ConfigError) as caught:
        S3Crypt(SSES3()).open(URI, how)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(("how", "written"), [("rb", "rb"), ("wb", "wb"), ("r", "rb"), ("x", "xb")])
def test_a_file_mode_by_the_name_of_the_other(how: str, written: str) -> None:
    """`open(mode="rb")` raises an error that explains which argument is the file mode."""
    with pytest.raises(ConfigError, match="how the object is encrypted") as caught:
        S3Crypt(SSES3()).open(URI, mode=how)
    assert f'open(uri, "{written}")' in str(caught.value.hint)


def test_misspelt_arguments_are_found() -> None:
    """A type checker reports misspelt arguments, and the raised error names them."""
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
    """The signatures list every argument, so help and editors show them."""
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
    """A missing file raises a FileNotFoundError. For a key file it is also a ConfigError."""
    with pytest.raises(FileNotFoundError, match="absent") as caught:
        (MISSING | MISSING_KEYS)[entry](tmp_path / "absent")
    assert isinstance(caught.value, LocalFileNotFoundError)
    assert isinstance(caught.value, StorageError)
    assert isinstance(caught.value, ConfigError) == (entry in MISSING_KEYS)
    assert isinstance(caught.value, KeyFileNotFoundError) == (entry in MISSING_KEYS)
    assert list(tmp_path.iterdir()) == []


def test_a_key_for_the_name_of_its_file() -> None:
    """A key that is passed instead of a file name is refused, and the error does not contain it."""
    for name in (KEY.hex(), KEY):
        with pytest.raises(ConfigError, match="must be given by the name of its file") as caught:
            SSEC.from_file(name)  # type: ignore[arg-type]  # the mistake under test
        assert KEY.hex() not in said(caught.value)


class Given:
    """A file-like object whose `read` always returns the same given value."""

    def __init__(self, chunk: object) -> None:
        self.chunk = chunk

    def read(self, size: int) -> object:
        """Return the given value, whatever `size` is."""
        del size
        return self.chunk


class NoLength:
    """A file-like object whose `read` takes no length."""

    def read(self) -> bytes:
        """Return all bytes."""
        return b"data"


class BytesPath:
    """A path of bytes, as `os.scandir` returns it for a path of bytes."""

    def __fspath__(self) -> bytes:
        return b"path"


def file_of(folder: Path, how: str) -> Any:
    """Return a file that was opened with mode `how`."""
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


# Name of a wrong source -> the function that makes the source in a given folder, and a part of the
# expected error or hint.
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
    """A wrong source is refused before any request to S3 or KMS."""
    make, words = SOURCES[wrong]
    with closed_later(make(tmp_path)) as source, pytest.raises(ConfigError) as caught:
        connect(ClientSide(kms_keyring(key))).put(source, URI)
    assert words in said(caught.value)
    assert requests_log.list() == []


@pytest.mark.parametrize("wrong", TARGETS)
def test_what_is_no_target(wrong: str, tmp_path: Path, requests_log: RequestsLog) -> None:
    """A wrong target is refused before any request for the object."""
    make, words = TARGETS[wrong]
    with closed_later(make(tmp_path)) as target, pytest.raises(ConfigError) as caught:
        connect().get(URI, target)
    assert words in said(caught.value)
    assert requests_log.list() == []


@contextmanager
def closed_later(given: Any) -> Iterator[Any]:
    """Yield a value, and close it afterwards if it is a file."""
    try:
        yield given
    finally:
        if not isinstance(given, type) and hasattr(given, "close"):
            given.close()


def test_text_is_a_path_and_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the path does not exist, the hint says how to store text; the error omits long text."""
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
    """Return a view of the memory of an array."""
    return memoryview(elements)


# Views whose bytes are not contiguous, or whose elements are not single bytes.
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
    """A view is stored in the order of its elements: by put, through a file and as a message."""
    view, store, uri = VIEWS[name], connect(ClientSide(aes())), f"s3://{bucket}/x"
    store.put(view, uri)  # type: ignore[arg-type]  # typeshed's bytes exclude views
    assert store.read(uri) == view.tobytes()
    with store.open(uri, "wb") as file:
        file.write(view)
    assert store.read(uri) == view.tobytes()
    assert message.decrypt(message.encrypt(view, aes()), aes()) == view.tobytes()


def test_sources_of_the_callers_own_are_stored(bucket: str) -> None:
    """An object that has only `read` is a valid source, whatever type of bytes `read` returns."""
    store, uri = connect(SSES3()), f"s3://{bucket}/x"

    class Reader:
        def __init__(self, kind: Callable[[bytes], object]) -> None:
            self.kind = kind
            self.rest = io.BytesIO(b"some data")

        def read(self, size: int = -1) -> object:
            return self.kind(self.rest.read(size))

    for kind in (bytes, bytearray, memoryview):
        store.put(Reader(kind), uri)  # type: ignore[arg-type]  # a source needs only read
        assert store.read(uri) == b"some data"
    with SpooledTemporaryFile() as spooled:
        spooled.write(b"spooled")
        spooled.seek(0)
        store.put(spooled, uri)  # type: ignore[arg-type]  # another class in typeshed
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
    """Wrong metadata, tags and headers are refused before any request, also for many files."""
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
    """The longest names and values and every allowed character are stored unchanged."""
    metadata = {"a-z.0_9": "", "b": "c  d\te~", "full": "x" * 2000}
    tags = {"n" * 128: "v" * 256, "\u00e4\u4e2d 1": "+ - = . _ : / @", "empty": ""}
    connect(SSES3()).put(b"", f"s3://{bucket}/x", metadata=metadata, tags=tags)
    assert s3.head_object(Bucket=bucket, Key="x")["Metadata"] == metadata
    found = s3.get_object_tagging(Bucket=bucket, Key="x")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in found} == tags


# The public names without their types: a type checker would report the mistakes below.
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
        (lambda: STORE().read(URI, byte_range=7), "not a range of bytes"),
        (lambda: STORE().read(URI, byte_range=b"0-9"), "not a range of bytes"),
        (lambda: ENCRYPT(b"path", "out", aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(None, "out", aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(__file__, None, aes()), "A path is text or a Path"),
        (lambda: ENCRYPT(__file__, "a\0b", aes()), "NUL"),
    ],
)
def test_other_arguments_of_a_wrong_kind(
    call: Callable[[], object], words: str, requests_log: RequestsLog
) -> None:
    """Each wrong argument raises a ConfigError before any request, not an error deep in Python."""
    with pytest.raises(ConfigError, match=words):
        call()
    assert requests_log.list() == []


def test_a_missing_key_is_no_missing_object(tmp_path: Path) -> None:
    """For a missing key file, a mapper raises no FileNotFoundError: zarr would read fill values."""
    fs = S3CryptFileSystem(key=f"aes:n/k={tmp_path / 'absent'}")
    with pytest.raises(ConfigError, match="Cannot read the key file") as caught:
        fs.get_mapper("acme/field.zarr")["c/0/0"]
    assert not isinstance(caught.value, FileNotFoundError)


def test_the_public_names_are_few() -> None:
    """The package exports few names, because a user has to learn each of them."""
    assert len(s3crypt.__all__) <= 44
