# SPDX-License-Identifier: Apache-2.0
"""--decode: base64 that is cut off, or continues after its end, is refused wherever it is read."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING, Any, cast

import pytest
from s3crypt_cli.base64s import Decoder

from s3crypt import FormatError

if TYPE_CHECKING:
    from typing import BinaryIO

CHUNK = 2**16
# The length of data whose base64, with two padding characters, ends where a chunk ends.
AT_A_CHUNK = CHUNK // 4 * 3 - 2


def decoded(text: bytes) -> bytes:
    """Return the bytes that a decoder reads from the text, in reads of 1,000 bytes."""
    decoder = Decoder(io.BytesIO(text), "file")
    return b"".join(iter(lambda: decoder.read(1000), b""))


@pytest.mark.parametrize("size", [0, 1, 2, 3, AT_A_CHUNK - 1, AT_A_CHUNK, AT_A_CHUNK + 1, 200_000])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n \t\n"])
def test_whole_base_64(size: int, ending: bytes) -> None:
    """Complete base64 of any length is decoded, also with line breaks and blanks in it."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    text = b64encode(data)
    assert decoded(text + ending) == data
    assert decoded(text[:5] + ending + text[5:] + ending) == data


@pytest.mark.parametrize("size", [1, 4, AT_A_CHUNK, 200_000])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_base_64_that_was_cut_off(size: int, lost: int) -> None:
    """If one to three characters are missing at the end, the error says that the text was cut off.

    A cut between two groups of four characters is detected by the reader of the message.
    """
    text = b64encode(bytes(size))
    with pytest.raises(FormatError, match="it is truncated"):
        decoded(text[:-lost])


@pytest.mark.parametrize("size", [1, 2, AT_A_CHUNK])
@pytest.mark.parametrize("more", [b"QUJD", b"=", b"\nQQ==\n", b"!"])
def test_nothing_comes_after_the_padding(size: int, more: bytes) -> None:
    """More base64 after the padding is refused, also if the padding ends a chunk."""
    with pytest.raises(FormatError, match="file is not base64"):
        decoded(b64encode(bytes(size)) + more)


@pytest.mark.parametrize("text", [b"=", b"====", b"Q===", b"QQ=Q", b"-_-_", b"QUJD\0", b"\xff" * 4])
def test_text_that_is_not_base_64(text: bytes) -> None:
    """Text with wrong padding, in the alphabet for URLs, or with other bytes is refused."""
    with pytest.raises(FormatError, match="file"):
        decoded(text)


def test_a_pipe_without_bytes_has_not_ended() -> None:
    """A read that returns None is repeated; only an empty read ends the text."""

    class Slow:
        pieces: Any = iter([b"QU", None, None, b"JD", None, b""])

        def read(self, _length: int) -> bytes | None:
            return cast("bytes | None", next(self.pieces))

    assert Decoder(cast("BinaryIO", Slow()), "pipe").read() == b"ABC"
