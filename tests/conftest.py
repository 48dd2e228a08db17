# SPDX-License-Identifier: Apache-2.0
"""The sandbox that every test uses over HTTP, and small resources in it."""

from __future__ import annotations

import gc
import http.client
import json
import math
import os
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.client
import botocore.endpoint_provider
import botocore.hooks
import botocore.session
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, settings

from s3crypt import requests
from s3crypt import sandbox as sandboxes
from s3crypt.local import distance

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

# Without byte code, each process that a test starts would compile all its modules anew, which takes
# half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# In the tests a request that keeps failing is given up after two seconds, not after a minute.
os.environ["S3CRYPT_RETRY_SECONDS"] = "2"
# Hundreds of tests break a reply, and no test needs longer pauses between retries.
requests._FIRST_PAUSE_SECONDS = 0.02

# Make files that only their owner can read: other key files would cause a warning in each test.
os.umask(0o077)

# Treat no service as distant: a slow reply of the sandbox would look like a distant service, which
# changes the length of parts. Tests about distant services set the distance themselves.
distance.FAR_SECONDS = math.inf

# The tests make thousands of stores, each with its own session and clients. Without this cache,
# each session would parse 2 MB of JSON that describes S3 and KMS, a third of the tests' time.
# Without the caches below, each client would derive methods, endpoint rules and event names anew.
# Together the caches reduce the time per store from 20 ms to 8 ms.
botocore.session.create_loader = cache(botocore.session.create_loader)


def _by_service(make: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap botocore's `ClientCreator._create_methods`, to make each service's methods once."""
    made: dict[str, dict[str, Any]] = {}

    def create_methods(creator: Any, service_model: Any) -> dict[str, Any]:
        if service_model.service_name not in made:
            made[service_model.service_name] = make(creator, service_model)
        return dict(made[service_model.service_name])

    return create_methods


def _by_rules(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `RuleSet` that parses the same rules once; evaluation does not change them."""
    made: dict[int, tuple[Any, Any]] = {}

    def rule_set(*, rules: list[Any], **others: Any) -> Any:
        # The cached loader always returns the same list. Keep it, so no other list gets its id.
        if id(rules) not in made:
            made[id(rules)] = (rules, make(rules=rules, **others))
        return made[id(rules)][1]

    return rule_set


def _by_name(alias: Callable[..., str]) -> Callable[..., str]:
    """Return an `_alias_event_name` that remembers names for all clients, not per client."""
    known: dict[str, str] = {}

    def alias_event_name(aliaser: Any, event_name: str) -> str:
        if event_name not in known:
            known[event_name] = alias(aliaser, event_name)
        return known[event_name]

    return alias_event_name


for _owner, _name, _remembering in (
    (botocore.client.ClientCreator, "_create_methods", _by_service),
    (botocore.endpoint_provider, "RuleSet", _by_rules),
    (botocore.hooks.EventAliaser, "_alias_event_name", _by_name),
):
    setattr(_owner, _name, _remembering(getattr(_owner, _name)))


# Hypothesis has no deadline, because the time for an example depends on the machine's load.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_QUICK = Config(retries={"total_max_attempts": 1})


@pytest.fixture
def far_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every service appear distant."""
    monkeypatch.setattr(distance, "FAR_SECONDS", -math.inf)


class RequestsLog:
    """The requests to the sandbox: one dictionary per request, oldest first."""

    def __init__(self, running: sandboxes.Running) -> None:
        self._address = urlsplit(running.endpoint_url).netloc
        self._token = {sandboxes.TOKEN_HEADER: running.token}

    def _ask(self, method: str) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        try:
            connection.request(method, "/_s3crypt/requests", headers=self._token)
            return connection.getresponse().read()
        finally:
            connection.close()

    def clear(self) -> None:
        """Forget all requests until now."""
        self._ask("DELETE")

    def list(self) -> list[dict[str, Any]]:
        """Return one dictionary per request, oldest first.

        Its keys are `method`, `path`, `query`, `headers`, `request_bytes`, `status` and
        `response_bytes`.
        """
        entries: list[dict[str, Any]] = json.loads(self._ask("GET"))
        return entries


@pytest.fixture(scope="session", autouse=True)
def sandbox() -> Iterator[sandboxes.Running]:
    """Run a sandbox for this test process, and set the environment variables that select it."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    with sandboxes.running() as running:
        os.environ.update(sandboxes.environment(running))
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """Restore the environment after each test: the command's `run` writes options into it."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def session(sandbox: sandboxes.Running) -> boto3.Session:
    """Return a plain boto3 session, like a user's; the environment selects the sandbox."""
    assert sandbox.endpoint_url == os.environ["AWS_ENDPOINT_URL"]
    return boto3.Session()


@pytest.fixture(scope="session")
def s3(session: boto3.Session) -> Any:
    """Return a raw S3 client without retries."""
    return session.client("s3", config=_QUICK)


@pytest.fixture(scope="session")
def kms(session: boto3.Session) -> Any:
    """Return a raw KMS client without retries."""
    return session.client("kms", config=_QUICK)


@pytest.fixture
def blocked_bucket(s3: Any) -> str:
    """Make a bucket with AWS's defaults: SSE-S3 encrypts objects, and SSE-C is blocked."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def bucket(s3: Any, blocked_bucket: str) -> str:
    """Make a bucket with AWS's defaults that also accepts SSE-C."""
    unblock_ssec(s3, blocked_bucket)
    return blocked_bucket


@pytest.fixture
def versioned_bucket(s3: Any, bucket: str) -> str:
    """Make a bucket with versioning that also accepts SSE-C."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def kms_key(kms: Any) -> str:
    """Make a symmetric key and return its ARN."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    """Return the ARN of a key that no test may change, because making keys takes long."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def new_key(kms: Any) -> str:
    """Make another symmetric key as the target of a rotation, and return its ARN."""
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def requests_log(sandbox: sandboxes.Running) -> RequestsLog:
    """Return the sandbox's log of requests, cleared."""
    log = RequestsLog(sandbox)
    log.clear()
    return log


def unblock_ssec(s3: Any, bucket: str) -> None:
    """Allow SSE-C in `bucket`, and keep AWS's defaults otherwise."""
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


# Tests of the core: sealing, transfers, reading and writing, and servers that differ from AWS.
_CORE = (
    "message/",
    "test_buffers",
    "test_memory",
    "test_read_into",
    "test_garbage",
    "test_ranges",
    "test_reader",
    "test_sandbox",
    "test_store",
    "test_transfer",
    "test_workers",
    "test_writer",
)
# Slow tests that try every case: each benchmark, each tree that fsspec knows, each point of an
# interrupt. Most defects also fail faster tests.
_SLOW = (
    "message/test_candidates.py::test_two_keys_of_one_name",
    "message/test_interop_store.py::test_the_official_sdk_opens_our_objects",
    "message/test_tamper.py::test_every_flipped_bit[0578",
    "test_bad_input.py::test_a_full_disk",
    "test_benchmarks.py::test_a_data_set_is_always_the_same",
    "test_benchmarks.py::test_every_",
    "test_benchmarks.py::test_the_number_of_workers",
    "test_benchmarks.py::test_too_much_memory",
    "test_benchmarks.py::test_two_checkouts",
    "test_bucket_command.py::test_a_killed_run_is_finished_by_another",
    "test_bucket_command.py::test_a_run_killed_at_every_write",
    "test_buffers.py::test_what_is_put_is_what_is_got",
    "test_chaos.py",
    "test_cli_bench.py",
    "test_cli_interrupt.py::test_interrupted_get",
    "test_cli_interrupt.py::test_interrupted_put_of_a_file",
    "test_cli_interrupt.py::test_interrupted_put_of_a_silent_pipe",
    "test_cli_sandbox.py::test_a_sandboxs_life",
    "test_cli_sandbox.py::test_demo_",
    "test_concurrency.py::test_a_store_survives_a_fork",
    "test_concurrency.py::test_an_interrupt_leaves_nothing",
    "test_concurrency.py::test_processes_share_a_bucket",
    "test_conditions.py::test_of_two_writers_of_the_same_bytes_one_succeeds[client]",
    "test_conditions.py::test_of_two_writers_of_the_same_bytes_one_succeeds[sse-s3]",
    "test_copy.py::test_from_every_mode_to_every_mode",
    "test_data_sets.py::test_dask_counts_rows",
    "test_data_sets.py::test_dask_reads_blocks_of_text",
    "test_data_sets.py::test_dask_sends_no_key",
    "test_data_sets.py::test_dask_writes_and_reads_in_workers",
    "test_docs.py::test_a_page_needs_no_other",
    "test_docs.py::test_a_page_needs_no_other",
    "test_errors.py::test_a_result_keeps_its_values[copy]",
    "test_errors.py::test_a_result_keeps_its_values[deepcopy]",
    "test_filesystem_contract.py::TestCopy::test_copy_glob_edge_cases",
    "test_filesystem_contract.py::TestGet::test_get_glob_edge_cases",
    "test_filesystem_contract.py::TestPut::test_put_glob_edge_cases",
    "test_filesystem_requests.py::test_more_is_under_way",
    "test_filesystem_writing.py::test_file_that_is_never_closed",
    "test_habits.py::test_our_line_works",
    "test_help.py::test_the_examples_run",
    "test_inventory.py::test_formats_agree",
    "test_jobs_bad_input.py::test_some_requests_fail",
    "test_kms_regions.py::test_kms_finishes_a_change_in_the_background",
    "test_layers.py::test_every_module_can_be_imported_alone",
    "test_logging.py::test_no_secret_is_logged[client-metadata]",
    "test_logging.py::test_no_secret_is_logged[dsse-kms]",
    "test_logging.py::test_no_secret_is_logged[sse-c]",
    "test_logging.py::test_no_secret_is_logged[sse-kms]",
    "test_logging.py::test_no_secret_is_logged[sse-s3]",
    "test_reader_processes.py::test_a_fork_while_a_thread_reads",
    "test_reader_spans.py::test_very_many_ranges",
    "test_reader_tampered.py::test_a_truncation_on_the_grid",
    "test_reader_threads.py::test_threads_share_a_file",
    "test_redaction.py::test_without_the_filter",
    "test_report.py",
    "test_requests.py::test_a_copy_that_never_answers",
    "test_requests.py::test_a_listing_that_always_breaks",
    "test_requests.py::test_a_put_outlives_a_broken_reply",
    "test_requests.py::test_an_entry_",
    "test_requests.py::test_an_outage_of_a_second_ends_nothing[client]",
    "test_requests.py::test_half_a_reply_of_kms",
    "test_requests.py::test_what_no_service_sends",
    "test_round_trips.py::test_threads_of_the_caller_keep_their_connections",
    "test_sandbox.py::test_a_taken_port",
    "test_sandbox.py::test_nothing_is_kept",
    "test_sandbox.py::test_two_starts_at_once",
    "test_sandbox_events.py::test_lookups_by_each_attribute",
    "test_sandbox_fixture.py::test_what_moto_does",
    "test_store.py::test_a_long_pipe_in_any_frame_length",
    "test_store_failures.py::test_a_reply_that_breaks_within_its_headers",
    "test_store_servers.py::test_a_first_reply_of_other_bytes",
    "test_store_servers.py::test_an_empty_reply_about_tags",
    "test_sync_peers.py::test_what_both_peers_do_is_done",
    "test_whole_checksums.py::test_a_changed_bit_is_refused_wherever_it_is",
    "test_writer.py::test_a_large_object_takes_bounded_memory",
    "test_writer_dropped.py::test_a_block_interrupted_anywhere",
    "test_writer_dropped.py::test_a_file_collected_at_any_line",
    "test_writer_dropped.py::test_a_file_collected_by_a_thread_that_stores_it",
    "test_writer_processes.py::test_a_file_is_not_written_over_a_fork",
    "test_writer_processes.py::test_a_process_that_ends_leaves_no_upload",
)
# `make check-fast` runs these tests, except slow ones: they find most defects per second. They need
# no data tools; the packages of the extra dev-small are sufficient.
_FAST = (
    "message/test_frozen.py::test_frozen",
    "message/test_geometry.py",
    "message/test_header.py",
    "message/test_tamper.py::test_a_f",
    "message/test_tamper.py::test_frames",
    "test_architecture.py",
    "test_cache.py",
    "test_ci.py",
    "test_configuration.py",
    "test_development.py",
    "test_docs.py::test_a_page_with",
    "test_docs.py::test_links",
    "test_docs.py::test_package",
    "test_errors.py",
    "test_files.py",
    "test_filters.py",
    "test_hardening_decisions.py",
    "test_help.py::test_the_reference",
    "test_impact_decisions.py",
    "test_job_targets.py",
    "test_key_files.py",
    "test_key_judgements.py",
    "test_kms_clearance.py",
    "test_layers.py::test_imports_go",
    "test_layers.py::test_other_packages",
    "test_layers.py::test_the_library",
    "test_local_files.py",
    "test_modes.py",
    "test_object_judgements.py",
    "test_options.py::test_another",
    "test_policy_conditions.py",
    "test_policy_controls.py",
    "test_policy_documents.py",
    "test_policy_evaluation.py",
    "test_policy_key_rights.py",
    "test_policy_lockout.py",
    "test_policy_merging.py",
    "test_refusals.py",
    "test_remedies.py::test_every",
    "test_remedies.py::test_the_command",
    "test_store.py::test_s3_never",
)
# These tests need features of Python 3.12.
_NEWER = ("test_garbage.py",)
# Slow tests of the core that do not depend on the Python version. .ci/run runs them on one version
# only.
_ON_ONE_PYTHON = (
    "message/test_candidates.py::test_two_keys_of_one_name",
    "message/test_interop_store.py::test_the_store_opens_their_objects",
    "message/test_sealing.py::test_every_boundary",
    "message/test_tamper.py",
    "test_ranges.py",
    "test_reader_processes.py::test_a_process_does_not_wait",
    "test_reader_requests.py",
    "test_reader_tampered.py",
    "test_sandbox.py::test_a_private_sandbox_dies",
    "test_sandbox.py::test_a_started_sandbox",
    "test_sandbox.py::test_bodies_are_held_in_memory",
    "test_sandbox.py::test_starts_once",
    "test_sandbox.py::test_the_server_is_of_this_checkout",
    "test_sandbox.py::test_the_state_file",
    "test_sandbox.py::test_two_checkouts",
    "test_sandbox.py::test_without_a_token",
    "test_sandbox_",
    "test_store.py::test_every_mode_gives_back_every_size",
    "test_store.py::test_every_source_is_read",
    "test_store_failures.py",
    "test_store_objects.py",
    "test_store_requests.py",
    "test_store_servers.py",
    "test_store_strict.py",
    "test_transfer.py::test_a_broken_connection",
    "test_transfer_copy.py",
    "test_writer.py::test_a_large_object_is_sent",
    "test_writer.py::test_what_is_written_is_stored",
    "test_writer_dropped.py::test_a_wrapper_dropped",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, do not import the files that have no such test."""
    if config.getoption("-m") != "fast" or collection_path.suffix != ".py":
        return None
    tests = Path(__file__).parent
    name = str(collection_path.relative_to(tests)) if collection_path.is_relative_to(tests) else ""
    return None if name.startswith(tuple(each.partition("::")[0] for each in _FAST)) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the core, the fast tests and the slow tests, by their files."""
    tests = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(tests):
            continue
        name = f"{item.path.relative_to(tests)}::{item.nodeid.partition('::')[2]}"
        if name.startswith(_SLOW) or (sys.version_info < (3, 12) and name.startswith(_NEWER)):
            item.add_marker("slow")
            # A busy machine may need ten times as long; a hang is still detected.
            item.add_marker(pytest.mark.timeout(1800))
            continue
        if name.startswith(_CORE) and not name.startswith(_ON_ONE_PYTHON):
            item.add_marker("core")
        if name.startswith(_FAST):
            item.add_marker("fast")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from searching the modules and tests, which all stay.

    Without this, collecting the tests takes twice as long, and each gc.collect() in a test takes
    most of a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Make the run fail if a test was skipped that the project's CI must run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and os.environ.get("S3CRYPT_REQUIRE_ALL_TESTS") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
