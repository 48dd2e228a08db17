# SPDX-License-Identifier: Apache-2.0
"""Write a report as a JSON document, and read it back.

The document states the version of its form, and `read_report` refuses a version that it does not
know. The totals in a document are for other programs; `read_report` computes them again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from s3crypt.errors import FormatError, LocalFileNotFoundError, StorageError

from .report import Report

FORMAT, VERSION = "s3crypt-key-impact", 1


def document_of(report: Report) -> dict[str, Any]:
    """Return a report as values that JSON can represent."""
    totals = ("dependents", "undecided", "covers_account", "only", "shared", "replica")
    names = (*totals, *(each.name for each in fields(report)))
    values = {name: _plain(getattr(report, name)) for name in names}
    return {"format": FORMAT, "version": VERSION, **values}


def read_report(path: str | os.PathLike[str]) -> Report:
    """Return the report in a file that `s3crypt keys impact --report` wrote.

    Raises:
        LocalFileNotFoundError: The file does not exist.
        StorageError: The file cannot be read.
        FormatError: The file is not a report, or has a version that this s3crypt does not read.
    """
    try:
        said = json.loads(Path(path).read_bytes())
        is_report, version = said["format"] == FORMAT, said["version"]
        if is_report and version != VERSION:
            raise FormatError(
                f"{path}: the report has version {version!r}; this s3crypt reads {VERSION}.",
                hint="Make it again, or read it with the version that wrote it.",
            )
        if is_report:
            report: Report = _typed(Report, said)
            return report
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _no_report(path) from error
    raise _no_report(path)


def _no_report(path: object) -> FormatError:
    return FormatError(
        f"{path}: it is no report of `s3crypt keys impact`.",
        hint="Make a report: `s3crypt keys impact KEY --report FILE`.",
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value


def _typed(kind: Any, value: Any) -> Any:
    """Return a value that was read from JSON, converted to the type `kind`.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: The value does not fit the type.
    """
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        made: Any = kind
        return made(**{name: _typed(hint, value[name]) for name, hint in hints.items()})
    if get_origin(kind) is not None:
        return _composed(get_origin(kind), get_args(kind), value)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment
    if type(value) is not kind or (kind is int and value < 0):
        raise TypeError(f"not {kind}")
    return value


def _composed(origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    """Convert a JSON value to a tuple, a mapping, an optional value or a `Literal`."""
    if origin is Literal:
        if value not in inner:
            raise ValueError("another word")
        return value
    if origin in (Union, UnionType):
        return None if value is None else _typed(inner[0], value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError("not a list")
        return tuple(_typed(inner[0], each) for each in value)
    return {str(name): _typed(inner[1], each) for name, each in value.items()}
