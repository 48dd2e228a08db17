# SPDX-License-Identifier: Apache-2.0
"""All errors of s3crypt, with one type per possible reaction of the caller, and one warning.

If the caller can pass another argument or use another part of s3crypt, the error has a `Remedy`.
Python, the command and the file system each have their own words for a remedy.

No message, repr or attribute of an error contains a key, a data key or plaintext.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias


class S3CryptError(Exception):
    """The base class of all errors. It is never raised itself.

    Attributes:
        hint: Advice for the caller in one or two sentences, or None.
        remedy: The same advice as a value for programs, or None. Its text is the last part of
            `hint`. If `hint` is set, the remedy is removed.
        code: The service's error code (`NoSuchKey`, `AccessDeniedException`), or None.
        request_id: The service's request id, for support, or None.

    `__cause__` is the service's own exception if there was one. A pickled or copied error keeps its
    attributes, but not its cause.
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
        """Advice for the caller: the given explanation, followed by the text of the remedy."""
        parts = (self._explanation, self._words or (self.remedy and str(self.remedy)))
        return " ".join(part for part in parts if part) or None

    @hint.setter
    def hint(self, text: str | None) -> None:
        self._explanation = text
        self._words = self.remedy = None

    def reword(self, words: Callable[["Remedy"], str]) -> None:
        """Replace the text of the remedy in `hint` by the words of another interface."""
        if self.remedy is not None:
            self._words = words(self.remedy)


class ConfigError(S3CryptError, ValueError):
    """The call or the configuration is wrong.

    It is raised before any byte is read, written or sent.
    """


class IntegrityError(S3CryptError):
    """The data is not what was written (changed, truncated, swapped), or a key does not fit.

    All these cases have one type on purpose, because distinguishing them would help only an
    attacker. Whether this error or `KeyUnavailableError` is raised depends only on the names of the
    object's keys, which are public.
    """


class FormatError(S3CryptError):
    """The bytes are not a message that this version can read: another format or a newer version."""


class PolicyError(S3CryptError):
    """The object can be read, but not as demanded: another mode or key, or no key commitment."""


class KeyUnavailableError(S3CryptError):
    """No given key fits the object, or a key cannot be used now: denied, disabled or throttled.

    If the object has none of the given keys, the hint names the object's keys.
    """


class StorageError(S3CryptError):
    """S3 or the local file system refused or failed."""


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """The object, or its version, does not exist."""


class LocalFileNotFoundError(StorageError, FileNotFoundError):
    """The local file, or the folder in which it would be written, does not exist."""


class KeyFileNotFoundError(LocalFileNotFoundError, ConfigError):
    """The key file does not exist."""


class KeyFileWarning(UserWarning):
    """Other users can read a secret key's file. s3crypt reads it nevertheless."""


class ConflictError(StorageError):
    """The target exists, is not empty, or was changed by another writer.

    The other writer's object or file was kept. A write stored nothing, and a deletion deleted
    nothing. A move may already have stored its target. Then its source was not deleted.
    """


class SyncError(S3CryptError):
    """A synchronisation failed for some names, or deleted no target for the sake of safety.

    No target is deleted if the source was not read completely, or if a name was not compared or
    copied. If only a deletion failed, other targets were deleted.

    Attributes:
        outcomes: The outcomes of all names except unchanged names, if `S3Crypt.sync` raised the
            error.
    """

    # pickle and copy call the class with only the message, and then restore the attributes.
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
        outcomes: The outcomes of all objects. If there are more than 100,000 objects, only the
            outcomes of the failed objects.
        counts: The number of objects for each action.
    """

    # pickle and copy call the class with only the message, and then restore the attributes.
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

# The texts of the remedies for Python callers. The command and the file system have their own
# texts.
_WORDS: Mapping[Action, str] = MappingProxyType(
    {
        "accept_plain_http": "If you trust the network, set allow_plain_http.",
        "accept_unbound_bucket": (
            "If its writer did not bind buckets, read it with bind_bucket=False."
        ),
        "accept_unbound_name": "If its writer did not bind names, read it with bind_name=False.",
        "accept_uncommitted": "If you trust its writer, set allow_uncommitted.",
        "accept_unencrypted": (
            "S3 reports no encryption of it. If you trust its writers, set allow_unencrypted."
        ),
        "accept_unsigned": "If you trust them to write, omit signed, or set allow_unsigned.",
        "accept_unverified_signature": "Get the whole object, or set allow_unverified_signature.",
        "check_context": "The object was moved or replaced, or the expected context is wrong.",
        "confirm_key_name": "Or accept the risk: confirmed_name={name!r}.",
        "demand_bound_bucket": "Set bind_bucket=True, too.",
        "drop_annotations": "Save the annotations elsewhere, then set drop_annotations.",
        "inspect_object": (
            "Give its key. S3Crypt.inspect shows the keys that its unverified header names."
        ),
        "list_objects": "List the objects: S3Crypt.list.",
        "name_bucket": "Give the bucket of the access point as written_in.",
        "name_mode": "S3Crypt(ClientSide(...)), or put(..., mode=...).",
        "name_source_mode": "If you trust its writers, set the store's mode: {mode}.",
        "name_subject": "Give one of location, key and principal.",
        "name_trail_files": "Or give the files of a trail as trails.",
        "pipe_what_is_there": (
            "If the file keeps growing, pass its present content as a pipe: the stdout of "
            "subprocess.Popen(['cat', '{file}'], stdout=subprocess.PIPE)."
        ),
        "raise_max_edks": (
            "If you expect so many, read the message with s3crypt.message.decrypt(..., "
            "max_edks={max_edks})."
        ),
        "raise_max_frame_length": (
            "If you expect such frames, read the message with s3crypt.message.decrypt(..., "
            "max_frame_length={max_frame_length})."
        ),
        "read_in_mode": "Read it with mode {mode}.",
        "read_with_its_tool": (
            "s3crypt has no keyring for the key that its unverified header names, {key}: read it "
            "with the tool that wrote it."
        ),
        "read_with_key": "If you know its key, read it with ClientSide. Its unverified header "
        "names: {key}",
        "set_region": (
            "The bucket is in another Region: use that Region for the session, or set "
            "AWS_DEFAULT_REGION to it."
        ),
        "sign_in": "Set AWS_PROFILE, run `aws configure` or `aws sso login`, or use "
        "s3crypt.sandbox.",
    }
)


@dataclass(frozen=True, slots=True, init=False)
class Remedy:
    """A remedy for an error, as a value. Each interface has its own words for it.

    Attributes:
        action: The name of the action.
        arguments: Pairs of a name and a value. They are arguments for the library, such as
            `allow_uncommitted=True`, or name the things that the action is about.
    """

    action: Action
    arguments: tuple[tuple[str, Value], ...]

    def __init__(self, action: Action, **arguments: Value) -> None:
        object.__setattr__(self, "action", action)
        object.__setattr__(self, "arguments", tuple(arguments.items()))

    def worded(self, words: str) -> str:
        """Return an interface's text for the action, with the arguments in place of `{name}`."""
        texts: dict[str, object] = {
            name: ", ".join(value) if isinstance(value, tuple) else value
            for name, value in self.arguments
        }
        return words.format(**texts)

    def __str__(self) -> str:
        return self.worded(_WORDS[self.action])
