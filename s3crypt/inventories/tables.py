# SPDX-License-Identifier: Apache-2.0
"""The rows of ORC and Parquet files. They are counted in Arrow columns, in bounded memory.

The package pyarrow is an extra. It is imported only when a file is read. A `Row` is created only
for the rows that the caller requests. This module makes no request.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import Any, BinaryIO, Literal, TypeAlias

from s3crypt.errors import ConfigError, FormatError, IntegrityError

from .batch import BATCH_ROWS, FLAGS, Amount, Batch, Dialect, Group, Row, Scope, check_size
from .bounds import Sizes
from .manifest import plain

Columnar: TypeAlias = Literal["ORC", "Parquet"]

_TEXTS = frozenset({"bucket", "key", "versionid", "etag"})
# These columns have few different values. They are read as dictionaries, because pyarrow counts
# dictionaries faster.
_REPEATED = frozenset({"storageclass", "encryptionstatus", "kmskeyarn"})
_SIZE = "size"
_WANTED = _TEXTS | _REPEATED | FLAGS | {_SIZE}
_GROUPED = ("bucket", "encryptionstatus", "kmskeyarn")
# A caller often needs only the first rows. Rows are created in slices; each slice has twice as many
# rows as the slice before, up to _MOST_AT_ONCE.
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 16, 1024


def table_batches(
    kind: Columnar, file: BinaryIO, dialect: Dialect, scope: Scope
) -> Iterator[Batch]:
    """Yield the rows of a file that are in the scope, in batches. Delete markers are left out.

    Raises:
        IntegrityError: The file cannot be read to its end.
        FormatError: The column of names is missing, two columns have the same name, a column has
            another type than S3 writes, or a row has no name.
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"A report of format {kind} needs pyarrow.",
            hint="pip install 's3crypt[parquet]', or have the report written as CSV.",
        ) from error
    read = _parquet_tables if kind == "Parquet" else _orc_tables
    try:
        for table in read(pa, file, dialect):
            yield _Table(_as_written(table), dialect, scope)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise IntegrityError(f"it cannot be read to its end ({type(error).__name__})") from error


def _wanted(names: Sequence[str], dialect: Dialect) -> list[str]:
    """Return the names of the columns to read, as the file spells them."""
    dialect.check([plain(name) for name in names])
    unread = frozenset() if dialect.bucket is None else {"bucket"}
    return [name for name in names if plain(name) in _WANTED - unread]


class _Table:
    """A batch of rows in an Arrow table. The columns of the table have `plain` names."""

    def __init__(self, table: Any, dialect: Dialect, scope: Scope) -> None:
        from pyarrow import compute  # noqa: PLC0415

        self._compute = compute
        self._table = table
        self._names = frozenset(table.schema.names)
        self._dialect = dialect
        # A column of bool: whether each row of the table belongs to the batch. None if all rows do.
        # A copy of only these rows would take longer than all the counting.
        self._kept = self._chosen(scope)
        # For each status: the indices of its rows, and its first rows. They are kept because a
        # caller that applies several rules requests the same rows once per rule.
        self._begun: dict[str | None, tuple[Any, list[Row]]] = {}

    def _chosen(self, scope: Scope) -> Any:
        compute, found = self._compute, []
        if "isdeletemarker" in self._names:
            is_marker = compute.fill_null(self._table["isdeletemarker"], False)
            if compute.any(is_marker).as_py():
                found.append(compute.invert(is_marker))
        if scope.prefix:
            found.append(compute.starts_with(self._table["key"], pattern=scope.prefix))
        if scope.bucket is not None and self._dialect.bucket is None:
            found.append(compute.equal(self._table["bucket"], scope.bucket))
        return reduce(compute.and_, found) if found else None

    @property
    def count(self) -> int:
        if self._kept is None:
            return int(self._table.num_rows)
        return int(self._compute.sum(self._kept).as_py() or 0)

    def statuses(self) -> Mapping[str | None, int]:
        if "encryptionstatus" not in self._names:
            return {None: count} if (count := self.count) else {}
        found: dict[str | None, int] = {}
        for each in self._compute.value_counts(self._column("encryptionstatus")):
            status = self._dialect.status_of(each["values"].as_py())
            found[status] = found.get(status, 0) + each["counts"].as_py()
        return found

    def groups(self) -> Mapping[Group, Amount]:
        names = [name for name in _GROUPED if name in self._names]
        if not names or not self.count:
            return {self._group({}): self._amount()} if self.count else {}
        table = self._kept_of([*names, *({_SIZE} & self._names)])
        wanted: list[Any] = [([], "count_all")]
        if _SIZE in self._names:
            wanted += [(_SIZE, "sum"), (_SIZE, "count")]
        found: dict[Group, Amount] = {}
        # With one thread, pyarrow groups the rows of one batch faster than with several threads.
        for said in table.group_by(names, use_threads=False).aggregate(wanted).to_pylist():
            count, sized = said["count_all"], said.get("size_count", 0)
            amount = Amount(count, said.get("size_sum") or 0, count - sized)
            group = self._group(said)
            found[group] = found.get(group, Amount()) + amount
        return found

    def _group(self, said: Mapping[str, Any]) -> Group:
        dialect, status = self._dialect, None
        if "encryptionstatus" in self._names:
            status = dialect.status_of(said["encryptionstatus"])
        bucket = said["bucket"] if dialect.bucket is None else dialect.bucket
        return Group(bucket, status, said.get("kmskeyarn") or None)

    def _amount(self) -> Amount:
        if _SIZE not in self._names:
            return Amount(self.count, 0, self.count)
        sizes = self._column(_SIZE)
        return Amount(self.count, self._compute.sum(sizes).as_py() or 0, sizes.null_count)

    def sizes(self) -> Sizes:
        made = Sizes()
        if _SIZE not in self._names:
            return made
        compute, column = self._compute, self._column(_SIZE).drop_null()
        # The bit length of each size minus 1, or -1 for the size 0. Sizes are below 2**48. A double
        # is precise enough for their logarithms: the largest size below a power of two still gets a
        # logarithm below the logarithm of this power.
        bits = compute.floor(compute.log2(compute.max_element_wise(column, 0.5)))
        table = self._kept_of([_SIZE]).drop_null().append_column("bits", bits)
        wanted = [(_SIZE, name) for name in ("min", "max", "count", "sum")]
        for said in table.group_by("bits", use_threads=False).aggregate(wanted).to_pylist():
            least, greatest, count, total = (said[f"size_{name}"] for _, name in wanted)
            made.add_class(least, greatest, count=count, total=total)
        return made

    def rows(self) -> Iterator[Row]:
        return self._made(self._places_of_kept())

    def of_status(self, status: str | None) -> Iterator[Row]:
        if status not in self._begun:
            places = self._places({"encryptionstatus": self._written(status)})
            first = list(self._made(places.slice(0, _FEWEST_AT_ONCE)))
            self._begun[status] = places, first
        places, first = self._begun[status]
        return chain(first, self._made(places.slice(_FEWEST_AT_ONCE)))

    def of_group(self, group: Group) -> Iterator[Row]:
        values = {
            "encryptionstatus": self._written(group.status),
            "kmskeyarn": _either(group.kms_key),
        }
        if self._dialect.bucket is None:
            values["bucket"] = [group.bucket]
        elif group.bucket != self._dialect.bucket:
            return iter(())
        return self._made(self._places(values))

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        import pyarrow as pa  # noqa: PLC0415

        places = pa.array(indices, pa.int64())
        return self._made(places if self._kept is None else self._places_of_kept().take(places))

    def _column(self, name: str) -> Any:
        column = self._table[name]
        return column if self._kept is None else column.filter(self._kept)

    def _kept_of(self, names: Sequence[str]) -> Any:
        """Return these columns, with only the rows that belong to the batch."""
        table = self._table.select(names)
        return table if self._kept is None else table.filter(self._kept)

    def _written(self, status: str | None) -> list[str | None]:
        """Return the values in the status column that mean this encryption status."""
        if status != self._dialect.status_of(None):
            return [status]
        return [status, *_either(None)] if status else _either(None)

    def _places_of_kept(self) -> Any:
        import pyarrow as pa  # noqa: PLC0415

        if self._kept is None:
            return pa.array(range(self._table.num_rows), pa.int64())
        return self._compute.indices_nonzero(self._kept)

    def _places(self, values: Mapping[str, Sequence[str | None]]) -> Any:
        """Return the indices of the batch's rows whose columns all have one of the wanted values.

        `values` has the wanted values of each column. A column that the table lacks counts as null.
        """
        import pyarrow as pa  # noqa: PLC0415

        compute, found = self._compute, self._kept
        for name, wanted in values.items():
            if name not in self._names:
                if None in wanted:
                    continue
                return pa.array([], pa.int64())
            is_one = compute.is_in(self._table[name], value_set=pa.array(wanted, pa.string()))
            found = is_one if found is None else compute.and_(found, is_one)
        return self._places_of_kept() if found is None else compute.indices_nonzero(found)

    def _made(self, places: Any) -> Iterator[Row]:
        start, count = 0, _FEWEST_AT_ONCE
        while start < len(places):
            for said in self._table.take(places.slice(start, count)).to_pylist():
                yield self._dialect.row(said)
            start, count = start + count, min(2 * count, _MOST_AT_ONCE)


def _either(text: str | None) -> list[str | None]:
    """Return the values in a column that mean this text.

    None is written as null or as an empty text.
    """
    return [text] if text else [None, ""]


def _as_written(table: Any) -> Any:
    """Return the table with `plain` column names, and with its columns cast to the types of S3.

    Raises:
        FormatError: A column has another type, a size is impossible in S3, or a row has no name.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    names = [plain(name) for name in table.schema.names]
    table = table.rename_columns(names)
    try:
        fields = [pa.field(each.name, _type_of(pa, each)) for each in table.schema]
        table = table.cast(pa.schema(fields))
        # pyarrow does not verify while reading that a text is UTF-8.
        table.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise FormatError("a column has another type than S3 writes") from error
    if any(table[name].null_count for name in ("key", "bucket") if name in names):
        raise FormatError("a row has no name")
    if _SIZE in names:
        for size in compute.min_max(table[_SIZE]).as_py().values():
            check_size(size or 0)
    return table


def _type_of(pa: Any, field: Any) -> Any:
    if field.name in FLAGS:
        return pa.bool_()
    if field.name == _SIZE:
        return pa.int64()
    is_dictionary = pa.types.is_dictionary(field.type)
    return (
        field.type if is_dictionary and pa.types.is_string(field.type.value_type) else pa.string()
    )


def _parquet_tables(pa: Any, file: BinaryIO, dialect: Dialect) -> Iterator[Any]:
    from pyarrow import parquet  # noqa: PLC0415

    schema = parquet.read_schema(file)
    names = _wanted(schema.names, dialect)
    repeated = [name for name in names if plain(name) in _REPEATED and _is_text(pa, schema, name)]
    file.seek(0)
    # With `pre_buffer`, pyarrow would hold whole columns of a row group in memory.
    found = parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20, read_dictionary=repeated)
    for batch in found.iter_batches(batch_size=BATCH_ROWS, columns=names):
        yield pa.Table.from_batches([batch])


def _is_text(pa: Any, schema: Any, name: str) -> bool:
    kind = schema.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _orc_tables(pa: Any, file: BinaryIO, dialect: Dialect) -> Iterator[Any]:
    from pyarrow import orc  # noqa: PLC0415

    found = orc.ORCFile(file)
    names = _wanted(found.schema.names, dialect)
    for number in range(found.nstripes):
        stripe = pa.Table.from_batches([found.read_stripe(number, columns=names)])
        for start in range(0, stripe.num_rows, BATCH_ROWS):
            yield stripe.slice(start, BATCH_ROWS)
