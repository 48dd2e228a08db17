# SPDX-License-Identifier: Apache-2.0
"""Object Lock on object versions: retention and event holds.

S3 has event holds since 2026. moto lacks them, so this module implements them. moto implements
retention and legal holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply, xml_text

from .conditions import existing
from .operations import ANY, OBJECT, Operation, Rules
from .refusals import access_denied, invalid, invalid_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto

LOCK_HEADERS = (
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
)
_HOLD = "x-amz-object-lock-event-hold"
_MAX_DURATION = {"Days": 36_500, "Years": 100}


@dataclass(frozen=True, slots=True)
class Hold:
    """An event hold.

    `duration` is how long the version stays protected after the hold's release.
    """

    status: str
    duration: tuple[str, int] | None = None  # ("Days" or "Years", how many)

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> Hold | None:
        """Return the hold in a write's headers, or None if the headers have no hold."""
        durations = {
            unit: headers.get(f"{_HOLD}-duration-{unit.lower()}") for unit in _MAX_DURATION
        }
        return cls.checked(headers.get(_HOLD), durations)

    @classmethod
    def of_xml(cls, text: str) -> Hold | None:
        """Return the hold of a PutObjectRetention, or None if it has only a retention."""
        inside = re.search(r"<EventHoldDuration>(.*?)</EventHoldDuration>", text, re.DOTALL)
        durations = {unit: xml_text(inside[1] if inside else "", unit) for unit in _MAX_DURATION}
        return cls.checked(xml_text(text, "EventHold"), durations)

    @classmethod
    def checked(cls, status: str | None, durations: Mapping[str, str | None]) -> Hold | None:
        """Return the hold, or None if no value is given. Refuse inconsistent values."""
        given = {unit: text for unit, text in durations.items() if text is not None}
        if status is None and not given:
            return None
        if status not in {"ON", "OFF"} or len(given) > 1:
            raise invalid("An event hold is ON or OFF, its duration in days or in years.")
        for unit, text in given.items():
            if not text.isdigit() or not 0 < int(text) <= _MAX_DURATION[unit]:
                raise invalid(f"An event hold lasts 1 to {_MAX_DURATION[unit]} {unit.lower()}.")
            return cls(str(status), (unit, int(text)))
        return cls(str(status))

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers for HEAD and GET.

        The duration is included only while the hold is on.
        """
        said = [(_HOLD, self.status)]
        if self.status == "ON" and self.duration:
            unit, length = self.duration
            said.append((f"{_HOLD}-duration-{unit.lower()}", str(length)))
        return said

    def xml(self) -> str:
        """Return the elements of GetObjectRetention."""
        duration = ""
        if self.duration:
            unit, length = self.duration
            duration = f"<EventHoldDuration><{unit}>{length}</{unit}></EventHoldDuration>"
        return f"<EventHold>{self.status}</EventHold>{duration}"


def hold_of(thing: Any) -> Hold | None:
    """Return the event hold of moto's object version or upload, or None if it has no hold."""
    found = getattr(thing, "s3crypt_hold", None)
    return found if isinstance(found, Hold) else None


def wanted_hold(moto: Moto, request: Request) -> Hold | None:
    """Return the requested event hold, or None. Refuse a hold in a bucket without Object Lock."""
    hold = Hold.of_headers(request.headers)
    if hold is not None:
        _check_lockable(moto, request)
    return hold


def check_deletable(thing: Any) -> None:
    """Refuse to delete an object version with an active event hold. `thing` may be None."""
    hold = hold_of(thing)
    if hold is not None and hold.status == "ON":
        raise access_denied("Access Denied because object protected by object lock.")


def _check_lockable(moto: Moto, request: Request) -> None:
    bucket = moto.bucket(request.bucket)
    if bucket is not None and not bucket.object_lock_enabled:
        raise invalid_request("Bucket is missing Object Lock Configuration")


def _retention(moto: Moto, request: Request) -> Reply:
    """Change or return an object version's retention and event hold."""
    _check_lockable(moto, request)
    found = existing(moto, request)
    if request.method != "PUT":
        return _retention_of(found)
    text = request.body.decode("utf-8")
    hold = Hold.of_xml(text)
    if hold is not None:
        found.s3crypt_hold = hold
    if hold is not None and xml_text(text, "Mode") is None:
        return Reply(200)
    return moto(request)


def _retention_of(found: Any) -> Reply:
    hold = hold_of(found)
    if not found.lock_mode and hold is None:
        raise Refusal(
            404,
            "NoSuchObjectLockConfiguration",
            "The specified object does not have a ObjectLock configuration",
        )
    kept = ""
    if found.lock_mode:
        kept = (
            f"<Mode>{found.lock_mode}</Mode><RetainUntilDate>{found.lock_until}</RetainUntilDate>"
        )
    kept += hold.xml() if hold else ""
    return xml_reply(200, f"<Retention>{kept}</Retention>")


RULES: Rules = {Operation(ANY, OBJECT, "retention"): _retention}
