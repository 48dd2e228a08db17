# SPDX-License-Identifier: Apache-2.0
"""The ids of the key material with which KMS wrapped or unwrapped data keys.

An EDK contains the id of the material that wrapped it. There is no such place for the id of the
material that *unwrapped* a data key, because `Keyring.unwrap` returns only bytes, also in keyrings
of callers. A job that reports this id collects it with `opened_materials`. The ids are only for
reports: no data key is accepted or refused because of an id. The id inside KMS's ciphertext blob is
undocumented and is not read.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_MATERIAL_ID = re.compile(r"[0-9a-f]{64}")

_opened: ContextVar[list[str | None] | None] = ContextVar("s3crypt_opened_materials", default=None)


def is_material_id(text: str) -> bool:
    """Return whether a text has the form of KMS's `KeyMaterialId`: 64 hexadecimal digits."""
    return _MATERIAL_ID.fullmatch(text) is not None


def material_id_of(reply: Mapping[str, Any], field: str) -> str | None:
    """Return the material's id in a reply of KMS. Return None if the reply has no valid id.

    Older services that imitate KMS do not report the id.
    """
    found = reply.get(field)
    return found if isinstance(found, str) and is_material_id(found) else None


@contextmanager
def opened_materials() -> Iterator[list[str | None]]:
    """Yield a list. It collects the id of the material for each data key that KMS unwraps.

    The list has None for a reply without an id. It collects only requests of this thread. A data
    key from a cache adds nothing.
    """
    found: list[str | None] = []
    token = _opened.set(found)
    try:
        yield found
    finally:
        _opened.reset(token)


def note_opened(material_id: str | None) -> None:
    """Add the id of the material that unwrapped a data key to the list of `opened_materials`.

    Do nothing outside of the `with` block of `opened_materials`.
    """
    found = _opened.get()
    if found is not None:
        found.append(material_id)
