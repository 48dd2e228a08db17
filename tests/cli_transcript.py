# SPDX-License-Identifier: Apache-2.0
"""Plays transcripts: text files with commands and their expected results. This is no test.

Each line is one of the following. Names like $BUCKET are replaced first. The commands run in an
empty directory.

    key NAME                    make a key file of 32 random bytes
    rsa PRIVATE PUBLIC          make a pair of RSA keys in PEM
    file NAME SIZE              make a file of SIZE random bytes
    text NAME WORDS...          make a file of one line
    mkdir NAME / chmod MODE NAME / link TARGET NAME
    flip NAME OFFSET            change one bit
    head NAME SIZE NEW          NEW is the first SIZE bytes of NAME
    foreign NAME KEY            make a message without key commitment, and the file of its key
    env NAME=VALUE              for the following commands; NAME= removes it
    stdin NAME                  the standard input of the next command
    s3crypt ARGUMENTS...        must exit with 0
    ! CODE s3crypt ARGUMENTS... must exit with CODE
    stdout REGEX, stderr REGEX  the last command's output must match; after "! ", must not
    lines COUNT                 the number of lines that the last command wrote to stderr
    save NAME                   keep the last standard output in a file
    cmp NAME NAME               two files must be equal
    exists NAME / absent NAME
    only NAMES...               the directory has no other file: no temporary file was left
    copy NAME NEW               copy an object in $BUCKET, like other tools
    store NAME OBJECT           put a file into $BUCKET unchanged
    objects PREFIX COUNT        the number of objects below PREFIX in $BUCKET
    disable KEY / deny KEY      from now on KMS refuses to use the key
"""

import base64
import io
import json
import os
import re
import shlex
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from s3crypt_cli.main import run

DENYING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
                "Resource": "*",
            },
        ],
    }
)
_VECTORS = Path(__file__).parent / "vectors" / "messages.json"


@dataclass
class Result:
    """The exit code and the output of the last command."""

    code: int = 0
    stdout: bytes = b""
    stderr: str = ""


@dataclass
class Transcript:
    """Runs the lines of one transcript against the sandbox."""

    directory: Path
    names: Mapping[str, str]
    capture: pytest.CaptureFixture[bytes]
    bucket: Any = None
    kms: Any = None
    last: Result = field(default_factory=Result)
    environment: dict[str, str | None] = field(default_factory=dict)
    stdin: bytes = b""

    def play(self, text: str) -> None:
        """Run every line of a transcript. If a line fails, the assertion names it."""
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if stripped and not stripped.startswith("#"):
                self._line(number, string.Template(stripped).safe_substitute(self.names))

    def _line(self, number: int, line: str) -> None:
        negated = line.startswith("! ")
        body = line.removeprefix("! ")
        verb, _, rest = body.partition(" ")
        where = f"line {number}: {line}\nexit {self.last.code}\n{self.last.stderr}"
        if verb == "s3crypt":
            self._command(where, 0, rest)
        elif verb.isdigit():
            self._command(where, int(verb), rest.removeprefix("s3crypt "))
        elif verb in ("stdout", "stderr"):
            said = self.last.stderr if verb == "stderr" else self.last.stdout.decode()
            assert bool(re.search(rest, said, re.MULTILINE)) is not negated, f"{where}{said}"
        elif verb == "env":
            name, _, value = rest.partition("=")
            self.environment[name] = value or None
        else:
            holds = getattr(self, f"_do_{verb}")(*shlex.split(rest))
            assert holds is not False, where

    def _command(self, where: str, expected: int, arguments: str) -> None:
        before, stdin = dict(os.environ), sys.stdin
        for name, value in self.environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        sys.stdin = io.TextIOWrapper(io.BytesIO(self.stdin))
        self.capture.readouterr()
        try:
            code = run(shlex.split(arguments))
        finally:
            sys.stdin = stdin
            os.environ.clear()
            os.environ.update(before)
        out, err = self.capture.readouterr()
        self.stdin = b""
        self.last = Result(code, out, err.decode())
        assert code == expected, f"{where}now exit {code}\n{err.decode()}"

    def _do_key(self, name: str) -> None:
        self._path(name).write_bytes(os.urandom(32))

    def _do_rsa(self, private: str, public: str) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._path(private).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self._path(public).write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def _do_file(self, name: str, size: str) -> None:
        self._path(name).parent.mkdir(parents=True, exist_ok=True)
        self._path(name).write_bytes(os.urandom(int(size)))

    def _do_text(self, name: str, *words: str) -> None:
        self._path(name).write_text(" ".join(words) + "\n")

    def _do_mkdir(self, name: str) -> None:
        self._path(name).mkdir(parents=True)

    def _do_chmod(self, mode: str, name: str) -> None:
        self._path(name).chmod(int(mode, 8))

    def _do_link(self, target: str, name: str) -> None:
        self._path(name).symlink_to(target)

    def _do_flip(self, name: str, offset: str) -> None:
        data = bytearray(self._path(name).read_bytes())
        data[int(offset)] ^= 1
        self._path(name).write_bytes(data)

    def _do_head(self, name: str, size: str, new: str) -> None:
        self._path(new).write_bytes(self._path(name).read_bytes()[: int(size)])

    def _do_foreign(self, name: str, key: str) -> None:
        vectors = json.loads(_VECTORS.read_text())
        vector = next(v for v in vectors if v["name"] == "official 0014 framed 401")
        self._path(name).write_bytes(base64.b64decode(vector["message"]))
        self._path(key).write_bytes(base64.b64decode(vector["key"]["key"]))

    def _do_stdin(self, name: str) -> None:
        self.stdin = self._path(name).read_bytes()

    def _do_save(self, name: str) -> None:
        self._path(name).write_bytes(self.last.stdout)

    def _do_cmp(self, one: str, other: str) -> bool:
        return self._path(one).read_bytes() == self._path(other).read_bytes()

    def _do_exists(self, name: str) -> bool:
        return self._path(name).exists()

    def _do_absent(self, name: str) -> bool:
        return not self._path(name).exists()

    def _do_lines(self, count: str) -> bool:
        return len(self.last.stderr.splitlines()) == int(count)

    def _do_only(self, *names: str) -> bool:
        return {path.name for path in self.directory.iterdir()} == set(names)

    def _do_objects(self, prefix: str, count: str) -> bool:
        return len(list(self.bucket.objects.filter(Prefix=prefix))) == int(count)

    def _do_copy(self, name: str, new: str) -> None:
        self.bucket.Object(new).copy_from(CopySource={"Bucket": self.bucket.name, "Key": name})

    def _do_store(self, name: str, new: str) -> None:
        self.bucket.Object(new).put(Body=self._path(name).read_bytes())

    def _do_disable(self, key: str) -> None:
        self.kms.disable_key(KeyId=key)

    def _do_deny(self, key: str) -> None:
        self.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=DENYING)

    def _path(self, name: str) -> Path:
        return self.directory / name
