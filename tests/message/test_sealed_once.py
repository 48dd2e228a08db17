# SPDX-License-Identifier: Apache-2.0
"""A message has one writer: neither a copy nor another process can seal its next frame again."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from s3crypt import message
from s3crypt.keyrings import AESKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

KEYRING = AESKeyring("once", "key", bytes(range(32)))
BEGUN: dict[str, Callable[[], Any]] = {
    "Sealer": lambda: message.Sealer(KEYRING),
    "signed Sealer": lambda: message.Sealer(KEYRING, signed=True),
    "EncryptingReader": lambda: message.EncryptingReader(io.BytesIO(bytes(9)), KEYRING),
}
COPIES: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "within another": lambda begun: copy.deepcopy([begun]),
    "__copy__": lambda begun: begun.__copy__(),
    "__deepcopy__": lambda begun: begun.__deepcopy__({}),
    "__reduce__": lambda begun: begun.__reduce__(),
    "__reduce_ex__": lambda begun: begun.__reduce_ex__(4),
    "object's": lambda begun: object.__reduce_ex__(begun, 2),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", BEGUN)
def test_what_is_begun_is_not_copied(kind: str, how: str) -> None:
    """A sealer or stream that has begun cannot be copied: two copies would reuse a nonce."""
    begun = BEGUN[kind]()
    with pytest.raises(TypeError, match="cannot be copied"):
        COPIES[how](begun)


def test_an_opener_without_its_signature_is_still_made() -> None:
    """A copy of an opener is allowed, because an opener seals nothing."""
    sealed = message.encrypt(b"x" * 300, KEYRING, signed=True, frame_length=128)
    header = message.read_header(io.BytesIO(sealed))
    opener = message.Opener(header, KEYRING).without_signature()
    out = memoryview(bytearray(128))
    start = len(header) + header.frame_length + 32
    assert opener.open(memoryview(sealed)[start : start + 160], out, first=2) == 128
    assert out == b"x" * 128


_BEGIN = """
import io, os, sys
from s3crypt import AESKeyring, ConfigError, message
keyring = AESKeyring("once", "key", bytes(range(32)))
plain = b"p" * 300

def in_a_child(*deeds):
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    try:
        for deed in deeds:
            try:
                deed()
            except ConfigError as error:
                assert "forked" in str(error) and error.hint
            else:
                raise AssertionError(f"deed {deeds.index(deed)} was done")
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)
"""
FORKS = {
    "grandchild": """
sealer = message.Sealer(keyring, frame_length=128, signed=signed)
frames = memoryview(bytearray(1000))
# Its id, as a process has it again in another namespace of ids: what counts is the fork.
first = os.getpid()
os.getpid = lambda: first

def of_the_child():
    sealer = message.Sealer(keyring, frame_length=128, signed=signed)
    in_a_child(lambda: sealer.seal(memoryview(plain), frames, first=1, is_final=True))
    end = sealer.seal(memoryview(plain), frames, first=1, is_final=True)
    assert message.decrypt(sealer.header + frames[:end] + sealer.footer(), keyring) == plain
    sealer_of_the_parent()

def sealer_of_the_parent():
    sealer.seal(memoryview(plain), frames, first=1, is_final=True)

in_a_child(of_the_child, lambda: in_a_child(sealer_of_the_parent) or sealer_of_the_parent())
sealer_of_the_parent()
""",
    "Sealer": """
sealer = message.Sealer(keyring, frame_length=128, signed=signed)
frames = memoryview(bytearray(1000))
first = sealer.seal(memoryview(plain)[:128], frames, first=1, is_final=False)
kept = bytes(frames)

def seal(first, is_final):
    piece = memoryview(b"c" * 128)
    sealer.seal(piece, frames, first=first, is_final=is_final)

footer = [sealer.footer] if signed else []
in_a_child(lambda: seal(2, False), lambda: seal(2, True), lambda: seal(1, False), *footer)
assert bytes(frames) == kept
end = first + sealer.seal(memoryview(plain)[128:], frames[first:], first=2, is_final=True)
assert message.decrypt(sealer.header + frames[:end] + sealer.footer(), keyring) == plain
""",
    "EncryptingReader": """
reader = message.EncryptingReader(io.BytesIO(plain), keyring, frame_length=128, signed=signed)
begun = reader.read(7)
in_a_child(lambda: reader.read(1), reader.readall, reader.read, lambda: reader.readinto(bytes()))
assert message.decrypt(begun + reader.readall(), keyring) == plain
""",
    "a reader that reads ahead": """
raw = message.EncryptingReader(
    io.BytesIO(10_000 * plain), keyring, frame_length=2**17, signed=signed
)
reader = io.BufferedReader(raw)
begun = reader.read(1)
in_a_child(lambda: reader.read(2**20), reader.read)
assert message.decrypt(begun + reader.read(), keyring) == 10_000 * plain
""",
    "a source that forks": """
class Forking(io.BytesIO):
    child = None

    def read(self, size=-1, /):
        if self.child is None:
            self.child = os.fork()
            if not self.child:
                return b"of the child"
        return super().read(size)

    readinto = None

source = Forking(plain)
reader = message.EncryptingReader(source, keyring, frame_length=128, signed=signed)
try:
    sealed = reader.readall()
except ConfigError as error:
    os._exit(7 if not source.child and "forked" in str(error) else 8)
assert source.child, "the child sealed what it read"
assert os.waitstatus_to_exitcode(os.waitpid(source.child, 0)[1]) == 7
assert message.decrypt(sealed, keyring) == plain
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", FORKS)
def test_only_the_process_that_began_it_goes_on(kind: str, *, signed: bool) -> None:
    """After a fork a child cannot continue a message, at any point; the parent finishes it."""
    script = f"{_BEGIN}\nsigned = {signed}\n{FORKS[kind]}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
