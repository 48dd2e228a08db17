# SPDX-License-Identifier: Apache-2.0
"""Read the configuration of the account's trails: which data events of objects they record.

Every request only reads. This module does not read the log files that trails deliver.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3crypt.errors import StorageError
from s3crypt.requests import call
from s3crypt.unseen import Unseen

if TYPE_CHECKING:
    from types_boto3_cloudtrail.client import CloudTrailClient

_REFUSED = frozenset({"AccessDenied", "AccessDeniedException"})


@dataclass(frozen=True, slots=True)
class SeenTrail:
    """A trail as CloudTrail describes it.

    Attributes:
        arn: The trail's ARN.
        name: The trail's name.
        region: The trail's home Region.
        is_multi_region: Whether the trail records events in every Region.
        is_encrypted: Whether the log files of the trail are encrypted with a KMS key.
        is_logging: Whether the trail records now. False if the status is in `unseen`.
        reads, writes: Whether the trail records the data events for reads and for writes of every
            bucket. False if the event selectors are in `unseen`.
        selectors: The event selectors of the trail, in the form of CloudTrail's arguments.
        unseen: The status or the event selectors, if CloudTrail refused to show them.
    """

    arn: str
    name: str
    region: str
    is_multi_region: bool
    is_encrypted: bool
    is_logging: bool
    reads: bool
    writes: bool
    selectors: Mapping[str, Any] = field(default_factory=dict)
    unseen: tuple[Unseen, ...] = ()

    @property
    def records_all(self) -> bool:
        """Whether the trail records all data events of all buckets, in every Region."""
        return self.is_multi_region and self.is_logging and self.reads and self.writes


def read_trails(
    client_of: "Callable[[str], CloudTrailClient]", region: str, partition: str
) -> Iterator[SeenTrail]:
    """Yield the trails that record events in a Region, and which data events they record.

    Args:
        client_of: Returns the client for a Region. Each trail is read in its home Region.
        region: The Region.
        partition: The partition of the Region, such as `aws`.

    Raises:
        StorageError: CloudTrail refused to list the trails, or failed.
    """
    reply: Any = call(client_of(region), "describe_trails", {}, "the trails of the account")
    for trail in reply["trailList"]:
        yield _read(client_of, trail, region, partition)


def _read(
    client_of: "Callable[[str], CloudTrailClient]", trail: Any, region: str, partition: str
) -> SeenTrail:
    arn, home = str(trail["TrailARN"]), str(trail.get("HomeRegion") or region)
    there = client_of(home)
    status = _shown(
        "cloudtrail:GetTrailStatus", lambda: call(there, "get_trail_status", {"Name": arn}, arn)
    )
    selectors = _shown(
        "cloudtrail:GetEventSelectors",
        lambda: call(there, "get_event_selectors", {"TrailName": arn}, arn),
    )
    unseen = tuple(each for each in (status, selectors) if isinstance(each, Unseen))
    status = {} if isinstance(status, Unseen) else status
    selectors = {} if isinstance(selectors, Unseen) else selectors
    recorded = set(_recorded(selectors, partition))
    return SeenTrail(
        arn=arn,
        name=str(trail.get("Name", "")),
        region=home,
        is_multi_region=bool(trail.get("IsMultiRegionTrail")),
        is_encrypted=bool(trail.get("KmsKeyId")),
        is_logging=bool(status.get("IsLogging")),
        reads=bool(recorded & {"All", "ReadOnly"}),
        writes=bool(recorded & {"All", "WriteOnly"}),
        selectors={
            name: selectors[name]
            for name in ("EventSelectors", "AdvancedEventSelectors")
            if selectors.get(name)
        },
        unseen=unseen,
    )


def _shown(action: str, read: Callable[[], Any]) -> Any:
    """Return CloudTrail's reply. Return `Unseen` if CloudTrail refuses the request."""
    try:
        return read()
    except StorageError as error:
        if error.code not in _REFUSED:
            raise
        return Unseen(action, str(error))


def _recorded(selectors: Any, partition: str) -> Iterator[str]:
    """Yield the kinds of events that are recorded for all objects.

    The kinds are `All`, `ReadOnly` and `WriteOnly`.

    An advanced selector counts only if it has no other conditions than the resource type and,
    optionally, whether the event is a read or a write.
    """
    everything = {f"arn:{partition}:s3", f"arn:{partition}:s3:::"}
    for each in selectors.get("EventSelectors") or ():
        for resource in each.get("DataResources") or ():
            values = set(resource.get("Values") or ())
            if resource.get("Type") == "AWS::S3::Object" and everything & values:
                yield str(each.get("ReadWriteType", "All"))
    for each in selectors.get("AdvancedEventSelectors") or ():
        # Any other operator than Equals restricts the selector in a way that is not evaluated here.
        fields = {
            one["Field"]: one["Equals"] if one.keys() == {"Field", "Equals"} else None
            for one in each.get("FieldSelectors") or ()
        }
        read_only = fields.pop("readOnly", [])
        if fields == {"eventCategory": ["Data"], "resources.type": ["AWS::S3::Object"]}:
            kind = _KINDS.get(tuple(read_only)) if read_only is not None else None
            yield from (kind,) if kind else ()


_KINDS = {
    (): "All",
    ("true",): "ReadOnly",
    ("false",): "WriteOnly",
    ("false", "true"): "All",
    ("true", "false"): "All",
}
