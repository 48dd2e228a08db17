# SPDX-License-Identifier: Apache-2.0
"""The measured machine: its CPU, the CPU's features, and the versions of the software."""

import os
import platform
import ssl
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import s3crypt

_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")
# CPU features that accelerate AES-GCM, CRCs and SHA-256, on x86-64 and on ARM.
_FLAGS = {
    "flags": ("aes", "vaes", "pclmulqdq", "vpclmulqdq", "avx2", "avx512f", "sha_ni"),
    "Features": ("aes", "pmull", "crc32", "sha2", "sha3", "sve", "sve2"),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """The properties of the machine that affect the figures.

    Attributes:
        cores: The number of cores that this process may use.
        flags: The relevant CPU features, and whether the CPU has each.
        others: The average number of cores that other processes used during the measurement;
            None if unknown.
    """

    cpu: str
    cores: int
    memory: int | None
    system: str
    flags: dict[str, bool] = field(default_factory=dict)
    others: float | None = None


def describe(others: float | None = None) -> Machine:
    """Describe this machine."""
    cpuinfo = _cpuinfo()
    return Machine(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        memory=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        flags={
            name: name in cpuinfo[line].split()
            for line, names in _FLAGS.items()
            if line in cpuinfo
            for name in names
        },
        others=others,
    )


class Others:
    """Measures the CPU time of other processes, and of other guests of the same host."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def cores(self) -> float | None:
        """Return the average number of cores that others used since this object was created.

        Return None if the system does not report the CPU time.
        """
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        taken = busy - self._busy - (_own_seconds() - self._own)
        return round(max(0.0, taken) / (time.perf_counter() - self._started), 2)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of the software that is measured."""
    found = {"python": platform.python_version(), "s3crypt": s3crypt.__version__}
    for package in ("cryptography", "boto3", "botocore", "awscrt"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
        if package == "cryptography":
            found["openssl of cryptography"] = _openssl()
    return found | {"openssl of python": ssl.OPENSSL_VERSION}


def _busy_seconds() -> float | None:
    """Return the total non-idle time of all CPUs; Linux only."""
    try:
        first = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        ticks = [int(count) for count in first[1:9]]
        # user, nice, system, idle, iowait, irq, softirq, steal
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import (  # noqa: PLC0415 - only this names it
        backend,
    )

    return str(backend.openssl_version_text())


def _cpuinfo() -> dict[str, str]:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
