# SPDX-License-Identifier: Apache-2.0
"""The library's remedies, reworded for users of the file system: they name storage options."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from s3crypt.errors import Action, Remedy, S3CryptError

# The remedies that need other words than the library's. Storage options have the same names as the
# library's arguments, so all other remedies keep the library's words.
WORDS: Mapping[Action, str] = MappingProxyType(
    {
        "check_context": "The object was moved (written_as, written_in) or replaced, or the "
        "storage option context is wrong.",
        "list_objects": "List the objects: `ls`.",
        "name_mode": "encryption='any' reads only: give a key, or another encryption.",
        "read_in_mode": "Read it with encryption='{mode}'.",
        "read_with_key": "If you know its key, give it as the storage option key. Its unverified "
        "header names: {key}",
        "set_region": (
            "The bucket is in another Region: set the storage option region to it, or "
            "AWS_DEFAULT_REGION."
        ),
        "sign_in": "Set the storage option profile or AWS_PROFILE, or run `aws configure` or "
        "`aws sso login`.",
    }
)


@contextmanager
def in_storage_options() -> Iterator[None]:
    """Reword the hints of errors, so they name storage options."""
    try:
        yield
    except S3CryptError as error:
        error.reword(words_for)
        raise


def words_for(remedy: Remedy) -> str:
    """Return the text of a remedy for users of storage options."""
    words = WORDS.get(remedy.action)
    return str(remedy) if words is None else remedy.worded(words)
