# SPDX-License-Identifier: Apache-2.0
"""Keys from `file_keys` for readers that take plain keys, and which engine reads which files.

The tests check the table of docs/parquet-encryption.md: each writer's file is read with each
engine.
"""

from __future__ import annotations

import io
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import (
    EncryptionConfiguration,
    KmsConnectionConfig,
    create_decryption_properties,
    create_encryption_properties,
)
from samples import connect, kms_keyring

from s3crypt import (
    SSES3,
    AESKeyring,
    ConfigError,
    FormatError,
    IntegrityError,
    PolicyError,
)
from s3crypt.errors import LocalFileNotFoundError, S3CryptError
from s3crypt.parquet import FileKeys, crypto_factory, file_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog

    from s3crypt import Keyring

PAGE = Path(__file__).parent.parent / "docs" / "parquet-encryption.md"
ROWS = 5000
TABLE = pa.table({"id": list(range(ROWS)), "name": [f"person-{row}" for row in range(ROWS)]})
PLAIN = FileKeys(bytes(range(32)), {"name": bytes(range(1, 33))})
KEYRINGS: dict[str, Keyring] = {
    "footer": AESKeyring("tests", "footer", bytes(range(32))),
    "people": AESKeyring("tests", "people", bytes(range(1, 33))),
}
COLUMNS = {"people": ["name"]}
CONNECTION = KmsConnectionConfig()


# The writers: the first column of the documentation's table.


def _wrapped(path: Path, *, pages: dict[str, int] | None = None, **options: Any) -> FileKeys:
    """Write with pyarrow and s3crypt's keyrings; return the keys that `file_keys` finds."""
    given = {"uniform_encryption": True, "data_key_length_bits": 256, **options}
    configuration = EncryptionConfiguration("footer", **given)
    encryption = crypto_factory(KEYRINGS).file_encryption_properties(CONNECTION, configuration)
    options = {"use_dictionary": False, **(pages or {})}
    pq.write_table(TABLE, path, encryption_properties=encryption, **options)
    return file_keys(path, KEYRINGS)


def _by_pyarrow(path: Path, **options: Any) -> FileKeys:
    """Write with pyarrow and a plain key."""
    properties = create_encryption_properties(PLAIN.footer, **options)
    pq.write_table(TABLE, path, use_dictionary=False, encryption_properties=properties)
    return FileKeys(PLAIN.footer, {})


def _by_polars(path: Path, *, columns: bool = False, **options: Any) -> FileKeys:
    """Write with Polars and plain keys."""
    keys = FileKeys(PLAIN.footer, PLAIN.columns if columns else {})
    encryption = pl.ParquetEncryptionProperties(
        footer_key=keys.footer, column_keys=dict(keys.columns), **options
    )
    frame = pl.from_arrow(TABLE)
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(path, encryption=encryption)
    return keys


def _by_duckdb(path: Path) -> FileKeys:
    """Write with DuckDB and a plain key."""
    with _duck(PLAIN) as duck:
        duck.register("people", TABLE)
        # The setting keeps DuckDB from downloading its httpfs extension. The random numbers are
        # then weaker.
        duck.execute("SET force_mbedtls_unsafe = 'true'")
        duck.execute(f"COPY people TO '{path}' (ENCRYPTION_CONFIG {{footer_key: 'key'}})")
    return FileKeys(PLAIN.footer, {})


WRITERS: dict[str, Callable[[Path], FileKeys]] = {
    "pyarrow": _wrapped,
    "pyarrow, keys of 128 bits": lambda path: _wrapped(path, data_key_length_bits=128),
    "pyarrow, keys of 192 bits": lambda path: _wrapped(path, data_key_length_bits=192),
    "pyarrow, several pages in a column chunk": lambda path: _wrapped(
        path, pages={"data_page_size": 4096, "write_batch_size": 256}
    ),
    "pyarrow, column keys": lambda path: _wrapped(
        path, uniform_encryption=False, column_keys=COLUMNS
    ),
    "pyarrow, plain footer": lambda path: _wrapped(path, plaintext_footer=True),
    "pyarrow, `AES_GCM_CTR_V1`": lambda path: _wrapped(path, encryption_algorithm="AES_GCM_CTR_V1"),
    "pyarrow, AAD prefix in the file": lambda path: _by_pyarrow(path, aad_prefix=b"people"),
    "Polars": _by_polars,
    "Polars, column keys": lambda path: _by_polars(path, columns=True),
    "Polars, plain footer": lambda path: _by_polars(path, plaintext_footer=True),
    "Polars, AAD prefix in the file": lambda path: _by_polars(
        path, aad_prefix=b"people", store_aad_prefix=True
    ),
    "DuckDB": _by_duckdb,
}


# The readers: the other columns of the documentation's table.


def _with_pyarrow(path: Path, keys: FileKeys) -> Any:
    # The footer contains PKMT1 if pyarrow's key tools wrapped the keys with our keyrings.
    if b"PKMT1" in path.read_bytes():
        properties = crypto_factory(KEYRINGS).file_decryption_properties(CONNECTION)
    else:
        properties = create_decryption_properties(keys.footer)
    return pq.read_table(path, decryption_properties=properties)


def _with_polars(path: Path, keys: FileKeys) -> Any:
    decryption = pl.ParquetDecryptionProperties(
        footer_key=keys.footer, column_keys=dict(keys.columns)
    )
    return pl.read_parquet(path, decryption=decryption).to_arrow()


def _with_duckdb(path: Path, keys: FileKeys) -> Any:
    with _duck(keys) as duck:
        found = duck.sql(
            f"FROM read_parquet('{path}', encryption_config = {{footer_key: 'key'}}) ORDER BY id"
        )
        return pa.table(dict(zip(("id", "name"), zip(*found.fetchall(), strict=True), strict=True)))


def _duck(keys: FileKeys) -> Any:
    duck = duckdb.connect()
    duck.execute(f"PRAGMA add_parquet_key('key', '{b64encode(keys.footer).decode()}')")
    return duck


READERS: dict[str, Callable[[Path, FileKeys], Any]] = {
    "pyarrow": _with_pyarrow,
    "Polars": _with_polars,
    "DuckDB": _with_duckdb,
}


def _table() -> dict[str, dict[str, str]]:
    """Return the documentation's table: its cells by writer, then by reader without a version."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    start = next(number for number, row in enumerate(rows) if row[0] == "written by")
    readers = [re.sub(r" \d[\d.]*", "", cell) for cell in rows[start][1:]]
    found = {}
    for writer, *cells in rows[start + 2 :]:
        if len(cells) != len(readers):
            break
        found[writer] = dict(zip(readers, cells, strict=True))
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_who_reads_whose_files(writer: str, tmp_path: Path) -> None:
    """A cell of the table says yes exactly if the engine reads the writer's file."""
    path = tmp_path / "people.parquet"
    keys = WRITERS[writer](path)
    assert b"person-" not in path.read_bytes()
    seen, errors = {}, []
    for reader, read in READERS.items():
        try:
            table = read(path, keys)
        except Exception as error:  # noqa: BLE001 - each engine has its own errors
            errors.append(f"{reader}: {type(error).__name__}: {error}")
            seen[reader] = "no"
        else:
            assert table.to_pylist() == TABLE.to_pylist()
            seen[reader] = "yes"
    assert seen == _table()[writer], "\n".join(errors)


def test_the_table_has_every_writer() -> None:
    """The table lists exactly the writers of this test."""
    assert list(_table()) == list(WRITERS)


def test_who_reads_a_file_in_the_clear(tmp_path: Path) -> None:
    """Given keys for an unencrypted file, Polars reads it, and pyarrow and DuckDB refuse."""
    path = tmp_path / "people.parquet"
    pq.write_table(TABLE, path)
    assert _with_polars(path, PLAIN).num_rows == ROWS
    with pytest.raises(OSError, match="plaintext file"):
        _with_pyarrow(path, PLAIN)
    with pytest.raises(duckdb.Error, match="is not encrypted"):
        _with_duckdb(path, PLAIN)


# file_keys


def test_keys_of_columns_that_the_keyrings_open(tmp_path: Path) -> None:
    """`file_keys` leaves out a column whose master key is missing, and returns all other keys."""
    path = tmp_path / "people.parquet"
    keys = _wrapped(path, uniform_encryption=False, column_keys={"people": ["name"]})
    assert list(keys.columns) == ["name"]
    assert _with_polars(path, keys).equals(TABLE.cast(_with_polars(path, keys).schema))
    assert file_keys(path, {"footer": KEYRINGS["footer"]}) == FileKeys(keys.footer, {})
    assert repr(keys) == "FileKeys()"


@pytest.mark.parametrize("plaintext_footer", [True, False])
@pytest.mark.parametrize("double_wrapping", [True, False])
@pytest.mark.parametrize("algorithm", ["AES_GCM_V1", "AES_GCM_CTR_V1"])
def test_every_way_that_pyarrow_uses_keys(
    tmp_path: Path, *, plaintext_footer: bool, double_wrapping: bool, algorithm: str
) -> None:
    """A file can be opened by pyarrow with the keys from `file_keys`.

    This holds for each algorithm, wrapping and kind of footer.
    """
    path = tmp_path / "people.parquet"
    keys = _wrapped(
        path,
        plaintext_footer=plaintext_footer,
        double_wrapping=double_wrapping,
        encryption_algorithm=algorithm,
    )
    assert len(keys.footer) == 32
    properties = create_decryption_properties(keys.footer)
    assert pq.read_table(path, decryption_properties=properties).equals(TABLE)


def test_nested_columns_are_named_by_their_paths(tmp_path: Path) -> None:
    """`file_keys` names a nested column by its path, in the form that Polars expects."""
    path = tmp_path / "nested.parquet"
    table = pa.table({"a": [{"b": [1, 2], "c": "x"}]})
    configuration = EncryptionConfiguration("footer", column_keys={"people": ["a"]})
    properties = crypto_factory(KEYRINGS).file_encryption_properties(CONNECTION, configuration)
    pq.write_table(table, path, encryption_properties=properties)
    keys = file_keys(path, KEYRINGS)
    assert sorted(keys.columns) == ["a.b.list.element", "a.c"]
    assert _with_polars(path, keys).to_pylist() == table.to_pylist()


def test_kms_is_asked_once_a_master_key(
    tmp_path: Path, key: str, requests_log: RequestsLog
) -> None:
    """`file_keys` makes one request per master key, not per column."""
    keyrings = {"footer": kms_keyring(key), "people": kms_keyring(key)}
    configuration = EncryptionConfiguration("footer", column_keys={"people": ["id", "name"]})
    properties = crypto_factory(keyrings).file_encryption_properties(CONNECTION, configuration)
    pq.write_table(TABLE, tmp_path / "x.parquet", encryption_properties=properties)
    requests_log.clear()
    assert len(file_keys(tmp_path / "x.parquet", keyrings).columns) == 2
    targets = [entry["headers"].get("x-amz-target") for entry in requests_log.list()]
    assert targets == ["TrentService.Decrypt"] * 2


def test_an_object_in_s3(tmp_path: Path, bucket: str) -> None:
    """`file_keys` accepts an open object of S3, and its errors contain the object's URI."""
    path, uri = tmp_path / "people.parquet", f"s3://{bucket}/people.parquet"
    keys = _wrapped(path)
    s3 = connect(SSES3())
    s3.put(path, uri)
    with s3.open(uri) as file:
        assert file_keys(file, KEYRINGS) == keys
    pq.write_table(TABLE, path)
    s3.put(path, uri)
    with s3.open(uri) as file, pytest.raises(PolicyError, match=f"{uri} is not encrypted"):
        file_keys(file, KEYRINGS)


def test_key_material_beside_the_file(tmp_path: Path) -> None:
    """Key material beside a file is found by the file's path, and refused for an open file."""
    path = tmp_path / "people.parquet"
    configuration = EncryptionConfiguration(
        "footer", column_keys=COLUMNS, internal_key_material=False
    )
    factory = crypto_factory(KEYRINGS)
    properties = factory.file_encryption_properties(CONNECTION, configuration, path)
    pq.write_table(TABLE, path, encryption_properties=properties)
    assert _with_polars(path, file_keys(path, KEYRINGS)).num_rows == ROWS
    with path.open("rb") as file, pytest.raises(ConfigError, match="beside") as caught:
        file_keys(file, KEYRINGS)
    assert "path" in str(caught.value.hint)
    (tmp_path / "_KEY_MATERIAL_FOR_people.parquet.json").unlink()
    with pytest.raises(LocalFileNotFoundError, match="_KEY_MATERIAL_FOR_"):
        file_keys(path, KEYRINGS)


def test_another_key_does_not_open(tmp_path: Path) -> None:
    """With a wrong key, the keyring's error has a note with the master key's name."""
    path = tmp_path / "people.parquet"
    _wrapped(path)
    with pytest.raises(IntegrityError) as caught:
        file_keys(path, {"footer": AESKeyring("tests", "footer", bytes(32))})
    assert caught.value.__notes__ == [
        "It was about the Parquet master key 'footer'.",
        f"It was about the keys of {path}.",
    ]
    with pytest.raises(ConfigError, match="'footer'"):
        file_keys(path, {"people": KEYRINGS["people"]})


def test_a_file_in_the_clear_is_refused(tmp_path: Path) -> None:
    """`file_keys` refuses an unencrypted file, although pyarrow would read it without an error."""
    path = tmp_path / "people.parquet"
    pq.write_table(TABLE, path)
    with pytest.raises(PolicyError, match=r"people\.parquet is not encrypted"):
        file_keys(path, KEYRINGS)


def test_keys_that_s3crypt_did_not_wrap(tmp_path: Path) -> None:
    """A file that was written with plain keys is refused: it has no wrapped keys."""
    path = tmp_path / "people.parquet"
    _by_polars(path)
    with pytest.raises(FormatError, match="not wrapped by s3crypt"):
        file_keys(path, KEYRINGS)


def test_an_aad_prefix_that_is_not_in_the_file(tmp_path: Path) -> None:
    """A file without its AAD prefix is refused, because no module of it could be verified."""
    path = tmp_path / "people.parquet"
    _by_pyarrow(path, aad_prefix=b"people", store_aad_prefix=False)
    with pytest.raises(FormatError, match="AAD prefix"):
        file_keys(path, KEYRINGS)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_a_changed_footer_gives_no_other_keys(tmp_path: Path, *, plaintext_footer: bool) -> None:
    """If one bit of the footer is changed, `file_keys` fails or finds the same keys.

    One bit of every third byte is tried.
    """
    path = tmp_path / "people.parquet"
    keys = _wrapped(
        path, uniform_encryption=False, column_keys=COLUMNS, plaintext_footer=plaintext_footer
    )
    stored = path.read_bytes()
    length = int.from_bytes(stored[-8:-4], "little") + 8
    refused = 0
    for index in range(len(stored) - length, len(stored), 3):
        changed = bytearray(stored)
        changed[index] ^= 1 << index % 8
        try:
            assert file_keys(io.BytesIO(changed), KEYRINGS) == keys
        except S3CryptError:
            refused += 1
    assert refused > length / 6


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\x1c" * 1000,  # a struct in a struct, and so on
        b"\x19\xfc\xff\xff\xff\xff\x07",  # a list of 2**31 structs
        b"\x18\xff\xff\xff\xff\x07",  # a string of 2**31 bytes
        b"\x16" + b"\xff" * 100,  # an integer that does not end
        b"\x1d\x00",  # a type that does not exist
        b"\x15\x02\x00",  # an integer where a union is
    ],
)
@pytest.mark.parametrize("magic", [b"PARE", b"PAR1"])
def test_what_is_no_footer_is_refused(footer: bytes, magic: bytes) -> None:
    """Bytes that are no footer are refused.

    A forged length allocates no memory, and deep nesting causes no crash.
    """
    stored = magic + footer + len(footer).to_bytes(4, "little") + magic
    with pytest.raises((FormatError, PolicyError)):
        file_keys(io.BytesIO(stored), KEYRINGS)


@pytest.mark.parametrize(
    "stored", [b"", b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\xffPAR1", bytes(99)]
)
def test_what_is_no_parquet_file_is_refused(stored: bytes) -> None:
    """A file with other magic bytes, or with impossible lengths, is refused as no Parquet file."""
    with pytest.raises(FormatError, match="no Parquet file"):
        file_keys(io.BytesIO(stored), KEYRINGS)


@pytest.mark.parametrize(
    "source", ["s3crypt://acme/people.parquet", io.StringIO("PAR1"), None, b"people.parquet"]
)
def test_what_is_no_source_is_refused(source: Any) -> None:
    """A source of a wrong type is refused; the error says which sources `file_keys` accepts."""
    with pytest.raises(ConfigError, match="file_keys takes a path") as caught:
        file_keys(source, KEYRINGS)
    assert "pen" in str(caught.value.hint)
