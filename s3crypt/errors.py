# SPDX-License-Identifier: Apache-2.0
"""Every error that s3crypt raises: one family, one type per possible reaction. And one warning.

If the caller can pass another argument, or use another part of s3crypt, the error carries a
`Remedy`: a value that Python, the command and the file system each put into their own words.

No message, repr or attribute of an error holds a key, a data key or plaintext.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias


class S3CryptError(Exception):
    """Base of the family; never raised itself.

    Attributes:
        hint: Advice for the caller, a sentence or two, or None.
        remedy: The same advice as a value for programs, or None. Its words are the last part of
            `hint`; setting a hint removes the remedy.
        code: The service's error code (`NoSuchKey`, `AccessDeniedException`), or None.
        request_id: The service's request id, for support, or None.

    The service's own exception, if there was one, is `__cause__`. An error keeps its attributes
    when it is pickled or copied, but not its cause.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        remedy: "Remedy | None" = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self._explanation = hint
        self._words: str | None = None
        self.remedy = remedy
        self.code = code
        self.request_id = request_id

    @property
    def hint(self) -> str | None:
        """Advice for the caller: the explanation given to the error, then the remedy in words."""
        parts = (self._explanation, self._words or (self.remedy and str(self.remedy)))
        return " ".join(part for part in parts if part) or None

    @hint.setter
    def hint(self, text: str | None) -> None:
        self._explanation = text
        self._words = self.remedy = None

    def reword(self, words: Callable[["Remedy"], str]) -> None:
        """Put the remedy in `hint` into the words of another interface."""
        if self.remedy is not None:
            self._words = words(self.remedy)


class ConfigError(S3CryptError, ValueError):
    """The call or the configuration is wrong; raised before any byte is read, written or sent."""


class IntegrityError(S3CryptError):
    """The data differs from the written data (tampered, truncated, swapped), or a key does not fit.

    All of these deliberately have one type: distinguishing them helps an attacker, not a reader.
    Only the names of an object's keys, which are public, decide between this error and
    `KeyUnavailableError`.
    """


class FormatError(S3CryptError):
    """The bytes are not a message that this version can read: not ours, or too new."""


class PolicyError(S3CryptError):
    """The object is readable, but has another mode or key than demanded, or no key commitment."""


class KeyUnavailableError(S3CryptError):
    """No given key fits the object, or a key cannot be used now: denied, disabled, throttled.

    If no given key is one of the object's keys, the hint names the object's keys.
    """


class StorageError(S3CryptError):
    """S3 or the local file system refused or failed."""


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """The object, or the version of it, does not exist."""


class LocalFileNotFoundError(StorageError, FileNotFoundError):
    """The local file, or the folder in which it would be written, does not exist."""


class KeyFileNotFoundError(LocalFileNotFoundError, ConfigError):
    """The key file does not exist."""


class KeyFileWarning(UserWarning):
    """Other users can read a secret key's file. s3crypt reads it nevertheless."""


class ConflictError(StorageError):
    """Another writer wrote the object first; their object was kept, and ours was not stored."""


class SyncError(S3CryptError):
    """The source was not known or not copied as a whole, so that no target was deleted.

    Attributes:
        outcomes: Of `S3Crypt.sync`: the outcomes of all names, except for unchanged names.
    """

    # pickle and copy call the class with the message alone, then restore the attributes.
    def __init__(
        self,
        message: str,
        *,
        outcomes: tuple[object, ...] = (),
        hint: str | None = None,
        remedy: "Remedy | None" = None,
    ) -> None:
        super().__init__(message, hint=hint, remedy=remedy)
        self.outcomes = outcomes


class RotationError(S3CryptError):
    """Some objects of a rotation were not rotated.

    Attributes:
        outcomes: Every object's result; beyond 100,000 objects, only the results of failed objects.
        counts: The number of objects per action.
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


Action: TypeAlias = Literal[
    "accept_plain_http",
    "accept_unbound_bucket",
    "accept_unbound_name",
    "accept_uncommitted",
    "accept_unencrypted",
    "accept_unsigned",
    "accept_unverified_signature",
    "check_context",
    "confirm_key_name",
    "demand_bound_bucket",
    "drop_annotations",
    "inspect_object",
    "list_objects",
    "name_bucket",
    "name_mode",
    "name_source_mode",
    "name_subject",
    "name_trail_files",
    "pipe_what_is_there",
    "raise_max_edks",
    "raise_max_frame_length",
    "read_in_mode",
    "read_with_its_tool",
    "read_with_key",
    "set_region",
    "sign_in",
]
Value: TypeAlias = bool | int | str | tuple[str, ...]

# The remedies in words for Python callers. The command and the file system have their own words.
_WORDS: Mapping[Action, str] = MappingProxyType(
    {
        "accept_plain_http": "Where the network is trusted, name allow_plain_http.",
        "accept_unbound_bucket": "Where its writer did not bind buckets, read it with "
        "bind_bucket=False.",
        "accept_unbound_name": "Where its writer did not bind names, read it with bind_name=False.",
        "accept_uncommitted": "Where its writer is trusted, name allow_uncommitted.",
        "accept_unencrypted": "Where they are trusted, name allow_unencrypted: S3 reports no "
        "encryption of it.",
        "accept_unsigned": "Where those are trusted to write, leave signed out, or name "
        "allow_unsigned.",
        "accept_unverified_signature": "Get it whole, or name allow_unverified_signature.",
        "check_context": "The object was moved or replaced, or the expected context is wrong.",
        "confirm_key_name": "Or take the risk: confirmed_name={name!r}.",
        "demand_bound_bucket": "Name bind_bucket=True as well.",
        "drop_annotations": "Save them elsewhere, then name drop_annotations.",
        "inspect_object": "Name its key. S3Crypt.inspect shows what its unverified header names.",
        "list_objects": "List what is there: S3Crypt.list.",
        "name_bucket": "Name the bucket behind it as written_in.",
        "name_mode": "S3Crypt(ClientSide(...)), or put(..., mode=...).",
        "name_source_mode": "Where they are trusted, name the store's mode: {mode}.",
        "name_subject": "Name one of location, key and principal.",
        "name_trail_files": "Or name the files of a trail as trails.",
        "pipe_what_is_there": "Where it keeps growing, pass what it holds by now as a pipe: the "
        "stdout of subprocess.Popen(['cat', '{file}'], stdout=subprocess.PIPE).",
        "raise_max_edks": "Where that many are expected, read the message with "
        "s3crypt.message.decrypt(..., max_edks={max_edks}).",
        "raise_max_frame_length": "Where such frames are expected, read the message with "
        "s3crypt.message.decrypt(..., max_frame_length={max_frame_length}).",
        "read_in_mode": "Read it with mode {mode}.",
        "read_with_its_tool": "No keyring here is for what its unverified header names, {key}: "
        "read it with the tool that wrote it.",
        "read_with_key": "If you know its key, read it with ClientSide. Its unverified header "
        "names: {key}",
        "set_region": "The bucket is in another region: make the session in it, or set "
        "AWS_DEFAULT_REGION to it.",
        "sign_in": "Set AWS_PROFILE, run `aws configure` or `aws sso login`, or use "
        "s3crypt.sandbox.",
    }
)


@dataclass(frozen=True, slots=True, init=False)
class Remedy:
    """A remedy for an error, as a value that each interface puts into its own words.

    Attributes:
        action: The action's name.
        arguments: Pairs of names and values: the arguments to pass to the library, such as
            `allow_uncommitted=True`, or the things that the action is about.
    """

    action: Action
    arguments: tuple[tuple[str, Value], ...]

    def __init__(self, action: Action, **arguments: Value) -> None:
        object.__setattr__(self, "action", action)
        object.__setattr__(self, "arguments", tuple(arguments.items()))

    def worded(self, words: str) -> str:
        """Return an interface's words for the action, with the arguments in place of `{name}`."""
        texts: dict[str, object] = {
            name: ", ".join(value) if isinstance(value, tuple) else value
            for name, value in self.arguments
        }
        return words.format(**texts)

    def __str__(self) -> str:
        return self.worded(_WORDS[self.action])
