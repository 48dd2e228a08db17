# SPDX-License-Identifier: Apache-2.0
"""The lifecycle of AWS KMS keys: create, look, rotate now, rotate on a schedule.

Apart from `keyrings`, because using a key and administering it are different IAM rights, held by
different people. Knows nothing of objects, messages or data keys.

*Rotating a key* gives it new key material under the same id; KMS keeps the old material to open
what it wrapped. Nothing in S3 changes, and no data key does. For that, see `S3Crypt.rotate`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .aws import Clients
from .errors import ConfigError, KeyUnavailableError, S3CryptError
from .kms_keyrings import ask_kms
from .requests import Attempts, Look, Reply, call, pages

if TYPE_CHECKING:
    import boto3

T = TypeVar("T")

MAX_ON_DEMAND_ROTATIONS = 25
"""How often KMS lets one key be rotated by hand in its life."""
MIN_ROTATION_PERIOD_DAYS = 90
MAX_ROTATION_PERIOD_DAYS = 2560


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One line about a key; None where KMS did not let us look or it does not apply."""

    arn: str
    key_id: str
    aliases: tuple[str, ...]
    description: str
    state: str | None
    multi_region: bool | None
    rotation_enabled: bool | None
    rotation_period_days: int | None


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key as it was when asked; strings such as `state` are AWS's own (`Enabled`).

    Attributes:
        replica_of: The primary key's ARN, if this is a multi-Region replica.
        material_id: The current key material, if KMS tells.
        rotation_enabled: Automatic rotation; None if the key cannot have it or KMS did not tell.
        rotating_since: When a rotation on demand began that is not finished yet.
        on_demand_rotations: How many of `MAX_ON_DEMAND_ROTATIONS` were used, or None.
        not_permitted: IAM actions KMS refused; what they would have told is empty or None.
    """

    arn: str
    key_id: str
    aliases: tuple[str, ...]
    description: str
    state: str
    spec: str
    usage: str
    origin: str
    manager: str
    multi_region: bool
    replica_of: str | None
    created: datetime
    deletion_date: datetime | None
    material_id: str | None
    rotation_enabled: bool | None
    rotation_period_days: int | None
    next_rotation: datetime | None
    rotating_since: datetime | None
    on_demand_rotations: int | None
    tags: Mapping[str, str] = field(hash=False)
    not_permitted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """One completed rotation; `type` is `AUTOMATIC` or `ON_DEMAND`."""

    date: datetime
    type: str
    material_id: str | None


class KeyManager:
    """Create, inspect and rotate KMS keys.

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN; an ARN is asked for in its
    own region.

    Args:
        session: boto3 session to make KMS clients from; the default one if left out.
        client: A KMS client to use instead of making one.
        allow_plain_http: Let requests go to other machines over plain HTTP.

    Raises from every method:
        ConfigError: An argument is wrong; nothing was sent.
        KeyUnavailableError: There is no such key, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        client: Any = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._clients = Clients(
            "kms", session=session, client=client, allow_plain_http=allow_plain_http
        )

    def create(
        self,
        *,
        alias: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        policy: str | Mapping[str, Any] | None = None,
        multi_region: bool = False,
        rotation_period_days: int | None = 365,
    ) -> Key:
        """Create a symmetric key that rotates itself every `rotation_period_days` (None: never).

        An alias in use is found out before anything is created. If a later step fails, the key
        exists; the error names it and its hint says how to finish.
        """
        request = _creation(description, tags, policy, multi_region=multi_region)
        name = None if alias is None else _alias_name(alias)
        if rotation_period_days is not None:
            _check_period(rotation_period_days)
        if name is not None:
            self._check_free(name)
        made = self._ask("create_key", "the new KMS key", **request)["KeyMetadata"]
        self._finish(made["Arn"], name, rotation_period_days)
        return _key(
            made,
            aliases=() if name is None else (name,),
            tags=dict(tags or {}),
            status=self._new_status(made["Arn"], rotation_period_days),
            rotations=(),
            refused=set(),
        )

    def list(self) -> Iterator[KeySummary]:
        """Yield the account's own keys in the session's region, not those AWS manages.

        Two requests a key, eight at a time; keys that we may list but not describe have no state.
        """
        aliases: dict[str, set[str]] = {}
        for alias in self._pages("list_aliases", "the KMS aliases", "Aliases"):
            # Without a target it is a name AWS has reserved for a key it has not made yet.
            aliases.setdefault(alias.get("TargetKeyId", ""), set()).add(alias["AliasName"])
        managed = {key for key, names in aliases.items() if any(map(_is_aws_alias, names))}
        mine = [
            (entry["KeyArn"], entry["KeyId"], aliases.get(entry["KeyId"], set()))
            for entry in self._pages("list_keys", "the KMS keys", "Keys")
            if entry["KeyId"] not in managed
        ]
        pool = ThreadPoolExecutor(8, thread_name_prefix="s3crypt-kms")
        try:
            found = pool.map(lambda key: self._summary(*key), mine)
            yield from (summary for summary in found if summary is not None)
        finally:
            # Whoever stops listening is not kept waiting for the rest.
            pool.shutdown(cancel_futures=True)

    def show(self, key: str) -> Key:
        """Return all there is to know about `key`; what KMS refuses is in `not_permitted`."""
        metadata = self._describe(key)
        arn = metadata["Arn"]
        refused: set[str] = set()
        return _key(
            metadata,
            aliases=_unless_refused(refused, "kms:ListAliases", lambda: self._aliases(arn), ()),
            tags=_unless_refused(refused, "kms:ListResourceTags", lambda: self._tags(arn), {}),
            status=self._rotation_status(metadata, refused),
            rotations=_unless_refused(
                refused, "kms:ListKeyRotations", lambda: self._rotations(metadata), None
            ),
            refused=refused,
        )

    def rotate(self, key: str) -> Key:
        """Give `key` new key material now; KMS finishes in the background (`rotating_since`).

        A key can be rotated so 25 times in its life. The schedule of automatic rotation stays.
        Objects already in S3 keep the data keys they have, and stay readable.
        """
        metadata = self._describe(key)
        _check_rotatable(metadata, automatic=False)
        arn = metadata["Arn"]
        self._ask("rotate_key_on_demand", arn, KeyId=arn)
        try:
            return self.show(arn)
        except S3CryptError as error:
            # Rotated it is, and repeating it would cost one of the 25.
            raise _retold(
                error,
                f"{arn} was rotated, but could not be shown: {error}",
                f"Do not repeat it; look later: `s3crypt keys show {arn}`.",
            ) from error.__cause__

    def enable_rotation(self, key: str, *, period_days: int = 365) -> Key:
        """Rotate `key` every `period_days` days (90 to 2560) from now on."""
        _check_period(period_days)
        metadata = self._describe(key)
        _check_rotatable(metadata, automatic=True)
        self._enable(metadata["Arn"], period_days)
        # What was just set is stated here, since KMS may still answer with what was before.
        shown = self.show(metadata["Arn"])
        return replace(shown, rotation_enabled=True, rotation_period_days=period_days)

    def disable_rotation(self, key: str) -> Key:
        """Stop the automatic rotation of `key`; `rotate` still works."""
        metadata = self._describe(key)
        _check_rotatable(metadata, automatic=True)
        self._ask("disable_key_rotation", metadata["Arn"], KeyId=metadata["Arn"])
        shown = self.show(metadata["Arn"])
        return replace(shown, rotation_enabled=False, rotation_period_days=None, next_rotation=None)

    def rotations(self, key: str) -> tuple[Rotation, ...]:
        """Return the completed rotations of `key`, oldest first."""
        return self._rotations(self._describe(key))

    def _client(self, key: str) -> Any:
        return self._clients.get(_region(key))

    def _ask(
        self, operation: str, subject: str, *, look: Look | None = None, **request: Any
    ) -> Any:
        try:
            return ask_kms(self._client(subject), operation, subject, look=look, **request)
        except S3CryptError as error:
            raise _explained(error, operation, subject) from error.__cause__

    def _pages(
        self, operation: str, subject: str, field_name: str, **request: Any
    ) -> Iterator[Any]:
        client = self._client(subject)
        for page in pages(client, operation, request, subject, failure=KeyUnavailableError):
            yield from page[field_name]

    def _describe(self, key: str) -> Any:
        _check_key_name(key)
        return self._ask("describe_key", key, KeyId=key)["KeyMetadata"]

    def _check_free(self, alias: str) -> None:
        try:
            taken_by = self._describe(alias)["Arn"]
        except KeyUnavailableError as error:
            if error.code == "NotFoundException":
                return
            raise
        raise ConfigError(
            f"{alias} is already the alias of {taken_by}; nothing was created.",
            hint="Choose another alias, or use that key.",
        )

    def _finish(self, arn: str, alias: str | None, period_days: int | None) -> None:
        # The alias comes last: whoever finds the key by it finds it complete.
        steps: list[tuple[str, Callable[[], None]]] = []
        if period_days is not None:
            command = (
                f"aws kms enable-key-rotation --key-id {arn} "
                f"--rotation-period-in-days {period_days}"
            )
            steps.append((command, lambda: self._enable(arn, period_days)))
        if alias is not None:
            command = f"aws kms create-alias --alias-name {alias} --target-key-id {arn}"
            steps.append((command, lambda: self._name(arn, alias)))
        for done, (_, step) in enumerate(steps):
            try:
                _patiently(step)
            except S3CryptError as error:
                commands = "` and `".join(command for command, _ in steps[done:])
                raise _retold(
                    error,
                    f"The key {arn} was created, but not finished: {error}",
                    f"Finish it with `{commands}`, or delete it with"
                    f" `aws kms schedule-key-deletion --key-id {arn}`.",
                ) from error.__cause__

    def _enable(self, arn: str, period_days: int) -> None:
        self._ask("enable_key_rotation", arn, KeyId=arn, RotationPeriodInDays=period_days)

    def _name(self, arn: str, alias: str) -> None:
        def look(attempts: Attempts) -> Reply | None:
            # The alias that a second attempt meets may be the first one's.
            request = {"KeyId": alias}
            found = call(
                self._client(arn), "describe_key", request, alias, within=attempts, is_look=True
            )
            return found if found["KeyMetadata"]["Arn"] == arn else None

        self._ask("create_alias", arn, look=look, AliasName=alias, TargetKeyId=arn)

    def _new_status(self, arn: str, period_days: int | None) -> Mapping[str, Any]:
        if period_days is None:
            return {"KeyRotationEnabled": False}
        asked: Mapping[str, Any] = {}
        # The key is complete; not knowing its next rotation must not look like a failure.
        with suppress(S3CryptError):
            asked = _patiently(lambda: self._ask("get_key_rotation_status", arn, KeyId=arn))
        return {**asked, "KeyRotationEnabled": True, "RotationPeriodInDays": period_days}

    def _rotation_status(self, metadata: Any, refused: set[str]) -> Mapping[str, Any]:
        if _unrotatable(metadata) is not None:
            return {}
        arn = metadata["Arn"]
        return _unless_refused(
            refused,
            "kms:GetKeyRotationStatus",
            lambda: self._ask("get_key_rotation_status", arn, KeyId=arn),
            {},
        )

    def _aliases(self, arn: str) -> tuple[str, ...]:
        found = self._pages("list_aliases", arn, "Aliases", KeyId=arn)
        return tuple(sorted(alias["AliasName"] for alias in found))

    def _tags(self, arn: str) -> dict[str, str]:
        found = self._pages("list_resource_tags", arn, "Tags", KeyId=arn)
        return {tag["TagKey"]: tag["TagValue"] for tag in found}

    def _rotations(self, metadata: Any) -> tuple[Rotation, ...]:
        if _unrotatable(metadata) is not None:
            return ()
        arn = metadata["Arn"]
        found = self._pages("list_key_rotations", arn, "Rotations", KeyId=arn)
        done = (
            Rotation(
                date=entry["RotationDate"].astimezone(UTC),
                type=entry.get("RotationType", ""),
                material_id=entry.get("KeyMaterialId"),
            )
            for entry in found
            if "RotationDate" in entry
        )
        return tuple(sorted(done, key=lambda rotation: rotation.date))

    def _summary(self, arn: str, key_id: str, aliases: set[str]) -> KeySummary | None:
        metadata = self._described_if_possible(arn)
        if metadata is None or metadata.get("KeyManager") == "AWS":
            return None
        status = self._rotation_status(metadata, set()) if metadata else {}
        return KeySummary(
            arn=arn,
            key_id=key_id,
            aliases=tuple(sorted(aliases)),
            description=metadata.get("Description", ""),
            state=metadata.get("KeyState"),
            multi_region=bool(metadata.get("MultiRegion")) if metadata else None,
            rotation_enabled=status.get("KeyRotationEnabled"),
            rotation_period_days=status.get("RotationPeriodInDays"),
        )

    def _described_if_possible(self, arn: str) -> Any:
        """Return the key's metadata, an empty mapping if refused, None if it is gone."""
        try:
            return _unless_refused(set(), "kms:DescribeKey", lambda: self._describe(arn), {})
        except KeyUnavailableError as error:
            if error.code == "NotFoundException":
                return None  # its deletion came due since it was listed
            raise


def _region(key: str) -> str | None:
    parts = key.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) >= 6 else None


def _is_aws_alias(name: str) -> bool:
    return name.startswith("alias/aws/")


def _check_key_name(key: str) -> None:
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9:/_-]{1,2048}", key):
        raise ConfigError(
            f"{key!r} cannot name a KMS key.", hint="Give a key id, a key ARN or alias/NAME."
        )


def _alias_name(alias: str) -> str:
    name = alias if alias.startswith("alias/") else f"alias/{alias}"
    if _is_aws_alias(name):
        raise ConfigError(f"{name}: names that begin with alias/aws/ belong to AWS.")
    if not re.fullmatch(r"alias/[A-Za-z0-9/_-]{1,250}", name):
        raise ConfigError(
            f"{alias!r} cannot be an alias.",
            hint="Use up to 250 letters, digits, hyphens, underscores and slashes.",
        )
    return name


def _check_period(days: int) -> None:
    whole = isinstance(days, int) and not isinstance(days, bool)
    if not whole or not MIN_ROTATION_PERIOD_DAYS <= days <= MAX_ROTATION_PERIOD_DAYS:
        raise ConfigError(
            f"A key cannot be rotated every {days} days.",
            hint=f"KMS takes {MIN_ROTATION_PERIOD_DAYS} to {MAX_ROTATION_PERIOD_DAYS} days.",
        )


def _creation(
    description: str,
    tags: Mapping[str, str] | None,
    policy: str | Mapping[str, Any] | None,
    *,
    multi_region: bool,
) -> dict[str, Any]:
    if len(description) > 8192:
        raise ConfigError("A key's description has at most 8192 characters.")
    request: dict[str, Any] = {
        "Description": description,
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": multi_region,
    }
    if tags:
        _check_tags(tags)
        request["Tags"] = [{"TagKey": name, "TagValue": value} for name, value in tags.items()]
    if policy is not None:
        request["Policy"] = _policy_text(policy)
    return request


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > 50:
        raise ConfigError("A key takes at most 50 tags.")
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


def _policy_text(policy: str | Mapping[str, Any]) -> str:
    try:
        text = policy if isinstance(policy, str) else json.dumps(dict(policy))
        parsed = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The key policy is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise ConfigError("The key policy is not a JSON object.")
    if len(text) > 32768:
        raise ConfigError("A key policy has at most 32768 characters.")
    return text


def _unrotatable(metadata: Any) -> str | None:
    """Say why KMS can never rotate this kind of key, or None."""
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT":
        return f"its kind is {metadata.get('KeySpec')}, not SYMMETRIC_DEFAULT"
    if metadata.get("Origin") in {"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"}:
        return "it is in a custom key store"
    return None


_NEW_KEY_HINT = "Create another key and rotate the objects to it."


def _check_rotatable(metadata: Any, *, automatic: bool) -> None:
    primary = _replica_of(metadata)
    why, hint = _unrotatable(metadata), _NEW_KEY_HINT
    if why is None and metadata.get("KeyManager") == "AWS":
        why, hint = "it is managed by AWS, which rotates it every year", "Create a key of your own."
    if why is None and automatic and metadata.get("Origin") == "EXTERNAL":
        why = "its key material was imported"
        hint = "Import new key material and rotate the key on demand."
    if why is None and primary is not None:
        why, hint = "it is a replica", f"Do it to the primary key, {primary}; replicas follow."
    if why is not None:
        raise KeyUnavailableError(f"{metadata['Arn']}: KMS does not rotate it: {why}", hint=hint)


def _replica_of(metadata: Any) -> str | None:
    regions = metadata.get("MultiRegionConfiguration") or {}
    if regions.get("MultiRegionKeyType") != "REPLICA":
        return None
    return str(regions["PrimaryKey"]["Arn"])


def _key(
    metadata: Any,
    *,
    aliases: tuple[str, ...],
    tags: Mapping[str, str],
    status: Mapping[str, Any],
    rotations: tuple[Rotation, ...] | None,
    refused: set[str],
) -> Key:
    manager = metadata.get("KeyManager", "")
    on_demand = None
    if rotations is not None and _unrotatable(metadata) is None and manager == "CUSTOMER":
        on_demand = sum(rotation.type == "ON_DEMAND" for rotation in rotations)
    return Key(
        arn=metadata["Arn"],
        key_id=metadata["KeyId"],
        aliases=aliases,
        description=metadata.get("Description", ""),
        state=metadata.get("KeyState", ""),
        spec=metadata.get("KeySpec", ""),
        usage=metadata.get("KeyUsage", ""),
        origin=metadata.get("Origin", ""),
        manager=manager,
        multi_region=bool(metadata.get("MultiRegion")),
        replica_of=_replica_of(metadata),
        created=metadata["CreationDate"].astimezone(UTC),
        deletion_date=_utc(metadata.get("DeletionDate")),
        material_id=metadata.get("CurrentKeyMaterialId"),
        rotation_enabled=status.get("KeyRotationEnabled"),
        rotation_period_days=status.get("RotationPeriodInDays"),
        next_rotation=_utc(status.get("NextRotationDate")),
        rotating_since=_utc(status.get("OnDemandRotationStartDate")),
        on_demand_rotations=on_demand,
        tags=tags,
        not_permitted=tuple(sorted(refused)),
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _unless_refused(refused: set[str], action: str, read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except KeyUnavailableError as error:
        if error.code == "AccessDeniedException":
            refused.add(action)
            return otherwise
        # The key is of a kind, or in a state, that the question does not apply to.
        if error.code in {"UnsupportedOperationException", "KMSInvalidStateException"}:
            return otherwise
        raise


# KMS is eventually consistent: a new key can be unknown to the next request, for a few seconds.
_SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def _patiently(step: Callable[[], T]) -> T:
    for seconds in _SETTLING_SECONDS:
        try:
            return step()
        except KeyUnavailableError as error:
            if error.code != "NotFoundException":
                raise
        time.sleep(seconds)
    return step()


# (operation, KMS's code) -> (what happened, what to do), where more is known than in general.
_EXPLANATIONS = {
    ("create_key", "LimitExceededException"): (
        "the account has as many KMS keys in this region as its quota allows",
        "Delete keys nobody needs, or ask AWS for a higher quota.",
    ),
    ("create_key", "TagException"): ("KMS refused the tags", "Check their characters."),
    ("create_alias", "AlreadyExistsException"): (
        "the alias was taken meanwhile",
        "Choose another alias.",
    ),
    ("create_alias", "LimitExceededException"): (
        "the key has as many aliases as the quota allows",
        "Delete an alias.",
    ),
    ("describe_key", "NotFoundException"): (
        "no such key",
        "Give a key id, a key ARN or alias/NAME, and check the region and the account.",
    ),
    ("rotate_key_on_demand", "LimitExceededException"): (
        f"it was rotated on demand {MAX_ON_DEMAND_ROTATIONS} times, all that KMS allows a key",
        f"Leave it to automatic rotation, which has no such limit. {_NEW_KEY_HINT}",
    ),
    ("rotate_key_on_demand", "ConflictException"): (
        "a rotation is in progress",
        "Wait for it to finish: the key's description says so.",
    ),
}


def _explained(error: S3CryptError, operation: str, subject: str) -> S3CryptError:
    if (operation, error.code) not in _EXPLANATIONS:
        return error
    what, hint = _EXPLANATIONS[operation, str(error.code)]
    return _retold(error, f"{subject}: {what}", hint)


def _retold(error: S3CryptError, message: str, hint: str) -> S3CryptError:
    return type(error)(message, hint=hint, code=error.code, request_id=error.request_id)
