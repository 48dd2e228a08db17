# SPDX-License-Identifier: Apache-2.0
"""The KMS keys of an account and Region, as one summary per key. Every request only reads."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError

from .description import Key, KeyReader, is_aws_alias, unless_refused
from .service import KMS, MAX_KEYS

KEY_STATES = (
    "Creating",
    "Disabled",
    "Enabled",
    "PendingDeletion",
    "PendingImport",
    "PendingReplicaDeletion",
    "Unavailable",
    "Updating",
)
"""The states of keys, by KMS's names."""
_SHARED = "OTHER_ACCOUNTS_VIA_RAM"
_READERS = 8


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A short description of a key.

    A field is None if KMS refused to show it, or if it does not apply.

    Attributes:
        arn: The key's ARN.
        key_id: The last part of the ARN.
        aliases: The names of the key's aliases.
        description: The description.
        state: The key's state, one of `KEY_STATES`.
        multi_region: Whether the key is a multi-Region key.
        rotation_enabled: Whether KMS rotates the key automatically.
        rotation_period_days: The period of the automatic rotation in days.
        tags: The tags. They are read only for a listing by tags; otherwise None.
    """

    arn: str
    key_id: str
    aliases: tuple[str, ...]
    description: str
    state: str | None
    multi_region: bool | None
    rotation_enabled: bool | None
    rotation_period_days: int | None
    tags: Mapping[str, str] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The states and tags of the wanted keys. Empty values select all keys."""

    states: frozenset[str]
    tags: Mapping[str, str]

    def is_state(self, state: str | None) -> bool:
        return not self.states or state is None or state in self.states

    def are_tags(self, tags: Mapping[str, str] | None) -> bool:
        return tags is None or self.tags.items() <= tags.items()


class KeyLister:
    """Lists keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def list(
        self,
        *,
        shared: bool = False,
        states: Collection[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[KeySummary]:
        """Yield the keys in the session's Region. `KeyManager.list` documents the arguments."""
        unknown = sorted(set(states) - set(KEY_STATES))
        if unknown:
            raise ConfigError(
                f"{unknown[0]!r} is not a state of KMS keys.",
                hint=f"The states are {', '.join(KEY_STATES)}.",
            )
        wanted = _Wanted(frozenset(states), dict(tags or {}))
        return self._summaries(self._shared() if shared else self._own(), wanted)

    def unnamed(self, description: str) -> Iterator[Key]:
        """Yield the enabled keys with this description and without an alias.

        This makes one request per key without an alias, in addition to listing keys and aliases.
        """
        aliases = self._kms.pages("list_aliases", "the KMS aliases", "Aliases")
        named = {alias.get("TargetKeyId") for alias in aliases}
        for entry in self._kms.pages("list_keys", "the KMS keys", "Keys", Limit=MAX_KEYS):
            if entry["KeyId"] not in named:
                metadata = self._described_if_possible(entry["KeyArn"]) or {}
                is_one = metadata.get("Description") == description
                if is_one and metadata.get("KeyState") == "Enabled":
                    yield self._reader.show(entry["KeyArn"])

    def _own(self) -> Iterator[tuple[str, str, set[str]]]:
        aliases: dict[str, set[str]] = {}
        for alias in self._kms.pages("list_aliases", "the KMS aliases", "Aliases"):
            # An alias without a target is reserved for a key that AWS has not created yet.
            aliases.setdefault(alias.get("TargetKeyId", ""), set()).add(alias["AliasName"])
        managed = {key for key, names in aliases.items() if any(map(is_aws_alias, names))}
        for entry in self._kms.pages("list_keys", "the KMS keys", "Keys", Limit=MAX_KEYS):
            if entry["KeyId"] not in managed:
                yield entry["KeyArn"], entry["KeyId"], aliases.get(entry["KeyId"], set())

    def _shared(self) -> Iterator[tuple[str, str, set[str]]]:
        # Only the account that owns a key sees its aliases, so shared keys have none here.
        for entry in self._kms.pages(
            "list_keys", "the shared KMS keys", "Keys", Limit=MAX_KEYS, ResourceOwners=[_SHARED]
        ):
            yield entry["KeyArn"], entry["KeyId"], set()

    def _summaries(
        self, keys: Iterator[tuple[str, str, set[str]]], wanted: _Wanted
    ) -> Iterator[KeySummary]:
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="s3crypt-kms")
        try:
            found = pool.map(lambda key: self._summary(key, wanted), tuple(keys))
            yield from (summary for summary in found if summary is not None)
        finally:
            # If the caller stops iterating, the requests that have not begun are cancelled.
            pool.shutdown(cancel_futures=True)

    def _summary(self, key: tuple[str, str, set[str]], wanted: _Wanted) -> KeySummary | None:
        arn, key_id, aliases = key
        metadata = self._described_if_possible(arn)
        if metadata is None or metadata.get("KeyManager") == "AWS":
            return None
        if not wanted.is_state(metadata.get("KeyState")):
            return None
        tags = self._tags_if_possible(arn) if wanted.tags else None
        if not wanted.are_tags(tags):
            return None
        status = self._reader.rotation_status(metadata, set()) if metadata else {}
        return KeySummary(
            arn=arn,
            key_id=key_id,
            aliases=tuple(sorted(aliases)),
            description=metadata.get("Description", ""),
            state=metadata.get("KeyState"),
            multi_region=bool(metadata.get("MultiRegion")) if metadata else None,
            rotation_enabled=status.get("KeyRotationEnabled"),
            rotation_period_days=status.get("RotationPeriodInDays"),
            tags=tags,
        )

    def _tags_if_possible(self, arn: str) -> Mapping[str, str] | None:
        return unless_refused(set(), "kms:ListResourceTags", lambda: self._reader.tags(arn), None)

    def _described_if_possible(self, arn: str) -> Any:
        """Return the metadata of a key.

        Return an empty mapping if KMS refuses to describe the key, and None if it was deleted.
        """
        try:
            return unless_refused(set(), "kms:DescribeKey", lambda: self._reader.metadata(arn), {})
        except KeyUnavailableError as error:
            if error.code == "NotFoundException":
                return None  # its deletion came due since it was listed
            raise
