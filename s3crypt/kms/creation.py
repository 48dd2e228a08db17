# SPDX-License-Identifier: Apache-2.0
"""Creation of KMS keys: the key, then its automatic rotation, then its alias."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from s3crypt.command_lines import s3crypt_keys
from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError

from .description import Key, KeyReader, described
from .naming import alias_name, check_description, check_tags, create_alias, tag_list
from .rotating import check_period, enable_rotation
from .service import KMS, patiently, retold


class KeyCreator:
    """Creates keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def create(
        self, request: Mapping[str, Any], *, alias: str | None, rotation_period_days: int | None
    ) -> Key:
        """Create a key with a request that `creation` returned.

        `KeyManager.create` documents the other arguments and the errors.
        """
        name = None if alias is None else alias_name(alias)
        if rotation_period_days is not None:
            check_period(rotation_period_days)
        if name is not None:
            self._check_free(name)
        made = self._kms.ask("create_key", "the new KMS key", **request)["KeyMetadata"]
        self._finish(made["Arn"], name, rotation_period_days)
        return described(
            made,
            aliases=() if name is None else (name,),
            tags={each["TagKey"]: each["TagValue"] for each in request.get("Tags", ())},
            status=self._new_status(made["Arn"], rotation_period_days),
            materials=(),
            refused=set(),
        )

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
        # The alias is made last, so every key with an alias from here is complete.
        steps: list[tuple[str, Callable[[], None]]] = []
        if period_days is not None:
            command = f"s3crypt keys enable-rotation {arn} --period-days {period_days}"
            steps.append((command, lambda: enable_rotation(self._kms, arn, period_days)))
        if alias is not None:
            command = s3crypt_keys("add-alias", arn, alias)
            steps.append((command, lambda: create_alias(self._kms, arn, alias)))
        for done, (_, step) in enumerate(steps):
            try:
                patiently(step)
            except S3CryptError as error:
                commands = "` and `".join(command for command, _ in steps[done:])
                raise retold(
                    error,
                    f"The key {arn} was created, but its settings are incomplete: {error}",
                    f"Finish it with `{commands}`, or delete it: `s3crypt keys schedule-deletion"
                    f" {arn} --without-impact-report {arn.rpartition('/')[2]}`.",
                ) from error.__cause__

    def _new_status(self, arn: str, period_days: int | None) -> Mapping[str, Any]:
        if period_days is None:
            return {"KeyRotationEnabled": False}
        asked: Mapping[str, Any] = {}
        # The key is complete. If its next rotation date cannot be read, the date is left out.
        with suppress(S3CryptError):
            asked = patiently(lambda: self._kms.ask("get_key_rotation_status", arn, KeyId=arn))
        return {**asked, "KeyRotationEnabled": True, "RotationPeriodInDays": period_days}


def creation(
    description: str,
    tags: Mapping[str, str] | None,
    policy: str | Mapping[str, Any] | None,
    *,
    multi_region: bool,
) -> dict[str, Any]:
    """Return the request of CreateKey for a symmetric key.

    `KeyManager.create` documents the arguments.
    """
    check_description(description)
    request: dict[str, Any] = {
        "Description": description,
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": multi_region,
    }
    if tags:
        check_tags(tags)
        request["Tags"] = tag_list(tags)
    if policy is not None:
        request["Policy"] = _policy_text(policy)
    return request


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
