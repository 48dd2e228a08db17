# SPDX-License-Identifier: Apache-2.0
"""Describe the machine and all versions, for every JSON file of the suite."""

import importlib.metadata
import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers

# The CPU flags of instructions that make AES-GCM and checksums fast. Other flags do not matter
# here.
_FLAGS = {
    *("aes", "vaes", "pclmulqdq", "vpclmulqdq", "ssse3", "sse4_1", "sse4_2", "avx", "avx2"),
    *("avx512f", "avx512bw", "avx512vl", "bmi2", "adx", "sha_ni", "gfni"),
    *("pmull", "sha1", "sha2", "sha3", "crc32", "asimd", "sve"),  # arm64's names
}
_OURS = ("s3crypt", "cryptography", "boto3", "botocore", "s3transfer", "urllib3", "awscrt")


def describe() -> dict[str, Any]:
    """Return the processor, the system, and the versions of all programs and packages."""
    processor = _cpuinfo()
    flags = processor.get("flags", processor.get("Features", "")).split()
    return {
        "cpu": processor.get("model name") or platform.processor() or platform.machine(),
        "flags": sorted(_FLAGS.intersection(flags)),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory(),
        "system": platform.platform(),
        "python": sys.version.partition(" ")[0],
        "openssl": _openssl(),
        "versions": {name: _version(name) for name in _OURS},
        "peers": peers.found(),
        "where": "loopback, one machine: not AWS",
    }


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _openssl() -> str | None:
    """Return the version of the OpenSSL in `cryptography`. A child process imports the package."""
    asks = (
        "from cryptography.hazmat.backends.openssl.backend import backend;"
        "print(backend.openssl_version_text())"
    )
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def claim_memory(length: int) -> None:
    """Touch `length` bytes of memory and free them, so the next measurement finds them ready.

    A virtual machine may return free memory to its host within seconds. The next process that
    touches the memory then waits for every page: on one machine 2.5 s per GiB, ten times as long as
    the measured work.
    """
    with mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        # The memory is in large pages, from which the kernel can serve later requests for any
        # pages.
        memory.madvise(mmap.MADV_HUGEPAGE)
        for position in range(0, length, mmap.PAGESIZE):
            memory[position] = 1
