# SPDX-License-Identifier: Apache-2.0
"""Administration of KMS keys: create, rotate now, rotate on a schedule.

`description` reads keys, which requires other IAM permissions.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients
from s3crypt.command_lines import aws
from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError
from s3crypt.requests import Attempts, Reply, call

from .description import (
    Key,
    KeyReader,
    KeySummary,
    Rotation,
    described,
    is_aws_alias,
    replica_of,
    unrotatable,
)
from .service import KMS, NEW_KEY_HINT, SETTLING_SECONDS, patiently, retold

if TYPE_CHECKING:
    import boto3
    from types_boto3_kms.client import KMSClient

MIN_ROTATION_PERIOD_DAYS = 90
MAX_ROTATION_PERIOD_DAYS = 2560


class KeyManager:
    """Create, inspect and rotate KMS keys.

    A key is named by its id, its ARN, `alias/NAME` or an alias's ARN; a request about an ARN is
    sent to the ARN's Region.

    Args:
        session: The boto3 session that makes the KMS clients; by default the default session.
        client: A KMS client to use instead of making one.
        allow_plain_http: Let requests go to other machines over plain HTTP.

    Raises from every method:
        ConfigError: An argument is wrong; nothing was sent.
        KeyUnavailableError: The key does not exist, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        client: "KMSClient | None" = None,
        allow_plain_http: bool = False,
    ) -> None:
        clients = Clients("kms", session=session, client=client, allow_plain_http=allow_plain_http)
        self._kms = KMS(clients)
        self._reader = KeyReader(self._kms)

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

        An alias in use is detected before the key is created. If a later step fails, the key
        exists; the error names it, and its hint says how to finish.
        """
        request = _creation(description, tags, policy, multi_region=multi_region)
        name = None if alias is None else _alias_name(alias)
        if rotation_period_days is not None:
            _check_period(rotation_period_days)
        if name is not None:
            self._check_free(name)
        made = self._kms.ask("create_key", "the new KMS key", **request)["KeyMetadata"]
        self._finish(made["Arn"], name, rotation_period_days)
        return described(
            made,
            aliases=() if name is None else (name,),
            tags=dict(tags or {}),
            status=self._new_status(made["Arn"], rotation_period_days),
            rotations=(),
            refused=set(),
        )

    def add_alias(self, key: str, alias: str) -> Key:
        """Give `key` another alias, which must be unused, and return the key."""
        name = _alias_name(alias)
        arn = self._reader.metadata(key)["Arn"]
        patiently(lambda: self._name(arn, name))
        return self.show(arn)

    def replicate(self, key: str, region: str) -> Key:
        """Make a replica of a multi-Region key in another Region, and return it once it is usable.

        An existing replica is returned unchanged.
        """
        metadata = self._reader.metadata(key)
        arn = metadata["Arn"]
        if not metadata.get("MultiRegion"):
            raise KeyUnavailableError(
                f"{arn}: it is not a multi-Region key, and no key becomes one.",
                hint="Create a multi-Region key.",
            )
        primary = replica_of(metadata) or arn
        wanted = _in_region(primary, region)
        try:
            self._kms.ask("replicate_key", primary, KeyId=primary, ReplicaRegion=region)
        except KeyUnavailableError as error:
            if error.code != "AlreadyExistsException":
                raise
        return self._usable(wanted)

    def _usable(self, arn: str) -> Key:
        """Return a key once KMS has made it: a replica takes some seconds.

        Raises:
            KeyUnavailableError: KMS has not finished after a minute.
        """
        for seconds in (*SETTLING_SECONDS, *(6.4,) * 8, None):
            shown = patiently(lambda: self.show(arn))
            if shown.state != "Creating":
                return shown
            if seconds is not None:
                time.sleep(seconds)
        raise KeyUnavailableError(
            f"{arn}: KMS has not finished the replica yet.", hint="Run it again in a minute."
        )

    def list(self) -> Iterator[KeySummary]:
        """Yield the account's own keys in the session's Region, without keys that AWS manages.

        Two requests per key, eight in parallel; keys that the caller may list but not describe have
        no state.
        """
        return self._reader.list()

    def unnamed(self, description: str) -> Iterator[Key]:
        """Yield the enabled keys with this description and without an alias.

        `create` makes the alias last, so an interrupted `create` leaves such a key.
        """
        return self._reader.unnamed(description)

    def show(self, key: str) -> Key:
        """Return a key in full; actions that KMS refuses are in `not_permitted`."""
        return self._reader.show(key)

    def rotate(self, key: str) -> Key:
        """Give `key` new key material now; KMS finishes in the background (`rotating_since`).

        A key can be rotated on demand 25 times in its life. The schedule of automatic rotation is
        unchanged. Objects already in S3 keep their data keys, and stay readable.
        """
        metadata = self._reader.metadata(key)
        _check_rotatable(metadata, automatic=False)
        arn = metadata["Arn"]
        self._kms.ask("rotate_key_on_demand", arn, KeyId=arn)
        try:
            return self.show(arn)
        except S3CryptError as error:
            # The key is rotated, and a repetition would use up another of the 25 rotations.
            raise retold(
                error,
                f"{arn} was rotated, but could not be shown: {error}",
                f"Do not repeat it; look later: `s3crypt keys show {arn}`.",
            ) from error.__cause__

    def enable_rotation(self, key: str, *, period_days: int = 365) -> Key:
        """Rotate `key` every `period_days` days (90 to 2560) from now on."""
        _check_period(period_days)
        metadata = self._reader.metadata(key)
        _check_rotatable(metadata, automatic=True)
        self._enable(metadata["Arn"], period_days)
        # KMS may still report the previous schedule, so the new schedule is filled in.
        shown = self.show(metadata["Arn"])
        return replace(shown, rotation_enabled=True, rotation_period_days=period_days)

    def disable_rotation(self, key: str) -> Key:
        """Stop the automatic rotation of `key`; `rotate` still works."""
        metadata = self._reader.metadata(key)
        _check_rotatable(metadata, automatic=True)
        self._kms.ask("disable_key_rotation", metadata["Arn"], KeyId=metadata["Arn"])
        shown = self.show(metadata["Arn"])
        return replace(shown, rotation_enabled=False, rotation_period_days=None, next_rotation=None)

    def rotations(self, key: str) -> tuple[Rotation, ...]:
        """Return the completed rotations of `key`, oldest first."""
        return self._reader.rotations(key)

    def _check_free(self, alias: str) -> None:
        try:
            taken_by = self._reader.metadata(alias)["Arn"]
        except KeyUnavailableError as error:
            if error.code == "NotFoundException":
                return
            raise
        raise ConfigError(
            f"{alias} is already the alias of {taken_by}; nothing was created.",
            hint="Choose another alias, or use that key.",
        )

    def _finish(self, arn: str, alias: str | None, period_days: int | None) -> None:
        # The alias is made last, so a key that has its alias is complete.
        steps: list[tuple[str, Callable[[], None]]] = []
        region = arn.split(":")[3]
        if period_days is not None:
            days = {"RotationPeriodInDays": period_days}
            command = aws("kms", "enable_key_rotation", region, KeyId=arn, **days)
            steps.append((command, lambda: self._enable(arn, period_days)))
        if alias is not None:
            command = aws("kms", "create_alias", region, AliasName=alias, TargetKeyId=arn)
            steps.append((command, lambda: self._name(arn, alias)))
        for done, (_, step) in enumerate(steps):
            try:
                patiently(step)
            except S3CryptError as error:
                commands = "` and `".join(command for command, _ in steps[done:])
                raise retold(
                    error,
                    f"The key {arn} was created, but not finished: {error}",
                    f"Finish it with `{commands}`, or delete it with"
                    f" `aws kms schedule-key-deletion --key-id {arn} --region {region}`.",
                ) from error.__cause__

    def _enable(self, arn: str, period_days: int) -> None:
        self._kms.ask("enable_key_rotation", arn, KeyId=arn, RotationPeriodInDays=period_days)

    def _name(self, arn: str, alias: str) -> None:
        def look(attempts: Attempts) -> Reply | None:
            # If the alias exists at the second attempt, the first attempt may have made it.
            request = {"KeyId": alias}
            found = call(
                self._kms.client(arn), "describe_key", request, alias, within=attempts, is_look=True
            )
            return found if found["KeyMetadata"]["Arn"] == arn else None

        self._kms.ask("create_alias", arn, look=look, AliasName=alias, TargetKeyId=arn)

    def _new_status(self, arn: str, period_days: int | None) -> Mapping[str, Any]:
        if period_days is None:
            return {"KeyRotationEnabled": False}
        asked: Mapping[str, Any] = {}
        # The key is complete, so a failure to read its next rotation is ignored.
        with suppress(S3CryptError):
            asked = patiently(lambda: self._kms.ask("get_key_rotation_status", arn, KeyId=arn))
        return {**asked, "KeyRotationEnabled": True, "RotationPeriodInDays": period_days}


def _in_region(arn: str, region: str) -> str:
    parts = arn.split(":")
    return ":".join((*parts[:3], region, *parts[4:]))


def _alias_name(alias: str) -> str:
    name = alias if alias.startswith("alias/") else f"alias/{alias}"
    if is_aws_alias(name):
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


def _check_rotatable(metadata: Any, *, automatic: bool) -> None:
    primary = replica_of(metadata)
    why, hint = unrotatable(metadata), NEW_KEY_HINT
    if why is None and metadata.get("KeyManager") == "AWS":
        why, hint = "it is managed by AWS, which rotates it every year", "Create a key of your own."
    if why is None and automatic and metadata.get("Origin") == "EXTERNAL":
        why = "its key material was imported"
        hint = "Import new key material and rotate the key on demand."
    if why is None and primary is not None:
        why, hint = "it is a replica", f"Do it to the primary key, {primary}; replicas follow."
    if why is not None:
        raise KeyUnavailableError(f"{metadata['Arn']}: KMS does not rotate it: {why}", hint=hint)
