# SPDX-License-Identifier: Apache-2.0
"""Aliases, descriptions and tags of keys: the names by which people find them.

An alias is a name for a key within one account and Region. It is not a part of the key, so moving
an alias changes no key. S3 objects name the ARN of their key, so they stay readable when an alias
moves.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from s3crypt.errors import ConfigError, ConflictError, KeyUnavailableError
from s3crypt.requests import Attempts, Reply, call

from .description import PENDING_DELETION, Key, KeyReader, check_own, is_aws_alias
from .service import KMS, patiently, retold

_MAX_DESCRIPTION = 8192
_ALIAS_ARN = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:(alias/.+)")


@dataclass(frozen=True, slots=True)
class AliasChange:
    """A change of an alias: it is moved to another key, or deleted.

    Attributes:
        alias: The alias, with `alias/`.
        alias_arn: The ARN of the alias.
        was: The ARN of the key that the alias names before the change.
        becomes: The ARN of the key that the alias names after the change. None if the alias is
            deleted.
    """

    alias: str
    alias_arn: str
    was: str
    becomes: str | None

    @property
    def is_change(self) -> bool:
        """Whether the change has an effect. It has none if the alias already names the key."""
        return self.was != self.becomes


class KeyNaming:
    """Changes the aliases, descriptions and tags of keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def add_alias(self, key: str, alias: str) -> str:
        """Give a key an alias, and return the key's ARN.

        If the key has the alias, nothing changes.
        """
        name = alias_name(alias)
        metadata = self._reader.metadata(key)
        check_own(metadata, "kms:CreateAlias")
        arn = str(metadata["Arn"])
        try:
            patiently(lambda: create_alias(self._kms, arn, name))
        except KeyUnavailableError as error:
            if error.code != "AlreadyExistsException":
                raise
            taken_by = self._reader.metadata(_in_region_of(arn, name))["Arn"]
            if taken_by != arn:
                raise retold(
                    error,
                    f"{name} is already the alias of {taken_by}",
                    f"Choose another alias, or move it: `s3crypt keys move-alias {name} {arn}`.",
                ) from error.__cause__
        return arn

    def planned_move(self, alias: str, to: str) -> AliasChange:
        """Return the change for moving an alias to another key, if KMS's rules permit the move."""
        name, current = self._current(alias)
        target = self._reader.metadata(to)
        _check_move(name, current, target)
        return AliasChange(
            name, _in_region_of(current["Arn"], name), str(current["Arn"]), str(target["Arn"])
        )

    def planned_deletion(self, alias: str) -> AliasChange:
        """Return the change for deleting an alias."""
        name, current = self._current(alias)
        return AliasChange(name, _in_region_of(current["Arn"], name), str(current["Arn"]), None)

    def make(self, change: AliasChange) -> None:
        """Make a planned change. If it has no effect, no request is sent."""
        if change.becomes is None:
            self._delete(change)
        elif change.is_change:
            arn, name = change.becomes, change.alias
            patiently(lambda: self._kms.ask("update_alias", arn, AliasName=name, TargetKeyId=arn))

    def describe_as(self, key: str, text: str) -> Key:
        """Replace the description of a key. An empty text removes the description."""
        check_description(text)
        arn = self._changeable(key, "kms:UpdateKeyDescription")
        self._kms.ask("update_key_description", arn, KeyId=arn, Description=text)
        return replace(self._reader.show(arn), description=text)

    def tag(self, key: str, tags: Mapping[str, str]) -> Key:
        """Add tags to a key, or replace their values. Other tags of the key do not change."""
        if not tags:
            raise ConfigError("There is no tag to add.", hint="Give at least one name and value.")
        check_tags(tags)
        arn = self._changeable(key, "kms:TagResource")
        self._kms.ask("tag_resource", arn, KeyId=arn, Tags=tag_list(tags))
        return self._with_tags(arn, added=tags)

    def untag(self, key: str, names: Collection[str]) -> Key:
        """Remove tags from a key. A tag that the key does not have is ignored."""
        if not names or isinstance(names, str):
            raise ConfigError("There is no tag to remove.", hint="Give at least one name.")
        check_tags(dict.fromkeys(names, ""))
        arn = self._changeable(key, "kms:UntagResource")
        self._kms.ask("untag_resource", arn, KeyId=arn, TagKeys=list(names))
        return self._with_tags(arn, removed=names)

    def _with_tags(
        self, arn: str, *, added: Mapping[str, str] | None = None, removed: Collection[str] = ()
    ) -> Key:
        # KMS may still report the tags before the change.
        shown = self._reader.show(arn)
        if "kms:ListResourceTags" in shown.not_permitted:
            return shown
        tags = {name: value for name, value in shown.tags.items() if name not in removed}
        return replace(shown, tags={**tags, **(added or {})})

    def _changeable(self, key: str, action: str) -> str:
        metadata = self._reader.metadata(key)
        check_own(metadata, action)
        return str(metadata["Arn"])

    def _current(self, alias: str) -> tuple[str, Any]:
        """Return an alias with the prefix `alias/`, and the metadata of the key that it names.

        Raises:
            KeyUnavailableError: There is no such alias.
        """
        is_arn = _ALIAS_ARN.fullmatch(alias)
        name = alias_name(is_arn[1] if is_arn else alias)
        try:
            return name, self._reader.metadata(alias if is_arn else name)
        except KeyUnavailableError as error:
            if error.code != "NotFoundException":
                raise
            raise retold(
                error,
                f"{name}: the alias does not exist; nothing was changed",
                f"Create the alias: `s3crypt keys add-alias KEY {name}`. Or check the Region.",
            ) from error.__cause__

    def _delete(self, change: AliasChange) -> None:
        def look(attempts: Attempts) -> Reply | None:
            # If the alias no longer exists at the second attempt, the first attempt may have
            # deleted it.
            client, request = self._kms.client(change.was), {"KeyId": change.was}
            found = call(client, "list_aliases", request, change.was, within=attempts, is_look=True)
            names = {each["AliasName"] for each in found["Aliases"]}
            return None if change.alias in names or found.get("Truncated") else found

        self._kms.ask("delete_alias", change.was, look=look, AliasName=change.alias)


def check_unmoved(change: AliasChange, was: str | None) -> None:
    """Raise a ConflictError if the alias names another key than the caller expects (`was`).

    KMS has no conditional change of an alias, so a move after this check is not detected.

    Raises:
        ConflictError: The alias names another key than `was`. Nothing was changed.
    """
    if was is not None and was != change.was and change.is_change:
        raise ConflictError(
            f"{change.alias} was moved to {change.was} meanwhile; nothing was changed.",
            hint="Run the command again, and check the keys.",
        )


def create_alias(kms: KMS, arn: str, alias: str) -> None:
    """Make an alias for a key.

    If an earlier attempt made the alias although its reply was lost, this is a success.
    """

    def look(attempts: Attempts) -> Reply | None:
        # If the alias exists at the second attempt, the first attempt may have made it.
        request = {"KeyId": alias}
        found = call(kms.client(arn), "describe_key", request, alias, within=attempts, is_look=True)
        return found if found["KeyMetadata"]["Arn"] == arn else None

    kms.ask("create_alias", arn, look=look, AliasName=alias, TargetKeyId=arn)


def alias_name(alias: str) -> str:
    """Return an alias with the prefix `alias/`.

    Raises:
        ConfigError: KMS does not accept the alias, or the alias belongs to AWS.
    """
    name = alias if alias.startswith("alias/") else f"alias/{alias}"
    if is_aws_alias(name):
        raise ConfigError(f"{name}: names that begin with alias/aws/ belong to AWS.")
    if not re.fullmatch(r"alias/[A-Za-z0-9/_-]{1,250}", name):
        raise ConfigError(
            f"{alias!r} is not a valid alias.",
            hint="Use up to 250 letters, digits, hyphens, underscores and slashes.",
        )
    return name


def check_description(text: str) -> None:
    """Refuse a description that is too long for KMS."""
    if len(text) > _MAX_DESCRIPTION:
        raise ConfigError(f"A key's description has at most {_MAX_DESCRIPTION} characters.")


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags in the form of KMS's requests."""
    return [{"TagKey": name, "TagValue": value} for name, value in tags.items()]


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that KMS does not accept."""
    if len(tags) > 50:
        raise ConfigError("A key has at most 50 tags.")
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"The tag {name!r}: its name and value must both be text.")
        if not 1 <= len(name) <= 128 or len(value) > 256:
            raise ConfigError(
                f"The tag {name!r} is too short or too long.",
                hint="A tag's name has 1 to 128 characters, its value up to 256.",
            )
        if name.lower().startswith("aws:"):
            raise ConfigError(f"The tag {name!r}: names that begin with aws: belong to AWS.")


def _check_move(alias: str, current: Any, target: Any) -> None:
    """Refuse a move that UpdateAlias would refuse. The error names the broken rule."""
    check_own(target, "kms:UpdateAlias")
    was, becomes = str(current["Arn"]), str(target["Arn"])
    rule = _broken_rule(current, target)
    if rule is not None:
        raise KeyUnavailableError(
            f"{alias}: kms:UpdateAlias cannot move it from {was} to {becomes}: {rule}",
            hint="Choose another key; the alias still names its present key.",
        )


def _broken_rule(current: Any, target: Any) -> str | None:
    here, there = str(current["Arn"]).split(":"), str(target["Arn"]).split(":")
    kinds = [_kind(each) for each in (current, target)]
    state = target.get("KeyState")
    if here[4] != there[4]:
        return f"an alias can name only a key of the same account, {here[4]}"
    if here[3] != there[3]:
        return f"an alias can name only a key of the same Region, {here[3]}"
    if kinds[0] != kinds[1]:
        was, becomes = (" ".join(kind) for kind in kinds)
        return f"both keys must have the same type and usage, but are {was} and {becomes}"
    if state in PENDING_DELETION and here != there:
        return f"the state of the new key is {state}"
    return None


def _kind(metadata: Any) -> tuple[str, str]:
    # UpdateAlias permits a move between key specs of the same type.
    spec = str(metadata.get("KeySpec"))
    types = {"SYMMETRIC": "symmetric", "HMAC": "HMAC"}
    return types.get(spec.partition("_")[0], "asymmetric"), str(metadata.get("KeyUsage"))


def _in_region_of(arn: str, alias: str) -> str:
    """Return the ARN of an alias in the account and Region of a key."""
    return f"{arn.rpartition(':')[0]}:{alias}"
