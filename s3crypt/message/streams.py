# SPDX-License-Identifier: Apache-2.0
"""Encrypt and decrypt messages, as streams and in one piece.

A source is any object with a `read` method.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from s3crypt.errors import FormatError, IntegrityError, Remedy, S3CryptError, StorageError
from s3crypt.framing import Layout, Run
from s3crypt.local.buffers import build, reserve
from s3crypt.local.readers import ByteReader, read_exactly, read_into
from s3crypt.local.sources import as_bytes

from .frames import (
    BLOCK_OVERHEAD,
    DEFAULT_FRAME_LENGTH,
    MAX_BLOCK_LENGTH,
    MAX_FOOTER_LENGTH,
    Opener,
    Sealer,
    final_frame_length,
    is_final,
)
from .geometry import FINAL_FRAME_OVERHEAD, FRAME_OVERHEAD, Geometry
from .header import (
    MAX_EDKS,
    MAX_FRAME_LENGTH,
    MAX_HEADER_LENGTH,
    Header,
    read_header,
)
from .keys import Keyring, check_keyring

# Frames are sealed and opened in runs of about this many bytes. A run is small enough for a CPU's
# cache, and large enough to contain many short frames, so the cost of a call does not matter.
_RUN = 2**20
_LONG_MESSAGE, _LONG_FRAME = 16 * 2**20, 64 * 2**10
# The first byte of the four bytes that mark a final frame.
_MARKED = 0xFF
_NO_COPY = "A message that is being sealed cannot be copied. Create another reader."


def encrypt(
    data: bytes | bytearray | memoryview,
    keyring: Keyring,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    frame_length: int = DEFAULT_FRAME_LENGTH,
) -> bytes:
    """Return `data` as one AWS Encryption SDK message (format 2, key commitment).

    Args:
        data: The plaintext, of any length.
        keyring: The keyring that wraps the message's data key.
        context: Pairs that are bound to the message. The message contains them *unencrypted*.
        signed: Add an ECDSA P-384 signature over the whole message.
        frame_length: The number of plaintext bytes of a frame. A multiple of 128.

    Raises:
        ConfigError: The frame length or the context is invalid.
        KeyUnavailableError: A wrapping key cannot be used.
    """
    plaintext = as_bytes(data)
    sealer = Sealer(
        keyring,
        context=context,
        signed=signed,
        frame_length=frame_length,
        plaintext_length=len(plaintext),
    )
    start = len(sealer.header)
    end = sealer.geometry.message_length(len(plaintext))

    def seal(run: Run, message: memoryview) -> None:
        frames = plaintext[run.plaintext_offset : run.last * frame_length]
        sealer.seal(frames, message[run.start :], first=run.first, is_final=run.is_final)

    def fill(message: memoryview) -> None:
        message[:start] = sealer.header
        if signed or not _is_long(end, sealer.geometry):
            sealer.seal(plaintext, message[start:end], first=1, is_final=True)
        else:
            _side_by_side(end, sealer.geometry, lambda run: seal(run, message))
        message[end:] = sealer.footer()

    return build(end + sealer.footer_length, fill)


def decrypt(  # noqa: PLR0913 - keyword arguments for demands and limits
    data: bytes | bytearray | memoryview,
    keyring: Keyring,
    *,
    context: Mapping[str, str] | None = None,
    signed: bool = False,
    allow_uncommitted: bool = False,
    max_edks: int = MAX_EDKS,
    max_frame_length: int = MAX_FRAME_LENGTH,
) -> bytes:
    """Return the plaintext of one complete message. All of it is verified.

    Args:
        data: The message, written by any AWS Encryption SDK.
        keyring: The keyring that unwraps the message's data key.
        context: Pairs that the message's encryption context must contain. The message need not
            store a pair if its writer authenticated it (a required context key of the official
            SDK). Any other missing pair raises an IntegrityError.
        signed: Whether the message must be signed. If False, a signature is verified only if there
            is one, and everyone with the key can write a message without a signature.
        allow_uncommitted: Whether to read messages without key commitment. An attacker can make
            such a message decrypt to different plaintexts under two keys. Set it only for trusted
            writers.
        max_edks: The maximum number of wrapped data keys. Each may cause a request to KMS.
        max_frame_length: The maximum number of plaintext bytes in a frame.

    Raises:
        IntegrityError: The message was changed or truncated, the key or the context is wrong, or
            bytes follow the message.
        FormatError: The data is not a message, or exceeds a limit.
        PolicyError: The message has no key commitment, or has no signature although one is
            required.
        KeyUnavailableError: The wrapping key cannot be used.
    """
    message = as_bytes(data)
    source = io.BytesIO(message[:MAX_HEADER_LENGTH])
    header = read_header(source, max_edks=max_edks, max_frame_length=max_frame_length)
    if header.is_in_order:
        # Such a message is read in order, because only the reader finds the end of its body.
        source = io.BytesIO(data)
        source.seek(len(header))
        with DecryptingReader(
            source,
            keyring,
            context=context,
            signed=signed,
            allow_uncommitted=allow_uncommitted,
            max_frame_length=max_frame_length,
            header=header,
        ) as reader:
            return reader.readall()
    opener = Opener(
        header, keyring, context=context, signed=signed, allow_uncommitted=allow_uncommitted
    )
    geometry = opener.geometry
    size = geometry.plaintext_length(len(message))
    if not _is_long(len(message), geometry):
        body = message[len(header) :]
        return build(size, lambda out: opener.open(body, out, first=1, is_final=True))

    def open_run(run: Run, plaintext: memoryview) -> None:
        frames, out = message[run.start : run.end], plaintext[run.plaintext_offset :]
        opener.open(frames, out, first=run.first, is_final=run.is_final)

    def fill(plaintext: memoryview) -> None:
        _side_by_side(len(message), geometry, lambda run: open_run(run, plaintext))

    return build(size, fill)


def _is_long(size: int, geometry: Geometry) -> bool:
    """Return whether a message is processed faster by two threads.

    A third thread would only wait for the memory bus.
    """
    # The cipher releases the interpreter's lock only for long frames.
    return size >= _LONG_MESSAGE and geometry.frame_length >= _LONG_FRAME


def _side_by_side(size: int, geometry: Geometry, work: Callable[[Run], None]) -> None:
    """Call `work` for both halves of a message in parallel. Raise the first error."""
    first, second = _halves(geometry.layout(size))
    if second is None:
        work(first)
        return
    with ThreadPoolExecutor(1) as pool:
        try:
            other = pool.submit(work, second)
        except RuntimeError:
            # No thread can be started, because of a limit or because the interpreter is exiting.
            work(first)
            work(second)
            return
        work(first)
        other.result()


def _halves(layout: Layout) -> tuple[Run, Run | None]:
    """Return the two halves of a message.

    The second half is None if it would have no plaintext. The first half is then the whole message.
    """
    length, frame_length = layout.plaintext_length, layout.frame_length
    middle = -(-length // (2 * frame_length)) * frame_length
    # The final frame may be empty. A range that extends beyond the plaintext includes it.
    if middle >= length:
        return layout.covering(0, length + 1), None
    return layout.covering(0, middle), layout.covering(middle, length + 1)


class _Runs:
    """Returns the bytes of an iterator's runs. After a failed read, every later read fails, too.

    An unknown number of the source's bytes were lost in a failed read. A later read must not return
    the bytes after the lost bytes, and must not report the end.
    """

    def __init__(self, runs: Iterator[memoryview]) -> None:
        self._runs = runs
        self._pending = memoryview(b"")
        self._failure: BaseException | None = None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        view = memoryview(buffer).cast("B")
        while len(view) and not len(self._pending) and self._advance():
            pass
        taken = min(len(self._pending), len(view))
        view[:taken] = self._pending[:taken]
        self._pending = self._pending[taken:]
        return taken

    def readall(self) -> bytes:
        rest = io.BytesIO()
        rest.write(self._pending)
        while self._advance():
            rest.write(self._pending)
        return rest.getvalue()

    def _advance(self) -> bool:
        """Get the next run into `_pending`. Return False at the end."""
        self._pending = memoryview(b"")
        if isinstance(self._failure, S3CryptError):
            raise self._failure
        if self._failure:
            raise StorageError("An earlier read failed, so this stream cannot continue.") from (
                self._failure
            )
        try:
            run = next(self._runs, None)
        except BaseException as failure:
            self._failure = failure
            raise
        self._pending = run or self._pending
        return run is not None


class EncryptingReader(io.RawIOBase):
    """The encrypted message of a plaintext source, as a binary file. The memory is bounded.

    Args:
        source: The plaintext. It is read once, from its current position to its end. It is not
            closed.
        keyring: The keyring that wraps the message's data key.
        length: The plaintext length. None if it is unknown. If the source has another length, a
            StorageError is raised.
        context: Pairs that are bound to the message. The message contains them *unencrypted*.
        signed: Add a signature over the whole message.
        frame_length: The number of plaintext bytes of a frame. A multiple of 128.

    The reader cannot be copied, and can be read only in the process that made it, for the same
    reason as a `Sealer`.

    Raises:
        StorageError: Raised by a read if the source does not have the length `length`, or if an
            earlier read failed.
        ConfigError: Raised by a read if the process was forked after the reader was made.
    """

    def __init__(
        self,
        source: ByteReader,
        keyring: Keyring,
        *,
        length: int | None = None,
        context: Mapping[str, str] | None = None,
        signed: bool = False,
        frame_length: int = DEFAULT_FRAME_LENGTH,
    ) -> None:
        super().__init__()
        self._source = source
        self._length = length
        self._sealer = Sealer(
            keyring,
            context=context,
            signed=signed,
            frame_length=frame_length,
            plaintext_length=length,
        )
        self._runs = _Runs(self._seal())

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes of the message into `buffer`.

        Return their number, or 0 at the end.
        """
        self._sealer.check_process()
        return self._runs.readinto(buffer)

    def readall(self) -> bytes:
        """Return all remaining bytes of the message."""
        self._sealer.check_process()
        return self._runs.readall()

    def __copy__(self) -> NoReturn:
        raise TypeError(_NO_COPY)

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError(_NO_COPY)

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_COPY)

    def _seal(self) -> Iterator[memoryview]:
        yield memoryview(self._sealer.header)
        geometry = self._sealer.geometry
        frames = max(1, _RUN // geometry.frame_length)
        run = frames * geometry.frame_length
        # The buffer has room for one byte more than a run. If this byte is not filled, the source
        # has ended, so the run contains the final frame.
        plain = reserve(run + 1)
        sealed = reserve(frames * geometry.stride + FINAL_FRAME_OVERHEAD)
        read, held, sequence, is_last = 0, 0, 1, False
        while not is_last:
            count = read_into(self._source, plain[held:])
            read, held = read + count, held + count
            is_last = held <= run
            if is_last and self._length not in (None, read):
                raise StorageError(
                    f"The source gave {read} bytes, not the {self._length} announced."
                )
            written = self._sealer.seal(
                plain[: min(held, run)], sealed, first=sequence, is_final=is_last
            )
            yield sealed[:written]
            plain[0], held = plain[run], 1
            sequence += frames
        yield memoryview(self._sealer.footer())


class DecryptingReader(io.RawIOBase):
    """The plaintext of an encrypted message, as a binary file. The memory is bounded.

    Every byte that the reader returns comes from a verified frame. Only at the end is it certain
    that the message is *complete* and that its signature is valid: the plaintext of the final frame
    is returned after the footer has been verified, and a changed or truncated message raises an
    error instead of ending. Do not act on the plaintext before the end. `close` before the end
    raises no error, and leaves the rest unverified.

    If another writer wrote the body as one block without frames, its plaintext is returned after
    the whole block has been verified. Therefore `max_frame_length` limits the length of a block,
    too.

    If `signed`, the message must have a signature, as in `decrypt`. `header` is the message's
    header if the caller has already read it from `source`; otherwise None.

    Attributes:
        header: The verified header.
        context: The verified encryption context. It includes the pairs that the message does not
            store.

    Raises:
        IntegrityError, FormatError, PolicyError, KeyUnavailableError: For the reasons that
            `decrypt` documents. The constructor raises the errors about the header, and reads raise
            the other errors.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments for limits
        self,
        source: ByteReader,
        keyring: Keyring,
        *,
        context: Mapping[str, str] | None = None,
        signed: bool = False,
        allow_uncommitted: bool = False,
        max_edks: int = MAX_EDKS,
        max_frame_length: int = MAX_FRAME_LENGTH,
        header: Header | None = None,
    ) -> None:
        super().__init__()
        check_keyring(keyring)
        header = header or read_header(source, max_edks=max_edks, max_frame_length=max_frame_length)
        self._opener = Opener(
            header, keyring, context=context, signed=signed, allow_uncommitted=allow_uncommitted
        )
        self._source = source
        self._max_block = min(max_frame_length, MAX_BLOCK_LENGTH)
        self._plain = memoryview(b"")
        self._sealed = memoryview(b"")
        self._held = 0
        self._runs = _Runs(self._open())

    @property
    def opener(self) -> Opener:
        """Return the opener of the frames.

        A caller can fetch and open frames in its own order with it.
        """
        return self._opener

    @property
    def header(self) -> Header:
        """Return the verified header."""
        return self._opener.header

    @property
    def context(self) -> Mapping[str, str]:
        """Return the verified encryption context."""
        return self._opener.context

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read verified bytes into `buffer`. Return their number, or 0 after the verified end."""
        return self._runs.readinto(buffer)

    def readall(self) -> bytes:
        """Return the rest of the plaintext. All of it is verified."""
        return self._runs.readall()

    def _open(self) -> Iterator[memoryview]:
        length = self.header.frame_length
        if not length:
            yield self._open_block()
            return
        stride = length + FRAME_OVERHEAD
        frames = max(1, _RUN // stride)
        self._plain = reserve(frames * length)
        # After the last regular frame of a run, there is room for the final frame and the footer.
        self._sealed = reserve(frames * stride + FINAL_FRAME_OVERHEAD + MAX_FOOTER_LENGTH)
        sequence = 1
        while True:
            self._fill()
            count = self._regular_frames(stride, frames)
            if not count:
                break
            run = count * stride
            written = self._opener.open(self._sealed[:run], self._plain, first=sequence)
            yield self._plain[:written]
            self._drop(run)
            sequence += count
        yield self._open_final(sequence)

    def _regular_frames(self, stride: int, limit: int) -> int:
        """Return the number of complete regular frames in the buffer."""
        count = min(self._held // stride, limit)
        for index in range(count):
            # The first byte of most sequence numbers differs from the mark of the final frame, so
            # one comparison is usually enough.
            start = index * stride
            if self._sealed[start] == _MARKED and is_final(self._sealed[start : start + 4]):
                return index
        return count

    def _open_final(self, sequence: int) -> memoryview:
        if self._held < FINAL_FRAME_OVERHEAD:
            raise IntegrityError("The message ends within its final frame.")
        if not is_final(self._sealed):
            raise IntegrityError("The message ends before its final frame.")
        length = final_frame_length(self._sealed)
        if length > self.header.frame_length + FINAL_FRAME_OVERHEAD:
            raise IntegrityError("The final frame is longer than its message's frames.")
        frame = self._sealed[: min(length, self._held)]
        written = self._opener.open_final(frame, self._plain, sequence=sequence)
        return self._finish(self._sealed[length : self._held], self._plain[:written])

    def _open_block(self) -> memoryview:
        start = read_exactly(self._source, 20)
        length = int.from_bytes(start[12:20])
        if length > self._max_block:
            raise FormatError(
                f"A body of {length} bytes in one block; at most {self._max_block} are read.",
                remedy=Remedy("raise_max_frame_length", max_frame_length=length),
            )
        block = start + read_exactly(self._source, length + BLOCK_OVERHEAD - len(start))
        plain = reserve(length)
        written = self._opener.open_block(memoryview(block), plain)
        return self._finish(read_exactly(self._source, MAX_FOOTER_LENGTH + 1), plain[:written])

    def _finish(self, footer: bytes | memoryview, plaintext: memoryview) -> memoryview:
        """Verify the footer, and then return the last plaintext of the body."""
        self._opener.verify_footer(bytes(footer))
        return plaintext

    def _fill(self) -> None:
        """Read from the source until the buffer is full or the source has ended."""
        self._held += read_into(self._source, self._sealed[self._held :])

    def _drop(self, count: int) -> None:
        """Remove the first `count` bytes from the buffer."""
        rest = bytes(self._sealed[count : self._held])
        self._sealed[: len(rest)] = rest
        self._held = len(rest)
