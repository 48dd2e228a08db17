# SPDX-License-Identifier: Apache-2.0
"""Audits all objects of a bucket, or a sample. A listing or an inventory names the objects.

All requests are read-only: ListBucket, GetObject (HEAD and first bytes) and kms:DescribeKey. No
data key is ever unwrapped. `object_controls` judges the objects, `tallies` counts the judgements,
and `object_fixes` makes the commands.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, Unpack

from s3crypt.aws_errors import http_status
from s3crypt.buckets.configuration import region_of
from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    S3CryptError,
    StorageError,
)
from s3crypt.inventories import (
    Batch,
    Manifest,
    Reservoir,
    Row,
    Unreadable,
    as_batch,
    mode_of,
    read_manifest,
    readable_batches,
    without_subject,
)
from s3crypt.jobs import Journal, run
from s3crypt.kms.states import KeyState, KeyStates
from s3crypt.location import Location
from s3crypt.modes import SSEC
from s3crypt.objects.access import Objects
from s3crypt.objects.sightings import Candidate, Sighting, candidates, is_archived, sight_once

from .object_controls import (
    Escrow,
    Judgement,
    Rules,
    applicable,
    is_material_needed,
    judge,
    kept_materials,
    kms_keys,
    unseen,
)
from .tallies import Each, Scope, Tally
from .values import Coverage, Demands, Finding, Resource, Verdict

if TYPE_CHECKING:
    from s3crypt.kms.description import KeyReader

Look: TypeAlias = Literal["inventory", "head", "header"]
"""How objects are examined: only by the inventory, by HEAD, or also by their first bytes."""

STALE_DAYS = 8
"""The maximum age in days of an inventory that proves a pass. A weekly inventory is younger."""

# S3's error codes if the caller has no permission to list a bucket, or if the bucket is in another
# Region.
_UNLISTED = frozenset({"403", "AccessDenied", "AllAccessDisabled", "PermanentRedirect", "301"})

_DENIED = "AccessDeniedException"
_DESCRIBE = ("kms:DescribeKey",)


class ObjectOptions(TypedDict, total=False):
    """The options of an audit of objects.

    Attributes:
        jobs: The maximum number of objects that are examined at once.
        journal: Stores the properties of each examined object. A resumed run reads them from the
            journal, and repeats only the requests that S3 refused or that failed.
        sample: The number of objects to examine, which are drawn at random; by default all objects
            are examined.
        seed: The seed of the random sample. The same seed gives the same sample. The findings
            contain the seed.
        inventory: The URI of an S3 Inventory manifest, which replaces the listing.
        look: How objects are examined; by default by their first bytes (`header`).
        each: Called with each verdict on an object that is fail or unknown.
        covered: Called with the number of examined objects, before the findings are yielded.
    """

    jobs: int | None
    journal: Journal | None
    sample: int | None
    seed: int | None
    inventory: str | None
    look: Look
    each: Each | None
    covered: Callable[[Coverage], None] | None


@dataclass(frozen=True, slots=True)
class Reach:
    """The services that an audit of objects uses, and the caller's account.

    Attributes:
        objects: The engine for objects. It names the expected owner, so S3 refuses requests to
            buckets of another account.
        keys: The reader that describes KMS keys.
        account: The account to which the buckets must belong.
        partition: The account's partition, such as `aws`.
        anyones: The engine for inventories, which may be in buckets of any account; by default
            `objects`.
    """

    objects: Objects
    keys: "KeyReader"
    account: str
    partition: str = "aws"
    anyones: Objects | None = None

    @property
    def inventories(self) -> Objects:
        """The engine for inventories."""
        return self.anyones or self.objects


def _escrow(reader: "KeyReader", reference: str) -> Escrow:
    """Return a required key, with the name that it has in the headers of objects."""
    name = reference.removeprefix("kms:")
    if reference.startswith(("aes:", "rsa:")):
        return Escrow(reference, reference.partition("=")[0])
    if ":key/" in name:
        return Escrow(reference, name)
    try:
        return Escrow(reference, str(reader.metadata(name)["Arn"]))
    except KeyUnavailableError as error:
        denied = _DESCRIBE if error.code == _DENIED else ()
        hidden = f"KMS does not resolve the key {reference} ({error.code})"
        return Escrow(reference, None, hidden, denied)


def audit_objects(
    reach: Reach, uri: str, demands: Demands, **options: Unpack[ObjectOptions]
) -> Iterator[Finding]:
    """Yield the findings about the objects below a prefix, after all objects were examined.

    Equal verdicts about many objects become one finding. A listing covers the current versions; an
    inventory covers all versions that it lists.

    Args:
        reach: The services.
        uri: A bucket, or a prefix that ends with a slash.
        demands: The requirements for the objects.
        options: See `ObjectOptions`.

    Raises:
        ConfigError: The arguments contradict each other, or there are no credentials.
        ObjectNotFoundError: The bucket or the inventory does not exist.
        StorageError: The journal cannot be written.
    """
    location = Location.parse(uri)
    if not location.is_prefix:
        raise ConfigError(f"{uri} names an object.", hint=f"A prefix ends with a slash: {uri}/")
    if options.get("look") == "inventory" and options.get("inventory") is None:
        raise ConfigError(
            "No inventory was given to look at.",
            hint="Name the manifest of an S3 Inventory report.",
        )
    yield from _Audit(reach, location, demands, options).findings()


@dataclass(slots=True)
class _Audit:
    """One audit of the objects below one prefix."""

    reach: Reach
    location: Location
    demands: Demands
    options: ObjectOptions
    tally: Tally = field(init=False)
    states: KeyStates = field(init=False)
    rules: Rules = field(init=False)
    reservoir: Reservoir[Candidate | Row] | None = field(init=False, default=None)
    manifest: Manifest | None = field(init=False, default=None)
    count: int = field(init=False, default=0)
    is_whole: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.tally = Tally(self.options.get("each"))
        self.states = KeyStates(self.reach.keys)
        size = self.options.get("sample")
        if size is not None:
            self.reservoir = Reservoir(size, seed=self.options.get("seed"))

    @property
    def look(self) -> Look:
        return self.options.get("look", "header")

    def findings(self) -> Iterator[Finding]:
        now = datetime.now(UTC)
        escrow = tuple(_escrow(self.reach.keys, each) for each in self.demands.required_keys)
        self.rules = Rules(self.demands, escrow, now)
        try:
            self._look(self._found())
        except StorageError as error:
            if error.code not in _UNLISTED and http_status(error) != 403:
                raise
            self._unlisted(error)
        scope = self._scope()
        if covered := self.options.get("covered"):
            covered(Coverage(scope.prefix, self.count, scope.sampled_from, self.is_whole))
        yield from self.tally.findings(scope)

    # --- finding the objects ---------------------------------------------------------------------

    def _found(self) -> Iterator[Candidate]:
        """Yield the objects to examine.

        Objects that the inventory alone can judge are not yielded, only counted.
        """
        manifest_uri = self.options.get("inventory")
        if manifest_uri is not None and self._is_foreign():
            self._foreign()
            return
        if manifest_uri is not None:
            yield from self._of_inventory(manifest_uri)
            return
        listed = candidates(self.reach.objects, self.location)
        if self.reservoir is None:
            yield from listed
            return
        for candidate in listed:
            for _ in self.reservoir.places(1):
                self.reservoir.put(candidate)
        yield from (each for each in self.reservoir.items if isinstance(each, Candidate))

    def _unlisted(self, error: StorageError) -> None:
        """Add an unknown finding per control, because S3 refused to list the bucket.

        The finding names the cause: another owner, another Region, or a missing permission.
        """
        if error.code in ("PermanentRedirect", "301"):
            self._trouble(f"S3 refuses to list the bucket ({error.code})")
        elif self._is_foreign():
            self._foreign()
        else:
            self._trouble(f"S3 refuses to list the bucket ({error.code})", ("s3:ListBucket",))

    def _foreign(self) -> None:
        self._trouble(f"the bucket does not belong to account {self.reach.account}")

    def _is_foreign(self) -> bool:
        """Return whether the bucket exists and belongs to another account."""
        if self.reach.anyones is None:
            return False
        try:
            region_of(self.reach.anyones.client, self.location.bucket)
        except S3CryptError:
            return False
        try:
            region_of(self.reach.objects.client, self.location.bucket)
        except S3CryptError as error:
            return http_status(error) == 403
        return False

    def _of_inventory(self, uri: str) -> Iterator[Candidate]:
        try:
            self.manifest = read_manifest(self.reach.inventories, uri)
        except (FormatError, IntegrityError) as error:
            self._trouble(f"the inventory cannot be used: {without_subject(error, uri)}")
            return
        except StorageError as error:
            if isinstance(error, ObjectNotFoundError) or http_status(error) != 403:
                raise
            self._trouble("S3 refuses the inventory's manifest", ("s3:GetObject",))
            return
        if self.manifest.source != self.location.bucket:
            raise ConfigError(
                f"{uri} is an inventory of s3://{self.manifest.source}/, not of {self.location}.",
                hint="Name an inventory of this bucket.",
            )
        for hidden in self._limits(self.manifest):
            self._trouble(hidden)
        for batch in self._batches(self.manifest):
            if self.reservoir is None:
                yield from self._of_batch(batch)
                continue
            for place in self.reservoir.places(batch.count):
                self.reservoir.put(next(batch.take([place])))
        if self.reservoir is not None:
            rows = [each for each in self.reservoir.items if isinstance(each, Row)]
            yield from self._of_batch(as_batch(rows))

    def _limits(self, manifest: Manifest) -> Iterator[str]:
        """Yield the reasons, as clauses, why objects may be missing in an inventory."""
        if self._age_days > STALE_DAYS:
            yield f"the inventory is {self._age_days} days old, and newer objects are not in it"
        if not manifest.parts:
            yield "the inventory has no parts"

    def _batches(self, manifest: Manifest) -> Iterator[Batch]:
        """Yield the rows of all parts. An unreadable part adds an unknown finding per control."""
        reading = readable_batches(self.reach.inventories, manifest, self.location.name)
        for found in reading:
            if isinstance(found, Unreadable):
                self._trouble(f"the part {found.part} of the inventory cannot be used: {found.why}")
            else:
                yield found

    def _of_batch(self, batch: Batch) -> Iterator[Candidate]:
        for status, count in batch.statuses().items():
            mode = mode_of(status)
            # For an SSE-C object, HEAD without the customer key returns no more than the inventory,
            # so no HEAD is sent.
            is_known = mode == SSEC.name and not self.demands.key_files
            if self.look != "inventory" and not is_known:
                yield from (self._candidate(row) for row in batch.of_status(status))
                continue
            self.count += count
            for judgement in self._of_inventory_alone(mode, status):
                self.tally.add(judgement, count, map(_named, batch.of_status(status)))

    def _candidate(self, row: Row) -> Candidate:
        at = Location(self.location.bucket, row.name)
        return Candidate(at, row.version_id, row.etag, None, is_archived(row.storage_class))

    # --- examining the objects -------------------------------------------------------------------

    def _look(self, found: Iterable[Candidate]) -> None:
        """Examine objects in parallel, and count their judgements."""
        if self.look == "inventory":
            # Iterating runs `_of_batch`, which counts every object and yields no candidate.
            for candidate in found:
                raise AssertionError(f"unreachable: {candidate.location} is looked at")
            return
        objects = self.reach.objects
        looked_at = run(
            found,
            self._sight,
            most=self.options.get("jobs"),
            is_far=lambda: objects.is_far,
            stops_at=lambda _: True,
        )
        for outcome in looked_at:
            if outcome.result is None:
                continue
            self.count += 1
            seen, keys = outcome.result
            at = outcome.item.location.name
            for judgement in judge(at, seen, self.rules, keys):
                self.tally.add(judgement, 1, [(at, outcome.item.version_id)])

    def _sight(self, candidate: Candidate) -> tuple[Sighting, dict[str, KeyState]] | None:
        seen = sight_once(
            self.reach.objects,
            candidate,
            self.options.get("journal"),
            customer_keys=[SSEC(each) for each in self.demands.key_files],
            by_head=self.look == "head",
        )
        return None if seen is None else (seen, self._states(seen))

    def _states(self, seen: Sighting) -> dict[str, KeyState]:
        """Return the state of each KMS key that encrypts an object.

        The materials of a key are listed only if the age of the object's material must be judged,
        and the key's own age does not decide.
        """
        states = {arn: self.states.of(arn) for arn in kms_keys(seen)}
        for arn in kept_materials(seen):
            if is_material_needed(states[arn], self.rules):
                states[arn] = replace(states[arn], materials=self.states.materials(arn))
        return states

    def _of_inventory_alone(self, mode: str | None, status: str | None) -> Iterator[Judgement]:
        hidden = "the inventory does not show it"
        if status is None or mode_of(status) == "unknown":
            hidden = "the inventory has no known encryption status for it"
        for found in judge("", Sighting(server_mode=mode, hidden=hidden), self.rules, {}):
            if found.verdict is Verdict.PASS and self._age_days > STALE_DAYS:
                yield unseen(found.control, f"the inventory is {self._age_days} days old")
            else:
                yield found

    @property
    def _age_days(self) -> int:
        return (self.rules.now - self.manifest.created).days if self.manifest else 0

    # --- reporting -------------------------------------------------------------------------------

    def _trouble(self, hidden: str, denied: tuple[str, ...] = ()) -> None:
        self.is_whole = False
        for control in applicable(self.demands):
            self.tally.add(unseen(control, hidden, denied), 0, ())

    def _scope(self) -> Scope:
        remark, sampled_from = "", None
        if self.manifest is not None:
            days = self._age_days
            remark = f"; from the inventory of {self.manifest.created:%Y-%m-%d}, {days} days old"
        if self.reservoir is not None:
            sampled_from = self.reservoir.seen
            size = len(self.reservoir.items)
            remark += f"; a sample of {size:,} of {sampled_from:,}, seed {self.reservoir.seed}"
        bucket, name = self.location.bucket, self.location.name
        arn = f"arn:{self.reach.partition}:s3:::{bucket}/{name}*"
        resource = Resource("objects", arn, self.reach.account, self._region())
        return Scope(resource, bucket, str(self.location), self.demands, remark, sampled_from)

    def _region(self) -> str:
        client = self.reach.objects.client
        try:
            return region_of(client, self.location.bucket)
        except S3CryptError:
            return str(client.meta.region_name)


def _named(row: Row) -> tuple[str, str | None]:
    return row.name, None if row.is_latest else row.version_id
