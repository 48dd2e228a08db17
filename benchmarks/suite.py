# SPDX-License-Identifier: Apache-2.0
"""Fixtures and hooks of the benchmark files: sizes, data, servers, and fields of the JSON."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import nullserver
import operation
import peers
import pytest
import workload

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from s3crypt import AESKeyring

# A round takes at least these seconds. Shorter rounds would measure mostly the clock.
_ROUND_SECONDS = 0.05
_TINY_SIZE = 8 * 2**20


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for tiny sizes."""
    parser.addoption(
        "--tiny", action="store_true", help="tiny sizes, one round: only whether it runs"
    )


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the machine and all versions to every JSON file."""
    del config
    machine_info["s3crypt"] = machine.describe()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out large cases with `--tiny`."""
    if not config.getoption("--tiny"):
        return
    large = [
        item
        for item in items
        if isinstance(item, pytest.Function) and int(parameters(item).get("size", 0)) > _TINY_SIZE
    ]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


def parameters(item: pytest.Function) -> dict[str, Any]:
    """Return the parameters of a case by name."""
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a case whose peer is missing; the message names the peer."""
    try:
        yield
    except (peers.MissingPeerError, nullserver.NullServerError) as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def tiny(pytestconfig: pytest.Config) -> bool:
    """Return whether `--tiny` was given: then the figures mean nothing."""
    return bool(pytestconfig.getoption("--tiny"))


@dataclass(frozen=True, slots=True)
class Measure:
    """Measures one piece of work in rounds.

    Attributes:
        benchmark: pytest-benchmark's fixture.
        tiny: Do the work only once, in one round.
    """

    benchmark: BenchmarkFixture
    tiny: bool

    def __call__(
        self,
        work: Callable[[], object],
        *,
        group: str,
        size: int = 0,
        rounds: int = 11,
        before: Callable[[], None] | None = None,
        **more: object,
    ) -> None:
        """Run the work in rounds.

        Args:
            work: The function that is measured.
            group: The table that the case belongs to.
            size: Plaintext bytes of the work.
            rounds: The number of rounds; five are enough for long work.
            before: Called before each round; each round then does the work only once.
            more: Further fields of the JSON.
        """
        self.benchmark.group = group
        self.benchmark.extra_info.update(more, bytes=size)
        once = self.tiny or before is not None
        self.benchmark.pedantic(  # type: ignore[no-untyped-call]  # it has no annotations
            work,
            setup=before,
            rounds=1 if self.tiny else rounds,
            warmup_rounds=0 if self.tiny else 1,
            iterations=1 if once else _iterations(work),
        )


def _iterations(work: Callable[[], object]) -> int:
    work()
    started = time.perf_counter()
    work()
    return max(1, int(_ROUND_SECONDS / (time.perf_counter() - started)))


@pytest.fixture
def measure(benchmark: BenchmarkFixture, tiny: bool) -> Measure:
    """Return a function that measures work."""
    return Measure(benchmark, tiny)


@pytest.fixture(scope="session")
def keyring() -> AESKeyring:
    """Return the keyring that all benchmarks use."""
    return operation.keyring()


@pytest.fixture(scope="session")
def folder(tiny: bool) -> Iterator[Path]:
    """Make a folder, in memory if there is enough of it."""
    parent = workload.memory_folder(2**20 if tiny else 8 * 2**30)
    with tempfile.TemporaryDirectory(prefix="s3crypt-bench-", dir=parent) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[sandboxes.Running]:
    """Run a sandbox, and let the environment of this process lead to it."""
    before = dict(os.environ)
    with sandboxes.running() as running:
        os.environ.update(sandboxes.environment(running))
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture(scope="session")
def null_server(folder: Path) -> Iterator[nullserver.NullServer]:
    """Run a null server over http and https. Its objects have no headers of their own."""
    with nullserver.running(folder) as server:
        yield server
