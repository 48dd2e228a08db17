# SPDX-License-Identifier: Apache-2.0
"""Parquet's own encryption with s3crypt's keyrings, through pyarrow's public interface."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pyarrow.parquet.encryption import (
    DecryptionConfiguration,
    EncryptionConfiguration,
    KmsConnectionConfig,
)
from samples import kms_keyring

from s3crypt import (
    AESKeyring,
    CachingKeyring,
    ConfigError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    MultiKeyring,
    RSAKeyring,
)
from s3crypt.parquet import ParquetKmsClient, crypto_factory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt import Keyring
    from s3crypt.sandbox import Running

ROWS = 1000
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "name": [f"person-{row}" for row in range(ROWS)],
        "pay": [f"salary-{row}" for row in range(ROWS)],
    }
)
CONNECTION = KmsConnectionConfig()
KEYRINGS = {
    "footer": AESKeyring("tests", "footer", bytes(range(32))),
    "people": AESKeyring("tests", "people", bytes(range(1, 33))),
    "money": AESKeyring("tests", "money", bytes(range(2, 34))),
}
COLUMNS = {"people": ["name"], "money": ["id", "pay"]}
KEY = bytes(range(16))


def written(keyrings: Mapping[str, Keyring], **options: Any) -> Any:
    """Return pyarrow's encryption properties: a footer key and, unless changed, two column keys."""
    path = options.pop("beside", None)
    configuration = EncryptionConfiguration("footer", **{"column_keys": COLUMNS, **options})
    factory = crypto_factory(keyrings)
    return factory.file_encryption_properties(CONNECTION, configuration, path)


def readable(keyrings: Mapping[str, Keyring], path: Path | None = None) -> Any:
    """Return pyarrow's decryption properties for a reader with these keyrings."""
    return crypto_factory(keyrings).file_decryption_properties(CONNECTION, None, path)


def put(path: Path, keyrings: Mapping[str, Keyring] = KEYRINGS, **options: Any) -> Path:
    """Write the table to `path` encrypted, but uncompressed, so plaintext values would be found.

    Return `path`.
    """
    pq.write_table(
        TABLE,
        path,
        compression="none",
        use_dictionary=False,
        encryption_properties=written(keyrings, **options),
    )
    return path


def get(
    path: Path, keyrings: Mapping[str, Keyring] = KEYRINGS, columns: Sequence[str] | None = None
) -> Any:
    """Return the table that a reader with these keyrings reads."""
    return pq.read_table(path, columns=columns, decryption_properties=readable(keyrings))


def without(*identifiers: str) -> dict[str, Keyring]:
    """Return the keyrings of all master keys except these."""
    return {name: keyring for name, keyring in KEYRINGS.items() if name not in identifiers}


def asked(log: RequestsLog) -> list[str]:
    """Return the names of the KMS actions in the request log."""
    targets = [entry["headers"].get("x-amz-target", "") for entry in log.list()]
    return [target.removeprefix("TrentService.") for target in targets if target]


# Files


@pytest.mark.parametrize("algorithm", ["AES_GCM_V1", "AES_GCM_CTR_V1"])
@pytest.mark.parametrize("double_wrapping", [True, False])
@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_round_trip(
    tmp_path: Path, *, algorithm: str, double_wrapping: bool, plaintext_footer: bool
) -> None:
    """A table is read back unchanged, with each algorithm, wrapping and kind of footer."""
    path = put(
        tmp_path / "x.parquet",
        encryption_algorithm=algorithm,
        double_wrapping=double_wrapping,
        plaintext_footer=plaintext_footer,
    )
    assert get(path).equals(TABLE)


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_every_length_of_data_key(tmp_path: Path, bits: int) -> None:
    """Every length of data key works without double wrapping.

    The keyrings wrap the data keys directly.
    """
    path = put(tmp_path / "x.parquet", double_wrapping=False, data_key_length_bits=bits)
    assert get(path).equals(TABLE)


def test_a_master_key_for_all_columns(tmp_path: Path) -> None:
    """With uniform encryption, the footer's key alone opens all columns."""
    path = put(tmp_path / "x.parquet", column_keys=None, uniform_encryption=True)
    assert get(path, without("people", "money")).equals(TABLE)


def test_no_plaintext_is_in_the_file(tmp_path: Path) -> None:
    """If every column has a key, the file contains no value and no column name in plaintext."""
    stored = put(tmp_path / "x.parquet").read_bytes()
    assert stored.startswith(b"PARE")
    assert not any(text in stored for text in (b"person-", b"salary-", b"name", b"pay"))


def test_columns_without_a_key_are_plaintext(tmp_path: Path) -> None:
    """A column without a key is stored in plaintext, as the documentation page warns."""
    stored = put(tmp_path / "x.parquet", column_keys={"money": ["pay"]}).read_bytes()
    assert b"person-7" in stored
    assert b"salary-7" not in stored


def test_pandas(tmp_path: Path) -> None:
    """Pandas writes and reads an encrypted file with pyarrow's properties."""
    frame, path = TABLE.to_pandas(), tmp_path / "x.parquet"
    frame.to_parquet(path, encryption_properties=written(KEYRINGS))
    read = pd.read_parquet(path, decryption_properties=readable(KEYRINGS))
    pd.testing.assert_frame_equal(read, frame)


def test_dataset(tmp_path: Path) -> None:
    """A data set of several files is written and read with one factory."""
    factory = crypto_factory(KEYRINGS)
    encryption = ds.ParquetEncryptionConfig(
        factory, CONNECTION, EncryptionConfiguration("footer", column_keys=COLUMNS)
    )
    decryption = ds.ParquetDecryptionConfig(factory, CONNECTION, DecryptionConfiguration())
    file_format = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_config=decryption)
    )
    ds.write_dataset(
        TABLE,
        tmp_path,
        format=file_format,
        file_options=file_format.make_write_options(encryption_config=encryption),
        max_rows_per_file=300,
        max_rows_per_group=300,
    )
    stored = ds.dataset(tmp_path, format=file_format)
    assert len(stored.files) == 4
    assert all(b"salary-" not in path.read_bytes() for path in tmp_path.iterdir())
    assert stored.to_table(filter=ds.field("id") >= 990).sort_by("id").equals(TABLE[990:])


def test_s3_object_under_a_kms_key(sandbox: Running, blocked_bucket: str, kms_key: str) -> None:
    """The S3 file system of pyarrow writes an encrypted object and reads one column of it."""
    address = urlsplit(sandbox.endpoint_url).netloc
    s3 = pyarrow.fs.S3FileSystem(endpoint_override=address, scheme="http", region="us-east-1")
    keyrings = dict.fromkeys(KEYRINGS, kms_keyring(kms_key))
    name = f"{blocked_bucket}/people.parquet"
    pq.write_table(TABLE, name, filesystem=s3, encryption_properties=written(keyrings))
    with s3.open_input_file(name) as stored:
        assert b"person-" not in stored.read()
    read = pq.read_table(
        name, filesystem=s3, columns=["pay"], decryption_properties=readable(keyrings)
    )
    assert read.equals(TABLE.select(["pay"]))


# Which reader can read which columns?


@pytest.mark.parametrize("missing", ["people", "money"])
def test_a_column_key_opens_its_columns_only(tmp_path: Path, missing: str) -> None:
    """A reader that lacks one of the keys can read the columns of the other key."""
    path = put(tmp_path / "x.parquet")
    (other,) = {"people", "money"} - {missing}
    assert get(path, without(missing), COLUMNS[other]).equals(TABLE.select(COLUMNS[other]))
    with pytest.raises(ConfigError, match=f"'{missing}'") as caught:
        get(path, without(missing))
    assert caught.value.hint == f"Known are: footer, {other}."


def test_without_the_footer_key_nothing_opens(tmp_path: Path) -> None:
    """Without the footer's key, neither the schema nor a column whose key is given can be read."""
    path = put(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="'footer'"):
        get(path, without("footer"), COLUMNS["people"])
    with pytest.raises(ConfigError, match="'footer'"):
        pq.read_schema(path, decryption_properties=readable(without("footer")))


@pytest.mark.parametrize("identifier", KEYRINGS)
def test_another_key_does_not_open(tmp_path: Path, identifier: str) -> None:
    """With a wrong key, s3crypt's error comes through pyarrow with its type, hint and note."""
    path = put(tmp_path / "x.parquet")
    keyrings = KEYRINGS | {identifier: AESKeyring("tests", identifier, bytes(32))}
    with pytest.raises(IntegrityError) as caught:
        get(path, keyrings)
    assert caught.value.hint == f"The unverified header names aes:tests/{identifier}."
    assert caught.value.__notes__ == [f"It was about the Parquet master key '{identifier}'."]


def test_a_master_key_renamed_in_the_file_does_not_open(tmp_path: Path) -> None:
    """A file with a changed master key identifier does not open.

    This holds even if both identifiers have the same keyring.
    """
    keyrings = dict.fromkeys(("footer", "gutter"), KEYRINGS["footer"])
    path = put(tmp_path / "x.parquet", keyrings, column_keys=None, uniform_encryption=True)
    stored = path.read_bytes()
    path.write_bytes(stored.replace(b'"masterKeyID":"footer"', b'"masterKeyID":"gutter"'))
    with pytest.raises(IntegrityError):
        get(path, keyrings)


def test_a_changed_page_is_pyarrows_error(tmp_path: Path) -> None:
    """A changed page raises pyarrow's own error: pyarrow verifies what the data keys protect."""
    path = put(tmp_path / "x.parquet")
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)
    with pytest.raises(OSError, match=r"[Dd]ecrypt"):
        get(path)


def test_files_that_are_not_encrypted_are_read(tmp_path: Path) -> None:
    """An unencrypted file is read without a key and without a warning, as the page says."""
    pq.write_table(TABLE, tmp_path / "x.parquet")
    assert get(tmp_path / "x.parquet").equals(TABLE)


def test_several_keyrings_each_open(tmp_path: Path, kms_key: str) -> None:
    """If a MultiKeyring wrapped the keys, each of its keyrings alone opens the file."""
    kms = kms_keyring(kms_key)
    path = put(tmp_path / "x.parquet", {k: MultiKeyring(kms, v) for k, v in KEYRINGS.items()})
    assert get(path).equals(TABLE)
    assert get(path, dict.fromkeys(KEYRINGS, kms)).equals(TABLE)


def test_moving_to_another_key(tmp_path: Path) -> None:
    """If the key material is outside the file, two passes move it to another key.

    The Parquet file itself is not changed.
    """
    path, new = tmp_path / "x.parquet", AESKeyring("tests", "new", bytes(32))
    put(path, internal_key_material=False, beside=path)
    stored = path.read_bytes()
    for keyrings in (
        {name: MultiKeyring(new, old) for name, old in KEYRINGS.items()},
        dict.fromkeys(KEYRINGS, new),
    ):
        crypto_factory(keyrings).rotate_master_keys(CONNECTION, path)
        assert pq.read_table(path, decryption_properties=readable(keyrings, path)).equals(TABLE)
    assert path.read_bytes() == stored
    with pytest.raises(KeyUnavailableError):
        pq.read_table(path, decryption_properties=readable(KEYRINGS, path))


# Requests to KMS


def test_kms_is_asked_once_a_master_key(
    tmp_path: Path, kms_key: str, requests_log: RequestsLog
) -> None:
    """With one factory, KMS gets one request per master key for three files, not one per column."""
    keyrings = dict.fromkeys(KEYRINGS, kms_keyring(kms_key))
    factory = crypto_factory(keyrings)
    configuration = EncryptionConfiguration("footer", column_keys=COLUMNS)
    for number in range(3):
        properties = factory.file_encryption_properties(CONNECTION, configuration)
        pq.write_table(TABLE, tmp_path / f"{number}", encryption_properties=properties)
    assert asked(requests_log) == ["Encrypt"] * 3
    requests_log.clear()
    factory = crypto_factory(keyrings)
    for number in range(3):
        properties = factory.file_decryption_properties(CONNECTION)
        assert pq.read_table(tmp_path / f"{number}", decryption_properties=properties) == TABLE
    assert asked(requests_log) == ["Decrypt"] * 3


def test_single_wrapping_is_asked_for_each_column(tmp_path: Path) -> None:
    """Without double wrapping, the key of every column is unwrapped separately.

    A CachingKeyring avoids repeated requests.
    """
    cached = {name: CachingKeyring(keyring, max_age=60) for name, keyring in KEYRINGS.items()}
    path = put(tmp_path / "x.parquet", double_wrapping=False)
    assert get(path, cached).equals(TABLE)
    assert [keyring.statistics.unwrap_calls for keyring in cached.values()] == [1, 1, 2]
    assert cached["money"].statistics.unwrap_hits > 0


def test_what_kms_says_is_seen(tmp_path: Path, kms: Any, kms_key: str) -> None:
    """A refusal by KMS is raised as s3crypt's error, with KMS's code and the cause."""
    keyrings = dict.fromkeys(KEYRINGS, kms_keyring(kms_key))
    path = put(tmp_path / "x.parquet", keyrings)
    kms.disable_key(KeyId=kms_key)
    with pytest.raises(KeyUnavailableError) as caught:
        get(path, keyrings)
    assert caught.value.code == "DisabledException"
    assert caught.value.__cause__ is not None
    with pytest.raises(KeyUnavailableError):
        written(keyrings)


# The KMS client for pyarrow


@pytest.fixture(scope="module")
def rsa_keyring() -> RSAKeyring:
    """Return a keyring of a new RSA key."""
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return RSAKeyring("tests", "rsa", private=pem)


@pytest.mark.parametrize("length", [16, 24, 32])
def test_keys_of_every_keyring(length: int, kms_key: str, rsa_keyring: RSAKeyring) -> None:
    """The client wraps with every kind of keyring.

    A wrapped key is one line of ASCII and unwraps.
    """
    keyrings: dict[str, Keyring] = {
        "aes": KEYRINGS["footer"],
        "rsa": rsa_keyring,
        "kms": kms_keyring(kms_key),
        "größe, 日本": KEYRINGS["money"],
    }
    client, key = ParquetKmsClient(keyrings), bytes(range(length))
    for identifier in keyrings:
        wrapped = client.wrap_key(key, identifier)
        assert wrapped.startswith(f"s3crypt-1:{length}:")
        assert wrapped.isascii()
        assert wrapped.isprintable()
        assert client.unwrap_key(wrapped, identifier) == key


def test_policies_can_tell_the_identifiers_apart(kms: Any, kms_key: str) -> None:
    """The KMS context has the identifier; any KMS client can decrypt with this context."""
    wrapped = ParquetKmsClient({"pay": kms_keyring(kms_key)}).wrap_key(KEY, "pay")
    (edk,) = json.loads(wrapped.split(":", 2)[2])
    reply = kms.decrypt(
        CiphertextBlob=b64decode(edk["ciphertext"]),
        EncryptionContext={"s3crypt:parquet-master-key": "pay"},
    )
    assert reply["Plaintext"] == KEY


def test_a_key_of_another_identifier_does_not_open() -> None:
    """A wrapped key opens under its own identifier only, even if identifiers share a keyring."""
    keyring = KEYRINGS["money"]
    client = ParquetKmsClient({"pay": keyring, "name": keyring})
    wrapped = client.wrap_key(KEY, "pay")
    assert client.unwrap_key(wrapped, "pay") == KEY
    with pytest.raises(IntegrityError):
        client.unwrap_key(wrapped, "name")


def test_a_changed_length_does_not_open() -> None:
    """A wrapped key with a changed length does not open: the unwrapped key has another length."""
    client = ParquetKmsClient(KEYRINGS)
    wrapped = client.wrap_key(KEY, "money").replace(":16:", ":32:")
    with pytest.raises(IntegrityError):
        client.unwrap_key(wrapped, "money")


@pytest.mark.parametrize(
    "wrapped",
    [
        "",
        "AAAA",
        "s3crypt-1",
        "s3crypt-1:16:",
        "s3crypt-1:16:[]",
        "s3crypt-1:16:{}",
        "s3crypt-1:16:[1]",
        "s3crypt-1:16:" + "[" * 100_000,
        's3crypt-1:16:[{"provider":"tests","info":"","ciphertext":"?"}]',
        "s3crypt-1:17:[]",
        "s3crypt-1:-16:[]",
        "s3crypt-2:16:[]",
    ],
    ids=lambda text: text[:40],
)
def test_what_we_did_not_wrap_is_said_so(wrapped: str) -> None:
    """A value that s3crypt did not wrap raises FormatError with a note about the master key."""
    with pytest.raises(FormatError, match="s3crypt did not wrap") as caught:
        ParquetKmsClient(KEYRINGS).unwrap_key(wrapped, "money")
    assert "'money'" in caught.value.__notes__[0]


def test_unknown_master_keys_are_not_wrapped_for() -> None:
    """An unknown master key, such as a misspelt one, is refused before anything is written."""
    with pytest.raises(ConfigError, match="'mony'") as caught:
        written(KEYRINGS, column_keys={"mony": ["pay"]})
    assert caught.value.hint == "Known are: footer, money, people."


def test_other_lengths_are_refused() -> None:
    """A key of 15 bytes is refused: Parquet's keys have the lengths of AES keys."""
    with pytest.raises(ConfigError, match="not 15"):
        ParquetKmsClient(KEYRINGS).wrap_key(bytes(15), "money")


def test_pyarrow_is_asked_for_by_name() -> None:
    """Without pyarrow, `s3crypt.parquet` raises ImportError with the package to install."""
    code = "import sys; sys.modules['pyarrow'] = None; import s3crypt; import s3crypt.parquet"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: s3crypt.parquet needs pyarrow" in done.stderr
    assert "pip install 's3crypt[parquet]'" in done.stderr


def test_pkcs1_is_refused() -> None:
    """An RSA keyring with PKCS #1 padding is refused: it can return a wrong key silently."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pkcs1 = RSAKeyring("tests", "rsa", private=private, padding="PKCS1")
    for keyring in (pkcs1, MultiKeyring(AESKeyring("tests", "aes", bytes(32)), pkcs1)):
        with pytest.raises(ConfigError, match="PKCS #1"):
            ParquetKmsClient({"footer": keyring})
