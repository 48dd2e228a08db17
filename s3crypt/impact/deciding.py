# SPDX-License-Identifier: Apache-2.0
"""Decide whether an object needs a key: it is the only key, one of several keys, or not needed.

If S3 encrypts an object under the key, the object cannot be read without the key, whatever its
content is. Any other object depends on the key only if its client-side data key is wrapped under
the key. If several keys wrap the data key, each of them alone opens the object. The functions make
no request except to ask KMS for the states of other keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from s3crypt.kms.states import KeyState
from s3crypt.objects.sightings import UNSEEN, Sighting

from .target import NO_WAY_IN, Target

Kind: TypeAlias = Literal["only", "shared", "replica", "other", "unknown"]
"""How an object depends on the key. `only`: no other key opens the object. `shared`: another key
opens it, too. `replica`: only replicas of the key in other Regions open it, too. `other`: the
object does not need the key. `unknown`: this could not be decided."""

_KMS, _KMS_RSA = "kms", "aws-kms-rsa"
_BRANCH = "aws-kms-hierarchy"
_S3EC = "s3ec"
_OF_KMS = frozenset({"sse-kms", "dsse-kms"})


@dataclass(frozen=True, slots=True)
class Decision:
    """The relation of an object to the key.

    Attributes:
        kind: The relation.
        mode: How the object is encrypted under the key: `sse-kms`, `dsse-kms`, `client (header)`,
            `client (metadata)` or `s3ec`. Empty if the object does not depend on the key.
        hidden: If `kind` is `unknown`, the reason, as a clause.
        denied: The IAM actions that the caller would need so that the relation can be decided.
        others: The providers of the other keys that open the object, such as `kms` or `aes`.
    """

    kind: Kind
    mode: str = ""
    hidden: str = ""
    denied: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


_OTHER = Decision("other")


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides how objects depend on the key.

    Attributes:
        target: The key.
        siblings: The ARNs of multi-Region keys in other Regions that have the same material and are
            not about to lose it.
        state_of: Returns the state of another KMS key, given its ARN or id.
        arn_of: Returns the ARN of the key to which an alias points now, or a `KeyState` with the
            reason why it is unknown.
    """

    target: Target
    siblings: tuple[str, ...]
    state_of: Callable[[str], KeyState]
    arn_of: Callable[[str], str | KeyState]

    def decide(self, seen: Sighting) -> Decision:
        """Return how an object depends on the key."""
        by_server = self._of_server(seen)
        if by_server is not None:
            return by_server
        if seen.layer == "none" and seen.server_mode != UNSEEN:
            return _OTHER
        if seen.server_mode == UNSEEN or seen.layer == "unknown":
            return Decision("unknown", hidden=_why(seen), denied=seen.denied)
        if seen.layer == _S3EC:
            return self._of_s3ec(seen)
        if seen.keys is None:
            return Decision("unknown", hidden=_why(seen), denied=seen.denied)
        return self._of_keys(f"client ({seen.key_location or 'header'})", seen.keys)

    def _of_server(self, seen: Sighting) -> Decision | None:
        """Decide by the key with which S3 encrypts the object.

        Return None if S3 uses no KMS key, or another KMS key. The client-side keys then decide.
        """
        if seen.server_mode not in _OF_KMS:
            return None
        if seen.kms_key is None:
            return Decision("unknown", hidden=_UNNAMED)
        is_alias = "alias/" in seen.kms_key
        if self.target.is_named_by(seen.kms_key) or (is_alias and self._leads_here(seen.kms_key)):
            return Decision("only", str(seen.server_mode))
        return Decision("unknown", hidden=_NAMED_BY_ALIAS) if is_alias else None

    def _of_keys(self, mode: str, names: tuple[str, ...]) -> Decision:
        """Decide by the names of all keys under which the client-side data key is wrapped."""
        ways = _Ways()
        for name in dict.fromkeys(names):
            self._sort(name, ways)
        if not ways.is_under_key:
            # Only a branch key or an alias can hide a use of the target key. If any other key wraps
            # the data key, it opens the object alone.
            return ways.unknown() if ways.doubt and not ways.others else _OTHER
        if ways.others:
            return Decision("shared", mode, others=tuple(dict.fromkeys(ways.others)))
        if ways.doubt or ways.hidden:
            return ways.unknown()
        return Decision("replica" if self.siblings else "only", mode)

    def _sort(self, name: str, ways: "_Ways") -> None:
        """Add one of the keys that wrapped the data key to `ways`."""
        provider, _, key = name.partition(":")
        if provider == _BRANCH:
            ways.doubt = _BRANCH_KEY
        elif provider not in (_KMS, _KMS_RSA):
            ways.others.append(provider)
        elif self.target.is_named_by(key) or self.target.is_sibling(key):
            ways.is_under_key = True
        elif "alias/" in key:
            if self._leads_here(key):
                ways.is_under_key = True
            else:
                ways.doubt = ways.doubt or _MOVED_ALIAS
        else:
            state = self.state_of(key)
            if state.state is None:
                ways.hidden.append(state)
            elif state.state not in NO_WAY_IN:
                ways.others.append(provider)

    def _leads_here(self, alias: str) -> bool:
        """Return whether an alias points to the key now.

        An object that names an alias may have been written when the alias pointed to another key.
        """
        arn = self.arn_of(alias)
        return isinstance(arn, str) and self.target.is_named_by(arn)

    def _of_s3ec(self, seen: Sighting) -> Decision:
        """Decide about an object of the S3 Encryption Client. Its data key has one wrapping key."""
        if seen.wrap == "raw":
            return _OTHER
        if seen.named_key is None:
            return Decision("unknown", hidden=_NO_FILE if seen.wrap is None else _NO_KEY)
        name = seen.named_key
        if "alias/" not in name:
            return self._of_keys(_S3EC, (f"kms:{name}",))
        if self._leads_here(name):
            return self._of_keys(_S3EC, (f"kms:{self.target.arn}",))
        return Decision("unknown", hidden=_MOVABLE)


@dataclass(slots=True)
class _Ways:
    """The keys that open one object, as far as they have been sorted."""

    is_under_key: bool = False
    doubt: str = ""
    others: list[str] = field(default_factory=list)
    hidden: list[KeyState] = field(default_factory=list)

    def unknown(self) -> Decision:
        """Return the decision `unknown`, with the reason.

        The reason is that a branch key or an alias may stand for the target key, or that the state
        of another key cannot be read.
        """
        if self.doubt:
            return Decision("unknown", hidden=self.doubt)
        denied = tuple(dict.fromkeys(action for state in self.hidden for action in state.denied))
        return Decision("unknown", hidden=_OTHER_KEY, denied=denied)


_NO_FILE = "its instruction file has its key (Amazon S3 Encryption Client)"
_NO_KEY = "the Amazon S3 Encryption Client stores no name of its KMS key"
_MOVABLE = "the Amazon S3 Encryption Client named its key by an alias, which may have been moved"
_BRANCH_KEY = "a branch key wraps its data key: the key store has the KMS key of the branch key"
_MOVED_ALIAS = "an alias names the KMS key of its data key, and may have been moved"
_UNNAMED = "S3's reply names no KMS key"
_NAMED_BY_ALIAS = "S3 names its KMS key by an alias, which may have been moved"
_OTHER_KEY = "another KMS key wraps its data key, too, and KMS does not show that key's state"
_SSE_C = "it is under a customer key (SSE-C) that was not given, and its content is not visible"


def _why(seen: Sighting) -> str:
    """Return the reason why the encryption of an object's content is unknown, as a clause."""
    if seen.server_mode == "sse-c":
        return _SSE_C
    return seen.hidden or "no reply shows which key wrapped its data key"
