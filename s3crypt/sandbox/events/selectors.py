# SPDX-License-Identifier: Apache-2.0
"""Decides which events a trail logs, by its basic or advanced event selectors.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_OBJECT = "AWS::S3::Object"
# Operator of a field selector -> whether an event's value matches a selector's value.
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "Equals": lambda value, wanted: value == wanted,
    "StartsWith": lambda value, wanted: value.startswith(wanted),
    "EndsWith": lambda value, wanted: value.endswith(wanted),
}


def selects(trail: Any, record: Mapping[str, Any]) -> bool:
    """Return whether a moto trail logs the event of this record."""
    if trail.advanced_event_selectors:
        return any(_fits_fields(one, record) for one in trail.advanced_event_selectors)
    if trail.event_selectors:
        return any(_fits(one, record) for one in trail.event_selectors)
    return bool(record["managementEvent"])


def _fits(selector: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    wanted = selector.get("ReadWriteType", "All")
    if wanted != "All" and (wanted == "ReadOnly") is not record["readOnly"]:
        return False
    if record["managementEvent"]:
        excluded = selector.get("ExcludeManagementEventSources") or ()
        return (
            selector.get("IncludeManagementEvents", True) and record["eventSource"] not in excluded
        )
    values = [
        value
        for one in selector.get("DataResources") or ()
        if one.get("Type") == _OBJECT
        for value in one.get("Values") or ()
    ]
    # "arn:aws:s3" and "arn:aws:s3:::" stand for all buckets.
    return any(arn.startswith(value) for arn in _arns(record) for value in values)


def _fits_fields(selector: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    values = {
        "eventCategory": [record["eventCategory"]],
        "eventName": [record["eventName"]],
        "eventSource": [record["eventSource"]],
        "readOnly": [str(record["readOnly"]).lower()],
        "resources.ARN": _arns(record),
        "resources.type": [_OBJECT] if record["eventCategory"] == "Data" else [],
        "userIdentity.arn": [str(record["userIdentity"].get("arn", ""))],
    }
    return all(
        _fits_field(field, values.get(str(field.get("Field")), []))
        for field in selector.get("FieldSelectors") or ()
    )


def _fits_field(field: Mapping[str, Any], values: Iterable[str]) -> bool:
    found = list(values)
    for operator, fits in _OPERATORS.items():
        wanted, unwanted = field.get(operator), field.get(f"Not{operator}")
        if wanted and not any(fits(value, one) for value in found for one in wanted):
            return False
        if unwanted and any(fits(value, one) for value in found for one in unwanted):
            return False
    return True


def _arns(record: Mapping[str, Any]) -> list[str]:
    """Return the ARN of the object, prefix or bucket that a record is about, if any."""
    resources = record.get("resources") or ()
    objects = [str(one.get("ARN") or one.get("ARNPrefix") or "") for one in resources]
    return [arn if "/" in arn else f"{arn}/" for arn in objects[:1]]
