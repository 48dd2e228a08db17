# SPDX-License-Identifier: Apache-2.0
"""The controls S3CRYPT.14 to .22, applied to the `Sighting` of one object, without requests.

An object can have two layers of encryption: a server-side mode, and inside it a client-side format.
A control that does not apply to an object gives no judgement. A property that could not be read
gives an unknown judgement, never a pass.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from s3crypt.kms.states import GONE, KeyState
from s3crypt.objects.sightings import UNSEEN, Sighting

from .values import Demands, Verdict

MODE, KEY, STATE, MATERIAL = "S3CRYPT.14", "S3CRYPT.15", "S3CRYPT.16", "S3CRYPT.17"
COMMITMENT, SIGNATURE, NAME = "S3CRYPT.18", "S3CRYPT.19", "S3CRYPT.20"
ESCROW, CUSTOMER_KEY = "S3CRYPT.21", "S3CRYPT.22"

CLIENT = "client"
_LONGEST_CODE = 60

_NEEDS_KEY = frozenset({"sse-kms", "dsse-kms"})
# KMS's state of a key -> the cause of the finding, and the clause that describes the key.
_UNUSABLE = {
    "Disabled": ("key-disabled", "is disabled"),
    "PendingDeletion": ("key-dying", "is about to be deleted"),
    "PendingReplicaDeletion": ("key-dying", "is about to be deleted with its replicas"),
    "PendingImport": ("key-without-material", "has lost its imported material"),
    "Unavailable": ("key-unavailable", "is in a key store that is not connected"),
    GONE: ("key-gone", "no longer exists"),
}
_NO_IDS = "the id of the key material that wrapped the data key is kept nowhere"


@dataclass(frozen=True, slots=True)
class Escrow:
    """A key that must have wrapped the data key of every client-side object.

    Attributes:
        reference: The key reference as the caller wrote it.
        name: The key's name in the headers of objects; None if the reference could not be resolved.
        hidden: Why the reference could not be resolved, in a clause.
        denied: The IAM actions that the caller lacks to resolve the reference.
    """

    reference: str
    name: str | None
    hidden: str = ""
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by which objects are judged.

    Attributes:
        demands: The requirements for the objects.
        escrow: The keys that `demands.required_keys` names.
        now: The time at which ages are computed.
    """

    demands: Demands
    escrow: tuple[Escrow, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict of one control about one object. Equal judgements become one finding.

    Attributes:
        control: The id of the control.
        verdict: The verdict.
        cause: A short code for the reason. Empty for a pass, unless the pass rests on a claim.
        words: The predicate of a sentence about the objects, such as `are signed`.
        about: The mode or the keys of the object, which the fix needs.
        is_claimed: Whether the verdict rests on metadata, which the writer of the object could
            choose freely.
        denied: The IAM actions that the caller lacks to reach a verdict.
    """

    control: str
    verdict: Verdict
    cause: str = ""
    words: str = ""
    about: str = ""
    is_claimed: bool = False
    denied: tuple[str, ...] = ()


def judge(
    name: str, seen: Sighting, rules: Rules, keys: Mapping[str, KeyState]
) -> Iterator[Judgement]:
    """Yield the judgement of each control that applies to an object.

    Args:
        name: The object's name.
        seen: The object's properties, read from S3 or from an inventory.
        rules: The rules by which the object is judged.
        keys: The state of each key that `kms_keys` returns.
    """
    for control in _CONTROLS:
        found = control(name, seen, rules, keys)
        if found is None:
            continue
        if not found.is_claimed and _rests_on_claim(found, seen):
            cause = f"{found.cause}-claimed" if found.cause else "claimed"
            found = replace(found, is_claimed=True, cause=cause)
        yield found


def _rests_on_claim(found: Judgement, seen: Sighting) -> bool:
    is_of_server = bool(found.about) and found.about == seen.kms_key
    is_of_layer = found.control in _OF_LAYER and not is_of_server
    return seen.is_claimed and is_of_layer and found.verdict is not Verdict.UNKNOWN


def kms_keys(seen: Sighting) -> tuple[str, ...]:
    """Return the ARNs of the KMS keys that encrypt an object, in both layers."""
    return tuple(key for key in _keys(seen) if key.startswith("arn:"))


def kept_materials(seen: Sighting) -> dict[str, str]:
    """Return the ids of key material in an object's metadata: ARN of the key -> id."""
    named = {key.removeprefix("kms:"): id_ for key, id_ in (seen.key_materials or {}).items()}
    # Leave out S3's key: S3 reports no id, and if the key encrypts both layers, the id in the
    # metadata is only for the client-side layer.
    return {
        key: id_ for key, id_ in named.items() if key.startswith("arn:") and key != seen.kms_key
    }


def is_material_needed(key: KeyState, rules: Rules) -> bool:
    """Return whether the material's own age is needed, because the key's age does not decide."""
    days = rules.demands.material_days
    if days is None:
        return False
    return key.made is None or key.made < rules.now - timedelta(days=days)


def applicable(demands: Demands) -> tuple[str, ...]:
    """Return the ids of the controls that are applied to objects under these demands."""
    demanded = {
        MODE: bool(demands.modes),
        KEY: bool(demands.keys),
        MATERIAL: demands.material_days is not None,
        SIGNATURE: demands.signed,
        NAME: demands.bound_names,
        ESCROW: bool(demands.required_keys),
    }
    every = (MODE, KEY, STATE, MATERIAL, COMMITMENT, SIGNATURE, NAME, ESCROW, CUSTOMER_KEY)
    return tuple(each for each in every if demanded.get(each, True))


def slug(text: str) -> str:
    """Return a short code made of a text's words.

    A long code is truncated and ends in a hash of the text, so different long texts have different
    codes.
    """
    words = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(words) <= _LONGEST_CODE:
        return words
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words[:_LONGEST_CODE].rstrip('-')}-{digest}"


def unseen(
    control: str, hidden: str, denied: tuple[str, ...] = (), *, about: str = ""
) -> Judgement:
    """Return an unknown judgement. `hidden` is the reason, as a clause."""
    words = f"cannot be judged: {hidden}"
    return Judgement(control, Verdict.UNKNOWN, slug(hidden), words, about=about, denied=denied)


def _passed(control: str, words: str) -> Judgement:
    return Judgement(control, Verdict.PASS, words=words)


def _failed(control: str, cause: str, words: str, about: str = "") -> Judgement:
    return Judgement(control, Verdict.FAIL, cause, words, about=about)


def _unseen(control: str, seen: Sighting) -> Judgement:
    return unseen(control, seen.hidden or "nobody looked", seen.denied)


def _keys(seen: Sighting) -> tuple[str, ...]:
    """Return the names of all keys that encrypt an object. KMS keys are named by their ARNs."""
    server = (seen.kms_key,) if seen.kms_key else ()
    return (*server, *(key.removeprefix("kms:") for key in seen.keys or ()))


def _is_unnamed(key: str) -> bool:
    """Return whether a key may be a KMS key without an ARN. KMS cannot describe such a key."""
    may_be_of_kms = key.startswith(("kms:", "aws-kms", "unknown:"))
    return may_be_of_kms and not key.startswith("kms:arn:")


def _has_unseen_key(seen: Sighting) -> bool:
    """Return whether the object may be encrypted under further keys that were not seen."""
    is_server_unseen = seen.server_mode in _NEEDS_KEY and seen.kms_key is None
    is_layer_unseen = seen.layer == "unknown" or (seen.layer != "none" and seen.keys is None)
    return seen.server_mode == UNSEEN or is_server_unseen or is_layer_unseen


def _hidden_key(control: str, seen: Sighting) -> Judgement:
    if seen.layer == "s3ec" and not seen.hidden:
        return unseen(control, "the envelope does not name the key that wrapped the data key")
    return _unseen(control, seen)


_Keys = Mapping[str, KeyState]


def _mode(_: str, seen: Sighting, rules: Rules, __: _Keys) -> Judgement | None:
    approved = rules.demands.modes
    if not approved:
        return None
    if seen.server_mode == UNSEEN:
        return _unseen(MODE, seen)
    is_client = seen.layer in ("message", "s3ec")
    if seen.server_mode in approved or (is_client and CLIENT in approved):
        found = _passed(MODE, "are in an approved mode")
        is_proved = seen.server_mode in approved or not seen.is_claimed
        return found if is_proved else replace(found, cause="claimed", is_claimed=True)
    if seen.layer == "unknown" and CLIENT in approved:
        return _unseen(MODE, seen)
    return _wrong_mode(CLIENT if is_client else seen.server_mode, seen)


def _wrong_mode(mode: str | None, seen: Sighting) -> Judgement:
    if mode is None:
        return _failed(MODE, "mode-none", "are not encrypted", "none")
    about = _names(seen) if mode == CLIENT else mode
    return _failed(MODE, f"mode-{mode}", f"are in mode {mode}, which is not approved", about)


def _key(_: str, seen: Sighting, rules: Rules, __: _Keys) -> Judgement | None:
    if not rules.demands.keys:
        return None
    approved = {key.removeprefix("kms:") for key in rules.demands.keys}
    names = _keys(seen)
    for key in names:
        if key not in approved:
            layer = str(seen.server_mode) if key == seen.kms_key else CLIENT
            words = f"are in mode {layer} under {key}, which is not approved"
            return _failed(KEY, f"key-not-approved:{layer}:{key}", words, key)
    if _has_unseen_key(seen):
        return _hidden_key(KEY, seen)
    return _passed(KEY, "are under approved keys alone") if names else None


def _state(_: str, seen: Sighting, __: Rules, keys: _Keys) -> Judgement | None:
    arns = kms_keys(seen)
    for arn in arns:
        if keys[arn].state in _UNUSABLE:
            cause, words = _UNUSABLE[str(keys[arn].state)]
            layer = str(seen.server_mode) if arn == seen.kms_key else CLIENT
            others = [key for key in seen.keys or () if key.removeprefix("kms:") != arn]
            is_one_of_several = layer == CLIENT and others
            end = "; another key opens them too" if is_one_of_several else ""
            cause = f"{cause}:{layer}:{arn}"
            words = f"are in mode {layer} under {arn}, which {words}{end}"
            return _failed(STATE, cause, words, arn)
    if any(_is_unnamed(key) for key in seen.keys or ()):
        return unseen(STATE, "the header names a key that KMS cannot describe")
    for arn in arns:
        if keys[arn].state is None:
            hidden = f"the state of {arn} is not known: {keys[arn].hidden}"
            return unseen(STATE, hidden, keys[arn].denied)
    if _has_unseen_key(seen):
        return _hidden_key(STATE, seen)
    return (
        _passed(STATE, "are under keys that can be used and are not about to be deleted")
        if arns
        else None
    )


def _material(_: str, seen: Sighting, rules: Rules, keys: _Keys) -> Judgement | None:
    days = rules.demands.material_days
    if days is None:
        return None
    if _has_unseen_key(seen):
        return _hidden_key(MATERIAL, seen)
    arns = kms_keys(seen)
    if any(_is_unnamed(key) for key in seen.keys or ()):
        return unseen(MATERIAL, _NO_IDS)
    if not arns:
        return None
    oldest, kept = rules.now - timedelta(days=days), kept_materials(seen)
    old = [arn for arn in arns if is_material_needed(keys[arn], rules)]
    if not old:
        return _passed(MATERIAL, f"are under keys that were made within {days} days")
    judged = [_material_of(arn, kept.get(arn), keys[arn], oldest) for arn in old]
    worst = (Verdict.FAIL, Verdict.UNKNOWN)
    found = next((each for verdict in worst for each in judged if each.verdict is verdict), None)
    words = f"were wrapped by key material that is younger than {days} days"
    return found or Judgement(MATERIAL, Verdict.PASS, "claimed", words, is_claimed=True)


def _material_of(arn: str, id_: str | None, key: KeyState, oldest: datetime) -> Judgement:
    """Judge the age of one key's material. `id_` is the material's id in the object's metadata."""
    listed = key.materials
    if id_ is None or listed is None:
        return unseen(MATERIAL, _NO_IDS)
    if listed.hidden:
        return unseen(
            MATERIAL, f"the materials of {arn} are not known: {listed.hidden}", listed.denied
        )
    age = listed.ages.get(id_)
    if age is None:
        return unseen(MATERIAL, f"KMS lists no material of {arn} that has the claimed id")
    if age.by is not None and age.by < oldest:
        now = "still wraps new data keys" if age.is_current else "wraps no new data keys"
        words = (
            f"were wrapped by key material {id_[:8]} of {arn}, of {age.by:%Y-%m-%d}, which {now}"
        )
        cause = f"old-material:{arn}:{id_}"
        return Judgement(MATERIAL, Verdict.FAIL, cause, words, about=arn, is_claimed=True)
    if not age.is_exact:
        return unseen(MATERIAL, f"{arn} has imported or replicated material, which may be older")
    return _passed(MATERIAL, "")


def _commitment(_: str, seen: Sighting, __: Rules, ___: _Keys) -> Judgement | None:
    if seen.layer == "none":
        return None
    if seen.commits is None:
        return _unseen(COMMITMENT, seen)
    if seen.commits:
        return _passed(COMMITMENT, "have key commitment")
    if seen.layer == "s3ec":
        words = "are of format V1 or V2 of the S3 Encryption Client, without key commitment"
        return _failed(COMMITMENT, "s3ec-v1-v2", f"{words} (CVE-2025-14763)", "s3ec")
    words = "are messages of a suite without key commitment"
    return _failed(COMMITMENT, "no-commitment", words, _names(seen))


def _signature(_: str, seen: Sighting, rules: Rules, __: _Keys) -> Judgement | None:
    if not rules.demands.signed or seen.layer == "none":
        return None
    if seen.signed is None:
        return _unseen(SIGNATURE, seen)
    if seen.signed:
        return _passed(SIGNATURE, "are signed")
    about = "s3ec" if seen.layer == "s3ec" else _names(seen)
    return _failed(SIGNATURE, f"unsigned-{seen.layer}", "are not signed", about)


def _name(name: str, seen: Sighting, rules: Rules, __: _Keys) -> Judgement | None:
    if not rules.demands.bound_names or seen.layer == "none":
        return None
    if seen.is_bound is None:
        return _unseen(NAME, seen)
    about = "s3ec" if seen.layer == "s3ec" else _names(seen)
    if not seen.is_bound:
        return _failed(NAME, f"not-bound-{seen.layer}", "are not bound to their names", about)
    if seen.bound_name != name:
        return _failed(
            NAME, "other-name", "are bound to names that differ from their present ones", about
        )
    return _passed(NAME, "are bound to their names")


def _escrow(_: str, seen: Sighting, rules: Rules, __: _Keys) -> Judgement | None:
    if not rules.escrow or seen.layer == "none":
        return None
    if seen.keys is None:
        return _hidden_key(ESCROW, seen)
    names = {key.removeprefix("kms:") for key in seen.keys}
    unresolved = [each for each in rules.escrow if each.name is None]
    for each in rules.escrow:
        if each.name is not None and each.name.removeprefix("kms:") not in names:
            words = f"have no data key wrapped by {each.reference}"
            return _failed(ESCROW, f"no-escrow:{each.reference}", words, _names(seen))
    if unresolved:
        return unseen(ESCROW, unresolved[0].hidden, unresolved[0].denied)
    return _passed(ESCROW, "have data keys wrapped by each required key")


def _customer_key(_: str, seen: Sighting, __: Rules, ___: _Keys) -> Judgement | None:
    if seen.server_mode != "sse-c":
        return _unseen(CUSTOMER_KEY, seen) if seen.server_mode == UNSEEN else None
    if seen.opens is None:
        return _unseen(CUSTOMER_KEY, seen)
    if seen.opens:
        return _passed(CUSTOMER_KEY, "open with a given customer key")
    return _failed(CUSTOMER_KEY, "no-key-opens", "open with none of the given customer keys")


def _names(seen: Sighting) -> str:
    """Return the names of the keys that wrapped the data key, separated by spaces."""
    return " ".join(seen.keys or ())


_CONTROLS: tuple[Callable[[str, Sighting, Rules, _Keys], Judgement | None], ...] = (
    _mode,
    _key,
    _state,
    _material,
    _commitment,
    _signature,
    _name,
    _escrow,
    _customer_key,
)
_OF_LAYER = frozenset({KEY, STATE, MATERIAL, COMMITMENT, SIGNATURE, NAME, ESCROW})
