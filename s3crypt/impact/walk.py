# SPDX-License-Identifier: Apache-2.0
"""The walk over all places of a scope. It returns the report.

No data key is ever unwrapped: the walk reads listings, headers, the first bytes of objects, and
settings. Its memory does not grow with the number of objects.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from s3crypt import buckets
from s3crypt.aws_errors import ends_everything, http_status
from s3crypt.buckets.configuration import home_of
from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    ObjectNotFoundError,
    S3CryptError,
)
from s3crypt.inventories import (
    Reservoir,
    find_export,
    read_manifest,
    without_subject,
)
from s3crypt.jobs import Journal, run
from s3crypt.jobs.window import MOST
from s3crypt.kms.states import KeyStates
from s3crypt.location import Location
from s3crypt.modes import SSEC
from s3crypt.objects.access import Objects
from s3crypt.objects.sightings import sight_once
from s3crypt.unseen import Unseen

from .deciding import Decider, Decision
from .report import Counts, Dependent, Report, Sampled, Scope
from .sampling import Sample
from .services import Services
from .settings import SettingsReader
from .sources import VANISHED, Inventory, Item, MetadataTable, Place, Settled, Sources, reason_of
from .surroundings import not_looked_at
from .tallying import Tally
from .target import KeyNames, find_target

if TYPE_CHECKING:
    import boto3

Table: TypeAlias = Inventory | MetadataTable

_BEGAN, _SEED = "began", "seed"
_BUCKETS_AT_ONCE = 8
_DIRECTORY = "it is a directory bucket, which is looked at only if its URI is given, too"


class Options(TypedDict, total=False):
    """The options of a walk.

    Attributes:
        inventories: The URIs of S3 Inventory manifests. Each is read instead of listing its bucket.
        metadata_tables: Paths or URIs of exports of the inventory table of S3 Metadata. Each is
            read instead of listing its buckets.
        sample: The number of versions to examine, drawn at random. None to examine all versions.
        seed: The seed of the sample; the same seed draws the same sample. None for a random seed.
            The report contains the seed.
        customer_keys: Keys to try on SSE-C objects. Without its key, the content of an SSE-C object
            cannot be examined.
        journal: Records the facts about each version. A resumed walk lists all versions again, and
            examines only versions that are not in the journal.
        jobs: The maximum number of objects that are examined at the same time.
        each: Is called with each version that is encrypted under the key.
        progress: Is called with the number of versions that have been examined so far.
        allow_plain_http: Allow requests to other machines over plain HTTP.
    """

    inventories: Sequence[str]
    metadata_tables: Sequence[str]
    sample: int | None
    seed: int | None
    customer_keys: Sequence[SSEC]
    journal: Journal | None
    jobs: int | None
    each: Callable[[Dependent], None] | None
    progress: Callable[[int], None] | None
    allow_plain_http: bool


@dataclass(slots=True)
class Walk:
    """One walk: its arguments and its counts.

    Attributes:
        key: The id, ARN or alias of the key, as the caller gave it.
        uris: The URIs of buckets and prefixes.
        account: Whether every bucket of the account is in the scope.
        session: The boto3 session. None for boto3's default session.
        options: The options.
        tally: The counts.
        sample: The numbers and sizes of the versions that were examined.
        gone: The buckets in which a version no longer existed when it was to be examined.
        lock: Protects the counts, which several threads change.
    """

    key: str
    uris: Sequence[str]
    account: bool
    session: "boto3.Session | None"
    options: Options
    tally: Tally = field(default_factory=Tally)
    sample: Sample = field(default_factory=Sample)
    gone: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self) -> Report:
        """Examine all places of the scope, and return the report."""
        scope = self._scope()
        services = self._services()
        target = find_target(services.reader, self.key)
        names, states = KeyNames(services.reader, target), KeyStates(services.reader)
        decider = Decider(
            target,
            tuple(target.live_siblings(states)),
            states.of,
            lambda alias: names.arn_of(alias, target.region, target.account),
        )
        now = datetime.now(UTC)
        as_of = self._begin(now)
        mine = self._buckets(services)
        places = self._places(services, scope, () if isinstance(mine, Unseen) else mine)
        if self.account:
            self._note_directory_buckets(services, target.region, places)
        self._read_settings(SettingsReader(services, target, names, self.tally), places)
        sources = self._sources(places, decider, now)
        self._look(sources, decider)
        self._check_gone(services)
        others = mine if isinstance(mine, Unseen) else _others(mine, places)
        return Report(
            key=target,
            account=services.account,
            caller=services.identity.arn,
            scope=scope,
            as_of=min(as_of, sources.oldest or as_of),
            ended=datetime.now(UTC),
            buckets=len({place.location.bucket for place in places}),
            looked_at=self.tally.looked_at,
            groups=self.tally.groups,
            other_providers=self.tally.providers,
            settings=tuple(sorted(self.tally.settings, key=lambda s: (s.kind, s.resource))),
            unknown=self.tally.unknown,
            sample=self._sampled(sources),
            not_looked_at=tuple(not_looked_at(services, target, scope, others)),
            failures=tuple(self.tally.failures),
        )

    # --- the scope -------------------------------------------------------------------------------

    def _scope(self) -> Scope:
        inventories = tuple(dict.fromkeys(self.options.get("inventories") or ()))
        exports = tuple(dict.fromkeys(self.options.get("metadata_tables") or ()))
        if not (self.uris or self.account or inventories or exports):
            raise ConfigError(
                "Nothing names where to look.",
                hint="Name buckets or prefixes, or look at the whole account.",
            )
        return Scope(self.account, _without_nested(self.uris), inventories, exports)

    def _services(self) -> Services:
        return Services(
            self.session,
            allow_plain_http=self.options.get("allow_plain_http", False),
            workers=self.options.get("jobs") or MOST,
        )

    def _begin(self, now: datetime) -> datetime:
        """Return the time at which the walk began.

        For a resumed walk, this is the start of its first run.
        """
        journal = self.options.get("journal")
        if journal is None:
            return now
        noted = journal.detail_of(_BEGAN)
        if noted is None:
            journal.note(_BEGAN, _BEGAN, now.isoformat())
            return now
        return datetime.fromisoformat(noted)

    def _buckets(self, services: Services) -> tuple[str, ...] | Unseen:
        """Return the names of the account's buckets, or an `Unseen` if S3 refuses to list them.

        If the scope is the whole account, a refusal is raised as an error.
        """
        try:
            return tuple(buckets.names(services.s3()))
        except S3CryptError as error:
            if self.account or ends_everything(error):
                raise
            return Unseen("s3:ListAllMyBuckets", str(error))

    def _note_directory_buckets(
        self, services: Services, region: str, places: Sequence[Place]
    ) -> None:
        """Count directory buckets of the key's Region as unknown if they are not in the scope.

        A directory bucket may be encrypted under the key, but S3's list of buckets does not contain
        directory buckets.
        """
        whole = {each.location.bucket for each in places if not each.location.name}
        try:
            for name in buckets.directory_names(services.s3(region)):
                if name not in whole and Location(name, "").is_in_directory_bucket:
                    self.tally.add_unknown("bucket", _DIRECTORY, f"s3://{name}/")
        except S3CryptError as error:
            if ends_everything(error):
                raise
            is_refused = http_status(error) == HTTPStatus.FORBIDDEN
            denied = ("s3express:ListAllMyDirectoryBuckets",) if is_refused else ()
            hidden = f"the directory buckets of {region} cannot be listed"
            self.tally.add_unknown("bucket", hidden, denied=denied)

    def _places(self, services: Services, scope: Scope, mine: Sequence[str]) -> tuple[Place, ...]:
        """Return the places of the scope, each with the engine and the inventory for its bucket."""
        tables = _by_bucket(self._tables(services, scope))
        named = [Location.parse(uri) for uri in scope.uris]
        known = {at.bucket for at in named}
        named += [Location(name, "") for name in tables if name not in known]
        if scope.account:
            named = [at for at in named if at.bucket not in mine]
        listed = [Location(name, "") for name in mine] if scope.account else []
        regions = self._regions(services, [at.bucket for at in named], is_listed=False)
        regions |= self._regions(services, [at.bucket for at in listed], is_listed=True)
        return tuple(
            Place(at, services.objects(regions[at.bucket]), tables.get(at.bucket))
            for at in (*named, *listed)
            if at.bucket in regions
        )

    def _tables(self, services: Services, scope: Scope) -> Iterator[tuple[str, Table]]:
        """Yield each inventory and export with the name of its bucket.

        An inventory or an export that is damaged is added to the failures.
        """
        for source in (*scope.inventories, *scope.metadata_tables):
            read = self._inventory if source in scope.inventories else self._exports
            try:
                yield from read(services, source)
            except (FormatError, IntegrityError) as error:
                self.tally.fail(source, without_subject(error, source), "integrity")

    def _inventory(self, services: Services, uri: str) -> Iterator[tuple[str, Table]]:
        objects = self._engine(services, Location.parse_object(uri).bucket)
        manifest = read_manifest(objects, uri)
        yield manifest.source, Inventory(manifest, objects)

    def _exports(self, services: Services, source: str) -> Iterator[tuple[str, Table]]:
        """Yield an export once per bucket in it.

        The export is read to its end, which detects a damaged file.
        """
        is_local = not source.startswith("s3://")
        region = services.s3().meta.region_name
        objects = services.objects(region)
        if not is_local:
            objects = self._engine(services, Location.parse(source).bucket)
        export = find_export(objects, source)
        groups = (group for batch in export.batches() for group in batch.groups())
        for name in sorted({str(group.bucket) for group in groups}):
            yield name, MetadataTable(export)

    def _engine(self, services: Services, bucket: str) -> Objects:
        return services.objects(self._regions(services, [bucket], is_listed=False)[bucket])

    def _regions(
        self, services: Services, names: Sequence[str], *, is_listed: bool
    ) -> dict[str, str]:
        """Return the Region of each bucket.

        A bucket that does not exist is an error. If the bucket was listed before (`is_listed`), it
        is added to the failures instead.
        """
        session_region = services.s3().meta.region_name

        def region_of(name: str) -> str | None:
            try:
                return home_of(services.s3(), name) or session_region
            except ObjectNotFoundError:
                if not is_listed:
                    raise
                self.tally.fail(f"s3://{name}/", VANISHED, "storage")
                return None

        unique = tuple(dict.fromkeys(names))
        with ThreadPoolExecutor(_BUCKETS_AT_ONCE, thread_name_prefix="s3crypt-buckets") as pool:
            found = zip(unique, pool.map(region_of, unique), strict=True)
            return {name: region for name, region in found if region is not None}

    # --- looking ---------------------------------------------------------------------------------

    def _read_settings(self, reader: SettingsReader, places: Sequence[Place]) -> None:
        """Read the settings of all buckets. For a whole account, also read tables and vectors."""
        regions = {each.location.bucket: each.region for each in places}

        def read(name: str) -> None:
            try:
                reader.read_bucket(name, regions[name])
            except ObjectNotFoundError:
                self.tally.fail(f"s3://{name}/", VANISHED, "storage")

        with ThreadPoolExecutor(_BUCKETS_AT_ONCE, thread_name_prefix="s3crypt-buckets") as pool:
            for _ in pool.map(read, regions):
                pass
        if self.account:
            reader.read_tables()
            reader.read_vectors()

    def _sources(self, places: tuple[Place, ...], decider: Decider, now: datetime) -> Sources:
        size, reservoir = self.options.get("sample"), None
        if size is not None:
            reservoir = Reservoir[Item](size, seed=self._seed())
        return Sources(
            places,
            decider.target,
            self.tally,
            partial(self._settle, decider),
            has_customer_keys=bool(self.options.get("customer_keys")),
            now=now,
            reservoir=reservoir,
        )

    def _seed(self) -> int:
        """Return the seed of the sample.

        A resumed walk has the same seed, so it draws the same sample.
        """
        journal, seed = self.options.get("journal"), self.options.get("seed")
        if seed is None:
            noted = journal.detail_of(_SEED) if journal else None
            seed = secrets.randbits(32) if noted is None else int(noted)
        if journal:
            journal.note(_SEED, _SEED, str(seed))
        return seed

    def _look(self, sources: Sources, decider: Decider) -> None:
        """Examine the versions in parallel, and count their relations to the key."""
        progress = self.options.get("progress")
        outcomes = run(
            sources.items(),
            partial(self._decided, decider),
            most=self.options.get("jobs"),
            is_far=lambda: any(place.objects.is_far for place in sources.places[:1]),
            stops_at=ends_everything,
        )
        for outcome in outcomes:
            if outcome.error is not None:
                bucket = f"s3://{outcome.item.candidate.location.bucket}/"
                self.tally.fail(bucket, reason_of(outcome.error, bucket), "storage")
                # The version could not be examined. It may depend on the key, so it counts in the
                # upper bound of a sample.
                self.sample.add("unknown", outcome.item.size)
            elif outcome.result is None:
                self.gone.add(outcome.item.candidate.location.bucket)
            else:
                self._count(outcome.item, *outcome.result)
            if progress:
                progress(self.tally.looked_at.versions)

    def _decided(self, decider: Decider, item: Item) -> tuple[Decision, int | None] | None:
        """Return the decision about a version and its size. Return None if the version is gone."""
        seen = item.seen or sight_once(
            item.objects,
            item.candidate,
            self.options.get("journal"),
            customer_keys=self.options.get("customer_keys") or (),
        )
        if seen is None:
            return None
        return decider.decide(seen), item.size if seen.size is None else seen.size

    def _settle(self, decider: Decider, rows: Settled) -> None:
        """Count rows that are decided without a request.

        If the caller wants each version (`each`), the rows are counted one by one. Otherwise they
        are counted without creating an object per row.
        """
        decision = decider.decide(rows.seen)
        if self.options.get("each") and decision.kind != "unknown":
            for item in rows.items():
                self._count(item, decision, item.size)
            return
        first = next(rows.items())
        counts = Counts(0, rows.amount.count, rows.amount.size)
        self.tally.add(decision, counts, first.name)

    def _count(self, item: Item, decision: Decision, size: int | None) -> None:
        """Count one version. Pass it to the caller's `each` if it is encrypted under the key."""
        with self.lock:
            self._counted(item, decision, size)

    def _counted(self, item: Item, decision: Decision, size: int | None) -> None:
        self.tally.add(decision, Counts(int(item.is_latest), 1, size or 0), item.name)
        self.sample.add(decision.kind, size)
        each = self.options.get("each")
        if each and decision.kind in ("only", "shared", "replica"):
            at = item.candidate
            kind, mode, others = decision.kind, decision.mode, decision.others
            uri = str(at.location)
            each(Dependent(uri, at.version_id, item.is_latest, kind, mode, size, others))

    def _check_gone(self, services: Services) -> None:
        """Add a failure for each bucket that vanished.

        The versions of such a bucket look as if they had been deleted one by one.
        """
        for name in sorted(self.gone):
            self._regions(services, [name], is_listed=True)

    def _sampled(self, sources: Sources) -> Sampled | None:
        """Return the sample with its bounds. Return None if every version was examined."""
        reservoir = sources.reservoir
        if reservoir is None or len(reservoir.items) == reservoir.seen:
            return None
        sizes = None if sources.unsized else sources.sizes
        return self.sample.bounds(reservoir.seed, reservoir.seen, sizes)


def _by_bucket(tables: Iterator[tuple[str, Table]]) -> dict[str, Table]:
    """Return a dictionary from the buckets to their inventories or exports.

    Raises:
        ConfigError: Two inventories are of the same bucket. Neither inventory can be left out, and
            their common objects must not count twice.
    """
    found: dict[str, Table] = {}
    for bucket, table in tables:
        if bucket in found:
            raise ConfigError(
                f"{found[bucket].source} and {table.source} are both of the bucket {bucket}.",
                hint="Give one of them. A folder or a prefix holds an export of several files.",
            )
        found[bucket] = table
    return found


def _without_nested(uris: Sequence[str]) -> tuple[str, ...]:
    """Return the URIs of the places. A place that is inside another place is left out.

    Raises:
        ConfigError: A URI names an object instead of a bucket or a prefix.
    """
    found: dict[str, None] = {}
    for uri in uris:
        location = Location.parse(uri)
        if not location.is_prefix:
            raise ConfigError(f"{uri} names an object.", hint=f"A prefix ends with a slash: {uri}/")
        found[str(location)] = None
    return tuple(
        uri for uri in found if not any(uri != other and uri.startswith(other) for other in found)
    )


def _others(mine: Sequence[str], places: Sequence[Place]) -> tuple[str, ...]:
    """Return the URIs of the account's buckets that are not completely in the scope."""
    whole = {each.location.bucket for each in places if not each.location.name}
    return tuple(f"s3://{name}/" for name in mine if name not in whole)
