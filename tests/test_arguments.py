# SPDX-License-Identifier: Apache-2.0
"""Modes, keyrings, file modes and files as callers give them: taken, or refused with what to do."""

from __future__ import annotations

import inspect
import io
import random
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from samples import aes, connect

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
    from collections.abc import Callable
    from pathlib import Path

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


def test_a_source_that_is_none() -> None:
    """Neither a path nor bytes nor a file."""
    wrong: Any
    for wrong in (7, None, {}):
        with pytest.raises(ConfigError, match="A source is a path"):
            S3Crypt(SSES3()).put(wrong, URI)


def test_a_missing_key_is_no_missing_object(tmp_path: Path) -> None:
    """A FileNotFoundError would be an object that is not there, which zarr fills in."""
    fs = S3CryptFileSystem(key=f"aes:n/k={tmp_path / 'absent'}")
    with pytest.raises(ConfigError, match="Cannot read the key file") as caught:
        fs.get_mapper("acme/field.zarr")["c/0/0"]
    assert not isinstance(caught.value, FileNotFoundError)


def test_the_public_names_are_few() -> None:
    """What is exported is what a reader has to learn."""
    assert len(s3crypt.__all__) <= 36
