# SPDX-License-Identifier: Apache-2.0
"""The commands that fix objects which failed a control. No request is made.

For up to ten objects, there is one command per object. For more objects, one command covers the
whole prefix, and does not change objects that already meet the requirement. A command that is not
meant to replace the key keeps each object under its own keys: it never encrypts an object under
another object's keys.

Placeholders: `FILE` is the file of a raw key, `COPY` is a local copy of an object, and
`kms:alias/NAME` is a key that the reader chooses if no key is approved. A line that begins with `#`
is an instruction for a person.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from s3crypt.command_lines import s3crypt_keys

from . import object_controls as controls
from .values import Demands, Fix

OTHERS = "others"
"""The cause of the objects that are counted together, because there were too many causes."""

_ANY_KEY = "kms:alias/NAME"
_SEVERAL = "# These objects failed for many reasons. Fix the findings above, and audit again."
_UPLOADED_ANEW = "# `get` and `put` lose the object's tags and metadata."
_S3EC = """\
# s3crypt does not rewrite this format. Read each object with the S3 Encryption Client V4, under the
# commitment policy REQUIRE_ENCRYPT_ALLOW_DECRYPT, and write it again with {}."""
_THAT_CLIENT, _S3CRYPT = "that client", "s3crypt put"
_DIFFERENT_KEYS = """\
# The objects are under different keys, and one command would put each object under all of them.
# `s3crypt inspect -r {} --json` names the keys: run one rotate per key."""
_SAME_KEY = "# Name another key: under the same key, `s3crypt rotate` leaves objects as they are."
_NOT_IN_PLACE = "# Noncurrent versions cannot be changed: let a lifecycle rule expire them."


@dataclass(frozen=True, slots=True)
class Failed:
    """Objects that failed a control for one cause.

    Attributes:
        control: The id of the control.
        cause: The cause.
        abouts: The different modes or keys of the objects.
        prefix: The URI prefix of all objects.
        names: The URIs of all or some of the objects.
        is_whole: Whether `names` contains all of the objects. Versions that are not current are
            never in `names`.
        own: Name -> the mode or the keys of the object.
    """

    control: str
    cause: str
    abouts: Sequence[str]
    prefix: str
    names: Sequence[str]
    is_whole: bool
    own: Mapping[str, str] = field(default_factory=dict)

    def by_keys(self) -> "Iterator[Failed]":
        """Yield one `Failed` per set of keys, with the objects under these keys."""
        for about in self.abouts:
            names = [name for name in self.names if self.own.get(name, about) == about]
            if names:
                yield replace(self, abouts=(about,), names=names)

    def each(self, verb: str, options: str) -> Iterator[str]:
        """Yield one command per object, or one command for the whole prefix."""
        if not self.is_whole:
            yield f"s3crypt {verb} -r {_quoted(self.prefix)} {options}"
            return
        for uri in self.names:
            yield f"s3crypt {verb} {_quoted(uri)} {options}"


def _quoted(uri: str) -> str:
    """Return a URI quoted for the shell, with every unprintable character escaped.

    The quoting `$'...'` is part of POSIX.1-2024. Bash and Zsh have supported it for much longer.
    """
    if uri.isprintable():
        return shlex.quote(uri)
    return f"$'{''.join(map(_spelled_out, uri))}'"


def _spelled_out(sign: str) -> str:
    if sign.isprintable() and sign not in "'\\":
        return sign
    return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogatepass"))


def fix_of(failed: Failed, demands: Demands) -> Fix:
    """Return the fix for the objects."""
    if failed.is_whole and not failed.names:
        return Fix("command", _NOT_IN_PLACE)
    if failed.cause == OTHERS:
        return Fix("command", _SEVERAL)
    return Fix("command", "\n".join(dict.fromkeys(_lines(failed, demands))))


def _lines(failed: Failed, demands: Demands) -> Iterator[str]:
    mend = _FIXES[failed.control]
    if failed.control not in _KEEPING_KEYS or len(failed.abouts) < 2:
        yield from mend(failed, demands)
    elif failed.is_whole:
        for each in failed.by_keys():
            yield from mend(each, demands)
    else:
        yield _DIFFERENT_KEYS.format(shlex.quote(failed.prefix))


def _mode(failed: Failed, demands: Demands) -> Iterator[str]:
    target = next((each for each in _TARGETS if each in demands.modes), "sse-c")
    to = _TARGETS.get(target, "--mode sse-c --sse-c-key-file FILE")
    if target in ("sse-kms", "dsse-kms", controls.CLIENT):
        to += f" --key {shlex.quote(_approved(demands) or _ANY_KEY)}"
    source = failed.cause.removeprefix("mode-").removesuffix("-claimed")
    if source == controls.CLIENT:
        to += f" --from-mode client {_keys('--from-key', failed.abouts)}"
    elif source == "sse-c":
        to += " --from-mode sse-c --from-sse-c-key-file FILE"
    elif source == "none" or target == controls.CLIENT:
        to += f" --from-mode {source}"
    yield from failed.each("rotate", to)


_TARGETS = {
    "sse-kms": "--mode sse-kms",
    "dsse-kms": "--mode dsse-kms",
    "sse-s3": "--mode sse-s3",
    "client": "--mode client",
}


def _key(failed: Failed, demands: Demands) -> Iterator[str]:
    yield from failed.each("rotate", _to_key(failed, _approved(demands) or _ANY_KEY))


def _to_key(failed: Failed, key: str) -> str:
    _, layer, old = failed.cause.removesuffix("-claimed").split(":", 2)
    if layer != controls.CLIENT:
        return f"--mode {layer} --key {shlex.quote(key)}"
    return f"--mode client --key {shlex.quote(key)} {_keys('--from-key', [old])}"


def _state(failed: Failed, demands: Demands) -> Iterator[str]:
    kind, _, arn = failed.cause.removesuffix("-claimed").split(":", 2)
    # The ARN comes from the object's header, which its writer chose. `s3crypt_keys` quotes it for
    # the shell.
    if kind == "key-gone":
        yield "# No key opens these objects: restore them from a copy under another key."
        return
    if kind == "key-without-material":
        yield f"# FILE is the copy of the key material that {arn} had."
        yield s3crypt_keys("import-material", arn, "FILE")
    elif kind == "key-unavailable":
        yield f"# Connect the key store of {arn} again."
    if kind == "key-dying":
        yield s3crypt_keys("cancel-deletion", arn)
    if kind in ("key-dying", "key-disabled"):
        yield s3crypt_keys("enable", arn)
    approved = _approved(demands)
    if approved and approved != f"kms:{arn}":
        yield from failed.each("rotate", _to_key(failed, approved))


def _material(failed: Failed, demands: Demands) -> Iterator[str]:
    old = failed.abouts[0]
    approved = _approved(demands)
    new = approved if approved and approved != f"kms:{old}" else _ANY_KEY
    yield _SAME_KEY
    to = f"--mode client --key-location metadata --key {shlex.quote(new)}"
    yield from failed.each("rotate", f"{to} {_keys('--from-key', [old])}")


def _anew(failed: Failed, get: str, put: str) -> Iterator[str]:
    """Yield commands that download objects and upload them again.

    The commands are for objects that `s3crypt rotate` cannot read.
    """
    yield _UPLOADED_ANEW
    if not failed.is_whole:
        prefix = _quoted(failed.prefix)
        yield f"s3crypt get -r {prefix} FOLDER {get} && s3crypt put -r FOLDER {prefix} {put}"
        return
    for uri in failed.names:
        quoted = _quoted(uri)
        yield f"s3crypt get {quoted} COPY {get} && s3crypt put COPY {quoted} {put}"


def _commitment(failed: Failed, demands: Demands) -> Iterator[str]:
    if "s3ec" in failed.abouts:
        yield _S3EC.format(_THAT_CLIENT)
        return
    keys = _keys("--key", failed.abouts)
    yield from _anew(failed, f"{keys} --allow-uncommitted --no-bind-name", _written(keys, demands))


def _signature(failed: Failed, _: Demands) -> Iterator[str]:
    if "s3ec" in failed.abouts:
        yield _S3EC.format(_S3CRYPT)
        return
    keys = f"{_keys('--key', failed.abouts)} {_keys('--from-key', failed.abouts)}"
    yield from failed.each("rotate", f"--mode client {keys} --signed --allow-unsigned")


def _name(failed: Failed, demands: Demands) -> Iterator[str]:
    if "s3ec" in failed.abouts:
        yield _S3EC.format(_S3CRYPT)
        return
    keys = _keys("--key", failed.abouts)
    if failed.cause.startswith("other-name"):
        yield "# Find out who moved the object: it may have the content of another object."
        for uri in failed.names:
            quoted = _quoted(uri)
            yield f"s3crypt cp {quoted} {quoted} --written-as OLD_NAME {keys}"
        return
    yield from _anew(failed, f"{keys} --no-bind-name", _written(keys, demands))


def _written(keys: str, demands: Demands) -> str:
    return f"{keys} --signed" if demands.signed else keys


def _escrow(failed: Failed, demands: Demands) -> Iterator[str]:
    needed = [each for each in demands.required_keys if each not in failed.abouts]
    both = _keys("--key", [*failed.abouts, *needed])
    yield from failed.each("rotate", f"--mode client {both} {_keys('--from-key', failed.abouts)}")


def _customer_key(failed: Failed, _: Demands) -> Iterator[str]:
    yield "# Find the key: without it these objects cannot be read. With the key in FILE:"
    yield from failed.each(
        "rotate", f"--mode sse-kms --key {_ANY_KEY} --from-mode sse-c --from-sse-c-key-file FILE"
    )


def _approved(demands: Demands) -> str | None:
    """Return the first approved key in the command line's form, or None if no key is approved."""
    for key in sorted(demands.keys):
        return _spelled(key)
    return None


def _keys(option: str, names: Sequence[str]) -> str:
    """Return the option once per key. Each text in `names` has keys, separated by spaces."""
    found = dict.fromkeys(key for name in names for key in name.split(" ") if key)
    return " ".join(f"{option} {shlex.quote(_spelled(key))}" for key in found or [_ANY_KEY])


def _spelled(key: str) -> str:
    """Return a key as the command line spells it. The file of a raw key is the word FILE."""
    if key.startswith(("arn:", "alias/")):
        return f"kms:{key}"
    return f"{key}=FILE" if key.startswith(("aes:", "rsa:")) and "=" not in key else key


_FIXES: dict[str, Callable[[Failed, Demands], Iterator[str]]] = {
    controls.MODE: _mode,
    controls.KEY: _key,
    controls.STATE: _state,
    controls.MATERIAL: _material,
    controls.COMMITMENT: _commitment,
    controls.SIGNATURE: _signature,
    controls.NAME: _name,
    controls.ESCROW: _escrow,
    controls.CUSTOMER_KEY: _customer_key,
}
# The controls whose fix writes an object again under the keys that already encrypt it.
_KEEPING_KEYS = frozenset((controls.COMMITMENT, controls.SIGNATURE, controls.NAME, controls.ESCROW))
