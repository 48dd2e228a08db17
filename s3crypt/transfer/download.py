# SPDX-License-Identifier: Apache-2.0
"""Download objects: sections are fetched, opened in runs, and written in place or in order."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import BinaryIO, Protocol

from s3crypt.aws import is_far
from s3crypt.errors import StorageError
from s3crypt.framing import Layout, Run, RunOpener
from s3crypt.local.buffers import RUN_LENGTH, Buffers
from s3crypt.local.files import write_at
from s3crypt.local.width import FAR
from s3crypt.local.workers import Resources, check_stop, each

from .parts import PART_LENGTH
from .stream import ObjectStream
from .upload import Progress
from .whole import Whole

# The memory of a worker's buffers: the received pieces of a run, the joined pieces, and the
# plaintext.
_WORKER_LENGTH = 3 * 2**20


def download(
    stream: ObjectStream,
    opener: RunOpener | None,
    target: BinaryIO,
    *,
    resources: Resources,
    progress: Progress | None,
) -> int:
    """Write the object's plaintext to `target`, each section at its offset. Return its length.

    Every frame is verified before it is written, including the final frame. The file is complete
    when this function returns, and must not be used before. An object that S3 decrypts has no
    frames. Its bytes are compared with S3's checksum at the end, if S3 has a checksum.

    Args:
        stream: The object. It is read up to its first frame; without an opener, it is not read yet.
        opener: Opens the object's frames. None if the stored bytes are the plaintext.
        target: A regular file, which must be empty.
        resources: The limits of threads and memory.
        progress: Is called with the number of plaintext bytes after each write.

    Raises:
        IntegrityError: A frame could not be verified, the length does not fit a message, or the
            checksum differs.
        StorageError: S3 refused or failed, or the object was replaced during the download.
    """
    layout = _layout(stream, opener)
    whole = Whole(stream, is_compared=opener is None)
    to = _InPlace(target.fileno(), layout, opener, whole, progress)
    # The first request already fetches the first sections, so small objects need no other request.
    at_once, later = _by_first_request(layout, min(stream.size, PART_LENGTH))
    if not at_once:
        stream.close()

    def write_at_once(buffers: Buffers) -> None:
        with closing(stream):
            for section in at_once:
                to.write(section, stream, buffers)

    def fetch_section(section: Run, buffers: Buffers) -> None:
        if section in at_once:
            write_at_once(buffers)
            return
        with closing(stream.section(section.start, section.end)) as source:
            to.write(section, source, buffers)

    with resources.memory.share(min(_WORKER_LENGTH, stream.size)):
        check_stop()
        if later is None:
            write_at_once(Buffers())
        else:
            items = chain(at_once[:1], _shorter_at_the_end(layout, later, stream))
            _fetch_each(items, fetch_section, stream, resources)
    to.check_whole()
    whole.verify()
    return layout.plaintext_length


class _InPlace:
    """The target file. Several threads write sections of the object to it, each at its offset."""

    def __init__(
        self,
        descriptor: int,
        layout: Layout,
        opener: RunOpener | None,
        whole: Whole,
        progress: Progress | None,
    ) -> None:
        self._descriptor = descriptor
        self._layout = layout
        self._opener = opener
        self._whole = whole
        self._progress = progress
        self._lock = threading.Lock()
        self._written = 0

    def write(self, section: Run, source: ObjectStream, buffers: Buffers) -> None:
        """Fetch a section in runs, open each run, and write its plaintext."""
        for run in self._layout.runs(RUN_LENGTH, within=section):
            plain = _fetch(run, source, self._opener, buffers)
            self._whole.add(run.start, plain)
            write_at(self._descriptor, plain, run.plaintext_offset)
            with self._lock:
                self._written += len(plain)
            if self._progress:
                self._progress(len(plain))

    def check_whole(self) -> None:
        """Raise an AssertionError if not all plaintext was written."""
        if self._written != self._layout.plaintext_length:
            raise AssertionError("unreachable: a crew that has not failed has written all sections")


def _fetch_each(
    sections: Iterator[Run],
    fetch_section: Callable[[Run, Buffers], None],
    stream: ObjectStream,
    resources: Resources,
) -> None:
    each(
        sections,
        fetch_section,
        resources.workers,
        is_far=lambda: is_far(stream.client),
        memory=resources.memory,
        length=_WORKER_LENGTH,
    )


def _by_first_request(layout: Layout, brought: int) -> tuple[list[Run], Iterator[Run] | None]:
    """Return the sections that the first request contains, and the later sections.

    The second value is None if there are no later sections.
    """
    at_once: list[Run] = []
    # The first request also contains the header, so its section is shorter by the header's length.
    sections = layout.runs(PART_LENGTH - layout.header_length)
    for section in sections:
        if section.end > brought:
            return at_once, chain((section,), sections)
        at_once.append(section)
    return at_once, None


def _shorter_at_the_end(
    layout: Layout, sections: Iterable[Run], stream: ObjectStream
) -> Iterator[Run]:
    """Yield the sections.

    If the service is far away, split the last sections (one per worker) in half.

    Otherwise most workers would be idle while a few workers fetch the last sections.
    """
    for section in sections:
        is_near_the_end = layout.size - section.start <= 2 * FAR * PART_LENGTH
        is_halved = is_near_the_end and is_far(stream.client)
        yield from layout.runs(PART_LENGTH // (2 if is_halved else 1), within=section)


def _layout(stream: ObjectStream, opener: RunOpener | None) -> Layout:
    return opener.layout(stream.size) if opener else Layout.of_plaintext(stream.size)


def pour(
    stream: ObjectStream,
    opener: RunOpener | None,
    write: Callable[[memoryview], object],
    *,
    progress: Progress | None,
) -> None:
    """Pass the object's plaintext to `write`, in order. `download` documents arguments and errors.

    Every byte that is passed belongs to a verified frame. The plaintext is complete only when this
    function returns. An object that S3 decrypts is compared with S3's checksum after the last byte.
    """
    layout = _layout(stream, opener)
    buffers = Buffers()
    whole = Whole(stream, is_compared=opener is None)
    for run in layout.runs(RUN_LENGTH):
        check_stop()
        plain = _fetch(run, stream, opener, buffers)
        whole.add(run.start, plain)
        write(plain)
        if progress:
            progress(len(plain))
    whole.verify()


class Sink(Protocol):
    """A receiver of plaintext."""

    def room(self, start: int, length: int) -> memoryview | None:
        """Return a buffer for `length` bytes that begin at `start`.

        Return None if the sink does not want all of these bytes.

        The content of the buffer must not be used before the whole run is fetched, because the
        content is not verified if the fetch fails.
        """
        ...

    def take(self, start: int, piece: memoryview) -> None:
        """Copy the wanted bytes of a verified piece that begins at `start`.

        The buffer of the piece is reused after the call.
        """
        ...


def fetch(
    stream: ObjectStream,
    opener: RunOpener | None,
    layout: Layout,
    run: Run,
    sink: Sink,
    buffers: Buffers,
) -> None:
    """Fetch a run with one request, and pass its plaintext to the sink, in order.

    Raises:
        IntegrityError: A frame could not be verified.
        StorageError: S3 refused or failed, or the object was replaced since it was opened.
    """
    with closing(stream.section(run.start, run.end)) as source:
        for piece in layout.runs(RUN_LENGTH, within=run):
            room = sink.room(piece.plaintext_offset, layout.plaintext_of(piece))
            plain = _fetch(piece, source, opener, buffers, room)
            if room is None:
                sink.take(piece.plaintext_offset, plain)


def _fetch(
    run: Run,
    source: ObjectStream,
    opener: RunOpener | None,
    buffers: Buffers,
    room: memoryview | None = None,
) -> memoryview:
    """Fetch a run, open its frames, and return its plaintext.

    The plaintext is in `room` if this is given, otherwise in the buffers or in a new object.
    """
    length = run.end - run.start
    sealed = source.take(length)
    if len(sealed) < length:
        raise StorageError("S3 sent fewer bytes than it announced.")
    if opener is None:
        if room is None:
            return sealed
        room[:] = sealed
        return room
    plain = buffers.plain_of(length) if room is None else room
    return plain[: opener.open(sealed, plain, first=run.first, is_final=run.is_final)]
