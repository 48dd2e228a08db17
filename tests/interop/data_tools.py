# SPDX-License-Identifier: Apache-2.0
"""Test the tools in docs/data-sets.md that the ordinary tests do not install.

    python -m venv VENV
    VENV/bin/pip install -e '.[test]' -r tests/interop/data-tools.txt
    VENV/bin/pytest -n0 tests/interop/data_tools.py

pytest does not collect this file by itself.
"""

from __future__ import annotations

import io
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from tool_samples import MARK, Place, customers, pins, table

if TYPE_CHECKING:
    from pathlib import Path

# These packages cause warnings when they are imported, which s3crypt cannot change.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make a bucket and a key file, in which the tests store their data."""
    return Place.make(s3, tmp_path_factory.mktemp("keys"))


def test_the_versions_are_those_of_the_page() -> None:
    """The installed versions of the tools are those that the page names."""
    for name, version in pins().items():
        assert metadata.version(name) == version, name


def test_each_row_is_run() -> None:
    """Each tool of the page that CI does not run has a test here."""
    rows = [tool for tool, row in table().items() if not row.is_run_by_ci]
    assert rows == ["datasets", "PyIceberg", "h5py", "kerchunk", "deltalake"]


# datasets


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a new folder the cache of `datasets`, and return the folder."""
    import datasets.config  # noqa: PLC0415

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", str(tmp_path / "downloads"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", value=True)
    return tmp_path


def _plaintexts(folder: Path) -> list[Path]:
    return [
        file for file in folder.rglob("*") if file.is_file() and MARK.encode() in file.read_bytes()
    ]


def test_datasets_streams(place: Place, cache: Path) -> None:
    """The page's line for `datasets` works, and leaves no plaintext in the cache."""
    # Imported by name, because mypy would confuse the package with benchmarks/datasets.py.
    load_dataset = import_module("datasets").load_dataset
    path = place.new("customers.parquet")
    customers().to_parquet(f"s3crypt://{path}", storage_options=place.lake)
    found = place.run("datasets", **place.named(path, load_dataset=load_dataset))
    assert [row["id"] for row in found["train"]] == list(range(30))
    assert not _plaintexts(cache)


def test_datasets_keeps_plaintext(place: Place, cache: Path) -> None:
    """Without streaming, `datasets` leaves plaintext in its cache, as the page warns.

    It also adds an entry to the caller's options.
    """
    # Imported by name, because mypy would confuse the package with benchmarks/datasets.py.
    load_dataset = import_module("datasets").load_dataset
    path = place.new("customers.parquet")
    customers().to_parquet(f"s3crypt://{path}", compression=None, storage_options=place.lake)
    options = place.lake
    load_dataset("parquet", data_files=f"s3crypt://{path}", storage_options=options)
    assert set(options) == {"key", "hf"}
    assert _plaintexts(cache)


# PyIceberg


def test_pyiceberg(place: Place, tmp_path: Path) -> None:
    """The page's line for PyIceberg works, and a catalog's data and metadata are encrypted."""
    import pyiceberg.io.fsspec  # noqa: PLC0415
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415

    root = place.new("tables")
    place.run("PyIceberg", **place.named(root, pyiceberg=pyiceberg))
    catalog = load_catalog(
        "here",
        type="sql",
        uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=f"s3crypt://{root}",
        **{"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"},
    )
    catalog.create_namespace("shop")
    rows = pa.Table.from_pandas(customers())
    stored = catalog.create_table("shop.customers", schema=rows.schema)
    stored.append(rows)
    stored.append(rows)
    found = catalog.load_table("shop.customers").scan(row_filter="region == 'eu'").to_arrow()
    assert found.num_rows == 30
    place.check_sealed(root)


# h5py and kerchunk


@pytest.fixture
def hdf5(place: Place) -> str:
    """Store an HDF5 file with a short and a long array. Return its path in S3."""
    import h5py  # noqa: PLC0415

    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        file["short"] = np.frombuffer(MARK.encode(), dtype="u1")
        file["long"] = np.arange(10_000)
    path = place.new("field.h5")
    place.files.pipe(path, body.getvalue())
    return path


def test_h5py(place: Place, hdf5: str) -> None:
    """h5py reads an open file of s3crypt, and cannot write one."""
    import h5py  # noqa: PLC0415

    with place.run("h5py", **place.named(hdf5, h5py=h5py)) as file:
        assert file["long"][5000] == 5000
    with pytest.raises((OSError, ValueError)), place.files.open(place.new("x"), "wb") as new:
        h5py.File(new, "w").create_dataset("long", data=np.arange(10))


def test_kerchunk(place: Place, hdf5: str) -> None:
    """With the page's option, kerchunk's references contain no data.

    By default, they contain the data of a short chunk.
    """
    from kerchunk.hdf import SingleHdf5ToZarr  # noqa: PLC0415

    given = place.named(hdf5, SingleHdf5ToZarr=SingleHdf5ToZarr)
    references = place.run("kerchunk", **given)
    assert MARK not in str(references)
    read = fsspec.filesystem(
        "reference", fo=references, remote_protocol="s3crypt", remote_options=place.lake
    )
    assert read.cat("long/0")
    with place.files.open(hdf5) as file:
        assert MARK in str(SingleHdf5ToZarr(file, given["url"]).translate())


# Stores in Rust


def test_deltalake_has_no_place_for_ours(place: Place) -> None:
    """`deltalake` refuses the scheme s3crypt://, because it has its own object store."""
    import deltalake  # noqa: PLC0415

    with pytest.raises(Exception, match="Unknown scheme: s3crypt"):
        deltalake.write_deltalake(
            f"s3crypt://{place.new('table')}", pa.Table.from_pandas(customers())
        )


def test_lance_has_no_place_for_ours(place: Place) -> None:
    """`lance` refuses the scheme s3crypt://, because it has its own object store."""
    import lance  # noqa: PLC0415

    with pytest.raises(Exception, match="No object store provider found"):
        lance.write_dataset(pa.Table.from_pandas(customers()), f"s3crypt://{place.new('set')}")


def test_obstore_has_no_place_for_ours(place: Place) -> None:
    """`obstore` refuses the scheme s3crypt://."""
    from obstore.store import from_url  # noqa: PLC0415

    with pytest.raises(Exception, match="Unable to recognise URL"):
        from_url(f"s3crypt://{place.new('x')}")
