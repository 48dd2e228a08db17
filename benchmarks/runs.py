# SPDX-License-Identifier: Apache-2.0
"""The work that is measured: runs of frames, by s3crypt and by the bare cipher, copies, checksums.

All buffers are made and touched beforehand, so the figures contain only the work.
"""

import io
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from awscrt import checksums
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt import AESKeyring
from s3crypt.message import Opener, Sealer, read_header

# The plaintext bytes of a run, as many as a part of a transfer has.
RUN = 8 * 2**20
_TAG = 16
# The number of sequence numbers of a message that each thread may use.
_NUMBERS_A_THREAD = 2**27

Work = Callable[[], object]


def keyring() -> AESKeyring:
    """Return a keyring whose key is made up."""
    return AESKeyring("benchmark", "memory", bytes(32))


def plaintext(size: int) -> bytearray:
    """Return `size` bytes of memory that the kernel has already allocated."""
    return bytearray(b"\x5a") * size


def _bare(size: int, frame_length: int) -> tuple[AESGCM, list[memoryview], list[memoryview]]:
    stride = frame_length + _TAG
    count = size // frame_length
    plain, sealed = memoryview(plaintext(size)), memoryview(plaintext(count * stride))
    return (
        AESGCM(bytes(32)),
        [plain[at * frame_length :][:frame_length] for at in range(count)],
        [sealed[at * stride :][:stride] for at in range(count)],
    )


def bare_seal(size: int, frame_length: int) -> Work:
    """Return the least work of sealing: one AES-GCM call per frame, with a fixed IV and AAD."""
    cipher, plain, sealed = _bare(size, frame_length)
    iv = bytes(12)

    def work() -> None:
        for source, target in zip(plain, sealed, strict=True):
            cipher.encrypt_into(iv, source, b"", target)

    return work


def bare_open(size: int, frame_length: int) -> Work:
    """Return the least work of opening: one AES-GCM call per frame, with a fixed IV and AAD."""
    cipher, plain, sealed = _bare(size, frame_length)
    iv = bytes(12)
    for source, target in zip(plain, sealed, strict=True):
        cipher.encrypt_into(iv, source, b"", target)

    def work() -> None:
        for source, target in zip(sealed, plain, strict=True):
            cipher.decrypt_into(iv, source, b"", target)

    return work


class _Seal:
    """Seals the same plaintext at each call, as further frames of one endless message."""

    def __init__(self, sealer: Sealer, size: int, first: int) -> None:
        self._sealer = sealer
        self._next = first
        self._count = size // sealer.geometry.frame_length
        self._plain = memoryview(plaintext(size))
        self._sealed = memoryview(plaintext(self._count * sealer.geometry.stride))

    def __call__(self) -> None:
        self._sealer.seal(self._plain, self._sealed, first=self._next, is_final=False)
        self._next += self._count


def seals(size: int, frame_length: int, *, threads: int = 1, signed: bool = False) -> list[Work]:
    """Return, for each thread, s3crypt's work of sealing a run. All runs are of one message."""
    sealer = Sealer(keyring(), frame_length=frame_length, signed=signed)
    return [
        _Seal(sealer, size, 1 + thread * _NUMBERS_A_THREAD * (threads > 1))
        for thread in range(threads)
    ]


def opens(size: int, frame_length: int, *, threads: int = 1, signed: bool = False) -> list[Work]:
    """Return, for each thread, s3crypt's work of opening a run. All runs are of one message."""
    sealer = Sealer(keyring(), frame_length=frame_length, signed=signed)
    count = size // frame_length
    header = read_header(io.BytesIO(sealer.header))
    opener = Opener(header, keyring())

    def opens(first: int) -> Work:
        plain = memoryview(plaintext(size))
        sealed = memoryview(plaintext(count * sealer.geometry.stride))
        sealer.seal(plain, sealed, first=first, is_final=False)
        return lambda: opener.open(sealed, plain, first=first)

    return [opens(1 + thread * count) for thread in range(threads)]


def in_turn(works: list[Work], times: int) -> Work:
    """Return a function that does all works `times` times in the calling thread."""

    def work() -> None:
        for _ in range(times):
            for each in works:
                each()

    return work


def side_by_side(pool: ThreadPoolExecutor, works: list[Work], times: int) -> Work:
    """Return a function that does each work in a thread of its own, `times` times."""
    shares = [in_turn([each], times) for each in works]

    def work() -> None:
        for done in [pool.submit(share) for share in shares]:
            done.result()

    return work


def memcpy(size: int) -> Work:
    """Return the work of copying `size` bytes in memory."""
    source, target = memoryview(plaintext(size)), memoryview(plaintext(size))

    def work() -> None:
        target[:] = source

    return work


def checksum(name: str, size: int) -> Work:
    """Return the work of one checksum of `size` bytes: CRC-64/NVME, CRC-32C or zlib's CRC-32."""
    data = plaintext(size)
    functions: dict[str, Callable[[bytearray], int]] = {
        "CRC-64/NVME": checksums.crc64nvme,
        "CRC-32C": checksums.crc32c,
        "CRC-32": zlib.crc32,
    }
    function = functions[name]
    return lambda: function(data)
