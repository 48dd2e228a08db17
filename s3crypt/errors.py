# SPDX-License-Identifier: Apache-2.0
"""Every error s3crypt raises: one family, shaped by what the caller can do about it.

No message, repr or attribute of an error holds a key, a data key or plaintext.
"""

from collections.abc import Mapping


class S3CryptError(Exception):
    """Base of the family; never raised itself.

    Attributes:
        hint: What to do next, one sentence, or None.
        code: The service's error code (`NoSuchKey`, `AccessDeniedException`), or None.
        request_id: The service's request id, for support, or None.

    The service's own exception, where there was one, is `__cause__`. An error keeps its attributes
    when it is pickled or copied, but not its cause.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.request_id = request_id


class ConfigError(S3CryptError, ValueError):
    """The call or the set-up is wrong; raised before any byte is read, written or sent."""


class IntegrityError(S3CryptError):
    """The data is not what was written: tampered, truncated, swapped, or a key does not fit.

    One type for all of these on purpose: telling them apart helps an attacker, not a reader. Only
    the names of an object's keys, which anyone can read, decide between this and
    `KeyUnavailableError`.
    """


class FormatError(S3CryptError):
    """The bytes are not a message this version reads: not ours, or too new."""


class PolicyError(S3CryptError):
    """Readable, but not what was demanded: another mode, another key, no key commitment."""


class KeyUnavailableError(S3CryptError):
    """No given key is one of the object's, or one cannot be used now: denied, disabled, throttled.

    Where no given key is one of the object's, the hint names the object's keys.
    """


class StorageError(S3CryptError):
    """S3 or the local file system refused or failed."""


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """There is no such object, or no such version of it."""


class LocalFileNotFoundError(StorageError, FileNotFoundError):
    """There is no such local file, or no such folder to write it in."""


class KeyFileNotFoundError(LocalFileNotFoundError, ConfigError):
    """There is no such file of a key."""


class ConflictError(StorageError):
    """Someone else wrote the object first; theirs was kept and nothing of ours was stored."""


class RotationError(S3CryptError):
    """Some objects of a rotation were not rotated.

    Attributes:
        outcomes: Every object's result; beyond 100,000 objects only of those that failed.
        counts: How many objects had which action.
    """

    # pickle and copy call the class with the message alone, then restore the attributes.
    def __init__(
        self,
        message: str,
        *,
        outcomes: tuple[object, ...] = (),
        counts: Mapping[str, int] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.outcomes = outcomes
        self.counts = dict(counts or {})
