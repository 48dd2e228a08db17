# SPDX-License-Identifier: Apache-2.0
"""The table of docs/data-sets.md: lines that work are run, and so are lines that fail.

For tools that the tests do not install, interop/data_tools.py runs the rows.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zarr
from tool_samples import MARK, Place, customers, pins, table

from s3crypt import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A test below runs the lines of each tool.
TOOLS = ["pandas", "pyarrow", "DuckDB", "Polars", "Dask", "zarr", "fsspec"]
# Ignore the warning about Dask, which calls pandas in a way that pandas 3.1 deprecates.
dasks_own = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


@pytest.fixture(scope="module")
def place(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make a bucket and a key file."""
    return Place.make(s3, tmp_path_factory.mktemp("keys"))


def test_the_versions_are_those_that_were_run() -> None:
    """The page names the versions that interop/data-tools.txt pins."""
    pinned = pins()
    named = {
        tool.lower(): version for row in table().values() for tool, version in row.versions.items()
    }
    assert named == {name: pinned[name] for name in named}


def test_each_row_is_run_here_or_by_interop() -> None:
    """Each row of the table is run by a test here or by interop/data_tools.py."""
    assert [tool for tool, row in table().items() if row.is_run_by_ci] == TOOLS


# pandas


def test_pandas(place: Place) -> None:
    """Pandas reads and writes with a URL and storage options."""
    path = place.new("customers.parquet")
    read = place.run("pandas", **place.named(path, pd=pd, frame=customers()))
    place.check_sealed(path)
    pd.testing.assert_frame_equal(read, customers())


def test_pandas_without_storage_options(place: Place) -> None:
    """Functions without storage options work with an open file; with a URL they fail."""
    for function in (pd.read_orc, pd.read_sas, pd.read_spss, pd.read_hdf):
        assert "storage_options" not in inspect.signature(function).parameters
    for method in (pd.DataFrame.to_orc, pd.DataFrame.to_hdf):
        assert "storage_options" not in inspect.signature(method).parameters
    path = place.new("customers.orc")
    with pytest.raises(ConfigError, match="no encryption"):
        customers().to_orc(f"s3crypt://{path}")
    with place.files.open(path, "wb") as file:
        customers().to_orc(file)
    place.check_sealed(path)
    with pytest.raises(ConfigError, match="no encryption"):
        pd.read_orc(f"s3crypt://{path}")
    with place.files.open(path) as file:
        pd.testing.assert_frame_equal(pd.read_orc(file), customers())


# Arrow


def test_pyarrow(place: Place) -> None:
    """A table is written and read with a path and the file system."""
    path, written = place.new("customers.parquet"), pa.Table.from_pandas(customers())
    assert place.run("pyarrow", **place.named(path, pq=pq, table=written)).equals(written)
    place.check_sealed(path)


def test_pyarrow_takes_no_urls(place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    """Arrow refuses a URL, and writes nothing to the local disk."""
    monkeypatch.chdir(tmp_path)
    url = f"s3crypt://{place.new('customers.parquet')}"
    written = pa.Table.from_pandas(customers())
    calls: tuple[Callable[[], object], ...] = (
        lambda: pq.write_table(written, url),
        lambda: pq.write_to_dataset(written, url, partition_cols=["region"]),
        lambda: ds.write_dataset(written, url, format="parquet"),
        lambda: pq.read_table(url),
        lambda: ds.dataset(url),
    )
    for call in calls:
        with pytest.raises((pa.ArrowException, OSError, ValueError)):
            call()
    assert not list(tmp_path.iterdir())


# DuckDB


def test_duckdb(place: Place) -> None:
    """DuckDB reads and writes URLs after the file system is registered once."""
    path = place.new("customers.parquet")
    with duckdb.connect() as duck:
        duck.register("orders", customers())
        found = place.run("DuckDB", **place.named(path, duck=duck)).fetchall()
        assert len(found) == 30
    place.check_sealed(path)


def test_duckdb_opens_no_database_file(place: Place) -> None:
    """A database file is refused, because DuckDB would change it in place."""
    with duckdb.connect() as duck:
        duck.register_filesystem(place.files)
        with pytest.raises(duckdb.Error):
            duck.execute(f"ATTACH 's3crypt://{place.new('customers.db')}' AS other")


# Polars


def test_polars(place: Place) -> None:
    """Polars reads and writes through pyarrow."""
    path, frame = place.new("customers.parquet"), pl.from_pandas(customers())
    read = place.run("Polars", **place.named(path, pl=pl, ds=ds, frame=frame))
    place.check_sealed(path)
    assert read.equals(frame)


def _partitioned(frame: pl.DataFrame, url: str, options: Any) -> None:
    frame.write_parquet(
        url, compression="uncompressed", partition_by="region", storage_options=options
    )


def _sunk(kind: str, **more: Any) -> Callable[[pl.DataFrame, str, Any], None]:
    def sink(frame: pl.DataFrame, url: str, options: Any) -> None:
        getattr(frame.lazy(), f"sink_{kind}")(url, mkdir=True, storage_options=options, **more)

    return sink


@pytest.mark.parametrize(
    "write",
    [
        _partitioned,
        _sunk("parquet", compression="uncompressed"),
        _sunk("ipc"),
        _sunk("csv"),
        _sunk("ndjson"),
    ],
)
def test_polars_writes_plaintext_to_the_local_disk(
    place: Place, tmp_path: Path, monkeypatch: Any, write: Callable[[pl.DataFrame, str, Any], None]
) -> None:
    """As the page warns, the rows go to a local folder in plaintext, without an error."""
    monkeypatch.chdir(tmp_path)
    path = place.new("customers")
    write(pl.from_pandas(customers()), f"s3crypt://{path}", place.lake)
    assert place.files.find(path) == []
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    assert all(file.relative_to(tmp_path).parts[0] == "s3crypt:" for file in written)
    assert any(MARK.encode() in file.read_bytes() for file in written)


def test_polars_without_a_folder_fails(place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    """Without the local folder, writing to a URL fails and leaves nothing."""
    monkeypatch.chdir(tmp_path)
    frame = pl.from_pandas(customers())
    with pytest.raises(OSError, match="No such file"):
        frame.write_parquet(f"s3crypt://{place.new('x.parquet')}", storage_options=place.lake)
    assert not list(tmp_path.iterdir())


def test_polars_partitions_through_pyarrow(place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    """Through pyarrow the partitions are sealed objects, and nothing is on the local disk."""
    monkeypatch.chdir(tmp_path)
    path = place.new("customers")
    pl.from_pandas(customers()).write_parquet(
        path,
        use_pyarrow=True,
        pyarrow_options={"filesystem": place.files, "partition_cols": ["region"]},
    )
    assert len(place.files.find(path)) == 2
    place.check_sealed(path)
    assert not list(tmp_path.iterdir())


# Dask


def _frame() -> Any:
    return dd.from_pandas(customers(), npartitions=2)  # type: ignore[no-untyped-call]  # dask has no types


@dasks_own
def test_dask(place: Place) -> None:
    """Dask reads and writes with a URL and storage options."""
    path = place.new("customers")
    frame = _frame()
    read = place.run("Dask", **place.named(path, dd=dd, frame=frame))
    place.check_sealed(path)
    assert read["id"].sum().compute(scheduler="sync") == 435


@dasks_own
def test_dask_overwriting_what_it_reads_deletes_it(place: Place) -> None:
    """If Dask overwrites the data set that it reads, it deletes the set first; the page warns."""
    path = place.new("customers")
    url = f"s3crypt://{path}"
    customers().to_parquet(f"{url}/part.0.parquet", storage_options=place.lake)
    read = dd.read_parquet(url, storage_options=place.lake)
    with pytest.raises(FileNotFoundError):
        read.to_parquet(url, overwrite=True, storage_options=place.lake)
    assert place.files.find(path) == []


@dasks_own
def test_dask_without(place: Place) -> None:
    """Dask fails with a single CSV file, which needs appending, and with Arrow's file systems."""
    url = f"s3crypt://{place.new('customers.csv')}"
    frame = _frame()
    with pytest.raises((NotImplementedError, ValueError)):
        frame.to_csv(url, single_file=True, storage_options=place.lake)
    with pytest.raises((NotImplementedError, ValueError, pa.ArrowException)):
        dd.read_parquet(url, filesystem="arrow", storage_options=place.lake)


# zarr and fsspec


def test_zarr(place: Place) -> None:
    """Zarr reads and writes with a URL and storage options."""
    path, numbers = place.new("field.zarr"), np.arange(16.0)
    read = place.run("zarr", **place.named(path, zarr=zarr, numbers=numbers))
    assert (read[:] == numbers).all()
    place.check_sealed(path)


def test_a_cache_of_fsspec_keeps_plaintext(place: Place, tmp_path: Path) -> None:
    """As the page warns, fsspec's cache keeps plaintext in the folder that the caller names."""
    path = place.new("customers.csv")
    place.files.pipe(path, customers().to_csv().encode())
    with place.run("fsspec", **place.named(path, fsspec=fsspec)) as file:
        assert MARK.encode() in file.read()
    for kind in ("simplecache", "filecache"):
        folder = tmp_path / kind
        options = {kind: {"cache_storage": str(folder)}, "s3crypt": place.lake}
        with fsspec.open(f"{kind}::s3crypt://{path}", **options) as file:
            file.read()
        assert any(MARK.encode() in file.read_bytes() for file in folder.iterdir())


def test_fsspec_appends_nothing(place: Place) -> None:
    """Appending is refused, because S3 cannot append."""
    with pytest.raises(NotImplementedError, match="cannot be appended"):
        place.files.open(place.new("x"), "ab")
