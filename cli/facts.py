# SPDX-License-Identifier: Apache-2.0
"""Facts about objects as the commands print them, in JSON and as text."""

import dataclasses
from typing import TYPE_CHECKING, Any

from .options import Settings
from .output import print_json, print_line

if TYPE_CHECKING:
    from s3crypt import ObjectInfo


def info_fields(info: "ObjectInfo") -> dict[str, Any]:
    """Return an object's properties under the names that --json prints."""
    return value_fields(info)


def value_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as a dictionary; nested values become lists and dicts."""
    names = [field.name for field in dataclasses.fields(value)]
    return {name: _value(getattr(value, name)) for name in names}


def _value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return list(value)
    return dict(value) if hasattr(value, "items") else value


def _plain_text(value: Any) -> str:
    """Return a property's value as text for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def print_fields(settings: Settings, fields: dict[str, Any]) -> None:
    """Print properties; text for people omits empty properties."""
    if settings.json:
        print_json(fields)
        return
    for field, value in fields.items():
        if value not in (None, {}, []):
            print_line(f"{field.replace('_', ' '):<14} {_plain_text(value)}")
