# SPDX-License-Identifier: Apache-2.0
"""Checks the KMS keys of an operation: states, the caller's permissions, policies and grants.

Permissions are tested by KMS's DryRun: KMS authorizes the request but does not perform it. No data
key is unwrapped.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3crypt.command_lines import s3crypt_keys
from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError
from s3crypt.modes import BOUND_NAME, DSSEKMS, SSEKMS, ClientSide
from s3crypt.policy import Document, Policies, Request, Statement, Verdict, decide
from s3crypt.policy.expectations import ADMINISTRATOR

from .mending import key_policy_with, put_key_policy, region_of_arn, sparing
from .policies import network_conditions
from .refusals import is_denied, of_error
from .storage import reason_to_skip
from .values import Area, Case, Diagnosis, Outcome

if TYPE_CHECKING:
    from .known import Known, Services

_DRY_RUN = "DryRunOperationException"
_GENERATE, _DECRYPT = "kms:GenerateDataKey", "kms:Decrypt"
_RE_ENCRYPT = "kms:ReEncryptFrom"


@dataclass(frozen=True, slots=True)
class _Use:
    """A KMS key, and how the operation uses it.

    Attributes:
        key: The id, ARN or alias of the key.
        by_s3: Whether S3 calls KMS on the caller's behalf, instead of this process.
        actions: The KMS actions that the operation needs.
        into: The destination key if the operation re-encrypts the data key in KMS, otherwise None.
    """

    key: str
    by_s3: bool
    actions: tuple[str, ...]
    into: str | None = None


def check_keys(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Describe each KMS key of the operation, test its uses by DryRun, and read its policy."""
    if reason_to_skip(known) or (known.identity is None and not services.are_of_one_provider):
        yield Diagnosis("KMS key", Outcome.SKIPPED, Area.KMS, _why_skipped(known))
        return
    uses = list(_uses(case, known))
    if not uses:
        yield Diagnosis("KMS key", Outcome.SKIPPED, Area.KMS, "no KMS key is used")
    for use in uses:
        yield from _of_key(use, case, services, known)
    yield from _fitting(case, services, known)
    yield from _bound(case, known)


def _fitting(case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Report whether a given key is among the keys of the client-side object."""
    wrapped = known.info.keys if known.info else ()
    # For a get in a server-side mode, another check reports that the mode is wrong.
    if case.purpose != "get" or not isinstance(case.mode, ClientSide | None) or not wrapped:
        return
    if case.mode is None:
        seen = (
            "the object is encrypted client-side, but no key is given. Its keys: "
            f"{', '.join(wrapped)}"
        )
        yield Diagnosis("keys of object", Outcome.WRONG, Area.KMS, seen, _with_key(case, wrapped))
        return
    given = [_resolved(key, services) for key in case.keys]
    if any(name == key or key.startswith(f"{name}=") for key in given for name in wrapped):
        yield Diagnosis("keys of object", Outcome.OK, Area.KMS, "one of the object's keys is given")
        return
    seen = f"no given key is one of the object's keys: {', '.join(wrapped)}"
    yield Diagnosis("keys of object", Outcome.WRONG, Area.KMS, seen, _with_key(case, wrapped))


def _bound(case: Case, known: "Known") -> Iterator[Diagnosis]:
    """Report each entry of the object's encryption context that the get would refuse."""
    mode, info, at = case.mode, known.info, case.location
    if case.purpose != "get" or not isinstance(mode, ClientSide) or at is None:
        return
    if info is None or not info.keys:
        return
    uri = shlex.quote(str(at))
    for name, wanted in mode.object_context(at.name, at.bucket).items():
        found = info.context.get(name)
        if found == wanted:
            continue
        if name != BOUND_NAME:
            seen = f"the object's encryption context has {name}={found!r}, not {wanted!r}"
            following = (
                f"s3crypt inspect {uri}  # shows the context; give it by --context if it is right"
            )
        elif found is None:
            seen, following = (
                "the object is not bound to its name",
                f"s3crypt get {uri} . --no-bind-name",
            )
        else:
            seen = (
                f"the object was written as {found!r}: it was moved, or replaced by another object"
            )
            following = f"s3crypt get {uri} . --written-as OLD_NAME  # if you know who moved it"
        yield Diagnosis("context of object", Outcome.WRONG, Area.OBJECT, seen, following)


def _with_key(case: Case, wrapped: Sequence[str]) -> str:
    key = wrapped[0]
    spelled = f"{key}=FILE" if key.startswith(("aes:", "rsa:")) else key
    return f"s3crypt get {shlex.quote(str(case.location))} . --key {shlex.quote(spelled)}"


def _resolved(key: str, services: "Services") -> str:
    """Return a key reference, with the id or alias of a KMS key replaced by its ARN if possible."""
    if key.startswith(("aes:", "rsa:")):
        return key
    name = key.removeprefix("kms:")
    try:
        return f"kms:{services.keys.metadata(name)['Arn']}"
    except S3CryptError:
        return f"kms:{name}"


def _why_skipped(known: "Known") -> str:
    return reason_to_skip(known) or "KMS and S3 are of different providers"


def _uses(case: Case, known: "Known") -> Iterator[_Use]:
    if case.reads:
        yield from _read_keys(case, known)
    if case.writes:
        yield from _written_keys(case, known)


def _read_keys(case: Case, known: "Known") -> Iterator[_Use]:
    info = known.info
    # The key of S3's encryption is taken from the headers, which S3 returns even if the key is
    # disabled.
    of_s3 = known.head and known.head.get("SSEKMSKeyId")
    if of_s3:
        yield _Use(str(of_s3), by_s3=True, actions=(_DECRYPT,))
    into = _rewrapped_into(case, known)
    if info is not None:
        mine = (_RE_ENCRYPT,) if into else (_DECRYPT,)
        for key in info.keys:
            if key.startswith("kms:"):
                yield _Use(key.removeprefix("kms:"), by_s3=False, actions=mine, into=into)
    elif case.purpose == "get" and not of_s3:
        yield from _given(case, (_DECRYPT,))


def _written_keys(case: Case, known: "Known") -> Iterator[_Use]:
    mode = case.mode
    if isinstance(mode, SSEKMS | DSSEKMS):
        # S3 decrypts the data key of a multipart upload for each part, so a put also needs
        # kms:Decrypt.
        yield _Use(mode.key, by_s3=True, actions=(_GENERATE, _DECRYPT))
    elif mode is None and not case.keys and known.default_key and case.purpose == "put":
        yield _Use(known.default_key, by_s3=True, actions=(_GENERATE, _DECRYPT))
    else:
        # A rotation that re-encrypts the data key in KMS does not generate a new data key.
        yield from _given(case, () if _rewrapped_into(case, known) else (_GENERATE,))


def _rewrapped_into(case: Case, known: "Known") -> str | None:
    """Return the KMS key under which a rotation puts the object's data key, or None.

    It is None if the operation does not re-encrypt the data key in KMS.
    """
    is_kept = known.info is not None and known.info.key_location == "metadata"
    if case.purpose != "rotate" or not is_kept or not isinstance(case.mode, ClientSide):
        return None
    return next((use.key for use in _given(case, ())), None)


def _given(case: Case, actions: tuple[str, ...]) -> Iterator[_Use]:
    by_s3 = isinstance(case.mode, SSEKMS | DSSEKMS)
    for key in case.keys:
        name = key.removeprefix("kms:")
        if not name.startswith(("aes:", "rsa:")):
            yield _Use(name, by_s3=by_s3, actions=actions)


def _of_key(use: _Use, case: Case, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    metadata = None
    try:
        metadata = services.keys.metadata(use.key)
        known.key_metadata[use.key] = metadata
    except (KeyUnavailableError, ConfigError) as error:
        yield _undescribed(use, case, services, error)
        if not is_denied(error):
            return
    except S3CryptError as error:
        yield of_error("KMS key", Area.KMS, error)
        return
    if metadata is not None:
        yield from _state(use, metadata)
        if not _is_in_region(use, metadata, known):
            yield _elsewhere(use, metadata, known)
    arn = str(metadata["Arn"]) if metadata else use.key
    document = _policy(arn, services, known)
    if metadata is None or metadata.get("KeyState") == "Enabled":
        for action in use.actions:
            yield from _permission(action, use, arn, case, services, known)
    if isinstance(document, Document):
        yield from _of_policy(arn, document)
    elif document is not None:
        yield document
    yield from _grants(arn, services, known)


def _undescribed(use: _Use, case: Case, services: "Services", error: S3CryptError) -> Diagnosis:
    if error.code == "NotFoundException":
        region = (
            region_of_arn(use.key)
            if use.key.startswith("arn:")
            else (services.kms.get().meta.region_name)
        )
        seen = f"the KMS key {use.key} does not exist in {region}"
        name = use.key.removeprefix("alias/")
        if name == use.key or case.purpose == "get":
            return Diagnosis("KMS key", Outcome.WRONG, Area.KMS, seen, "s3crypt keys list")
        return Diagnosis(
            "KMS key",
            Outcome.WRONG,
            Area.KMS,
            seen,
            f"s3crypt keys create --alias {shlex.quote(name)}",
        )
    if is_denied(error):
        seen = f"{use.key} cannot be read: you lack kms:DescribeKey"
        return Diagnosis("KMS key", Outcome.UNKNOWN, Area.POLICY, seen, "Ask for kms:DescribeKey.")
    return of_error("KMS key", Area.KMS, error)


def _state(use: _Use, metadata: Mapping[str, Any]) -> Iterator[Diagnosis]:
    arn, state = metadata["Arn"], metadata.get("KeyState")
    called = arn if use.key == arn else f"{use.key} ({arn})"
    enable = s3crypt_keys("enable", arn)
    if (
        metadata.get("KeySpec") != "SYMMETRIC_DEFAULT"
        or metadata.get("KeyUsage") != "ENCRYPT_DECRYPT"
    ):
        seen = (
            f"{called} is of the type {metadata.get('KeySpec')} for {metadata.get('KeyUsage')}, "
            "which S3 and s3crypt cannot use"
        )
        yield Diagnosis(
            "KMS key", Outcome.WRONG, Area.KEY, seen, "s3crypt keys create --alias NAME"
        )
    elif state == "Enabled":
        yield Diagnosis("KMS key", Outcome.OK, Area.KEY, f"{called} is enabled")
    elif state == "PendingDeletion":
        on = metadata.get("DeletionDate")
        when = f", on {on:%Y-%m-%d}" if on else ""
        yield Diagnosis(
            "KMS key",
            Outcome.WRONG,
            Area.KEY,
            f"{called} is pending deletion{when}",
            f"{s3crypt_keys('cancel-deletion', arn)} && {enable}",
        )
    else:
        following = {
            "Disabled": enable,
            "PendingImport": s3crypt_keys("import-material", arn, "FILE"),
            "Unavailable": "Connect the custom key store that holds the key.",
        }.get(str(state), "Wait: KMS is changing the key.")
        words = "pending import" if state == "PendingImport" else str(state).lower()
        yield Diagnosis("KMS key", Outcome.WRONG, Area.KEY, f"{called} is {words}", following)


def _is_in_region(use: _Use, metadata: Mapping[str, Any], known: "Known") -> bool:
    is_free = not use.by_s3 or known.bucket_region is None
    return is_free or region_of_arn(metadata["Arn"]) == known.bucket_region


def _elsewhere(use: _Use, metadata: Mapping[str, Any], known: "Known") -> Diagnosis:
    arn, there = metadata["Arn"], known.bucket_region
    seen = f"{arn} is in {region_of_arn(arn)}; S3 accepts only keys of the bucket's Region, {there}"
    alias = use.key.removeprefix("alias/") if use.key.startswith("alias/") else "NAME"
    return Diagnosis(
        "Region of key",
        Outcome.WRONG,
        Area.REGION,
        seen,
        f"s3crypt keys create --alias {shlex.quote(alias)} --region {shlex.quote(str(there))}",
    )


def _permission(
    action: str, use: _Use, arn: str, case: Case, services: "Services", known: "Known"
) -> Iterator[Diagnosis]:
    name = action.removeprefix("kms:")
    try:
        _tried(action, arn, case, use, services)
    except S3CryptError as error:
        if error.code == _DRY_RUN:
            yield Diagnosis(name, Outcome.OK, Area.KMS, f"KMS allows it (DryRun) with {arn}")
        elif is_denied(error):
            known.denied.setdefault(arn, set()).add(action)
            yield _denied(action, use, arn, case, known, error)
        elif error.code in ("InvalidCiphertextException", "ValidationException"):
            yield Diagnosis(
                name,
                Outcome.UNKNOWN,
                Area.KMS,
                "this KMS cannot test the permission without a ciphertext",
            )
        else:
            yield of_error(name, Area.KMS, error)
        return
    yield Diagnosis(name, Outcome.UNKNOWN, Area.KMS, "this KMS ignores DryRun")


def _tried(action: str, arn: str, case: Case, use: _Use, services: "Services") -> None:
    context = _context(case, use)
    without = ["IGNORE_CIPHERTEXT"]
    ask = services.ask_kms.ask
    if action == _GENERATE:
        ask(
            "generate_data_key",
            arn,
            KeyId=arn,
            KeySpec="AES_256",
            EncryptionContext=context,
            DryRun=True,
        )
    elif action == _DECRYPT:
        ask(
            "decrypt",
            arn,
            KeyId=arn,
            EncryptionContext=context,
            DryRun=True,
            DryRunModifiers=without,
        )
    else:
        # The DryRun needs both keys, because KMS authorizes the source and the destination
        # together.
        into = use.into or arn
        ask(
            "re_encrypt",
            arn,
            SourceKeyId=arn,
            DestinationKeyId=into,
            DryRun=True,
            SourceEncryptionContext=context,
            DestinationEncryptionContext=context,
            DryRunModifiers=without,
        )


def _context(case: Case, use: _Use) -> dict[str, str]:
    """Return the encryption context for the DryRun: policies may have conditions on the context."""
    if case.location is None:
        return {}
    if use.by_s3:
        return {"aws:s3:arn": f"arn:aws:s3:::{case.location.bucket}/{case.location.name}"}
    if isinstance(case.mode, ClientSide):
        return case.mode.object_context(case.location.name, case.location.bucket)
    return {BOUND_NAME: case.location.name}


def _denied(
    action: str, use: _Use, arn: str, case: Case, known: "Known", error: S3CryptError
) -> Diagnosis:
    name = action.removeprefix("kms:")
    said = " ".join(str(error).removeprefix(f"{arn}: ").split())
    document = known.key_policies.get(arn)
    if use.by_s3 and document and _is_allowed_through_s3(action, arn, case, document, known):
        seen = "denied if you call KMS directly; the key policy allows it through S3"
        return Diagnosis(name, Outcome.UNKNOWN, Area.POLICY, seen)
    following = _mended(action, arn, document, known)
    return Diagnosis(name, Outcome.WRONG, Area.POLICY, said, following)


def _mended(action: str, arn: str, document: Document | None, known: "Known") -> str:
    if document is None or known.identity is None:
        return f"Ask for {action} on {arn}, in the key policy or by a grant."
    caller = known.identity.caller
    request = Request(caller, action, arn, str(arn.split(":")[4]), {"aws:SecureTransport": "true"})

    def denies(statement: Statement) -> bool:
        decision = decide(request, Policies((ADMINISTRATOR,), key=Document((statement,))))
        return decision.verdict is Verdict.DENIED and bool(decision.statements)

    denying = [each for each in document.statements if denies(each)]
    if any(each.is_ours for each in denying):
        names = " and ".join(str(each.sid) for each in denying if each.is_ours)
        return f"{names} protects the key: ask its administrator for {action}."
    if denying:
        return put_key_policy(arn, sparing(document, denies, caller))
    if (
        decide(request, Policies(identity=(ADMINISTRATOR,), key=document)).verdict
        is Verdict.ALLOWED
    ):
        return f"Ask for {action} on {arn} in your own policies."
    return key_policy_with(arn, document, caller, (action,))


def _is_allowed_through_s3(
    action: str, arn: str, case: Case, document: Document, known: "Known"
) -> bool:
    if known.identity is None or case.location is None:
        return False
    _, _, _, region, account, _ = arn.split(":", 5)
    context = {
        "aws:SecureTransport": "true",
        "kms:ViaService": f"s3.{region}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{case.location.bucket}/"
        f"{case.location.name}",
    }
    request = Request(known.identity.caller, action, arn, account, context)
    direct = Request(known.identity.caller, action, arn, account, {"aws:SecureTransport": "true"})
    policies = Policies((ADMINISTRATOR,), key=document)
    # The DryRun is a direct request. Its denial is harmless if the key policy denies only direct
    # requests and allows the same request through S3.
    verdicts = [decide(each, policies).verdict for each in (request, direct)]
    return verdicts == [Verdict.ALLOWED, Verdict.DENIED]


def _policy(arn: str, services: "Services", known: "Known") -> Document | Diagnosis | None:
    """Return a key's policy, or a diagnosis if it cannot be read. Return None without a key ARN."""
    if ":key/" not in arn:
        return None
    try:
        known.key_policies[arn] = services.key_policies.read(arn)
    except S3CryptError as error:
        if not is_denied(error):
            return of_error("key policy", Area.KMS, error)
        seen = "the key policy cannot be read: you lack kms:GetKeyPolicy"
        return Diagnosis("key policy", Outcome.UNKNOWN, Area.POLICY, seen)
    return known.key_policies[arn]


def _of_policy(arn: str, document: Document) -> Iterator[Diagnosis]:
    account = arn.split(":")[4]
    delegates = any(
        each.effect == "Allow"
        and principal.type in ("AWS", "*")
        and (principal.value in (account, "*") or principal.value.endswith(f"::{account}:root"))
        for each in document.statements
        for principal in each.principals or ()
    )
    seen = (
        "lets IAM policies of its account decide, too"
        if delegates
        else (
            "does not let IAM policies decide: only callers that the key policy names may use the "
            "key"
        )
    )
    yield Diagnosis("key policy", Outcome.OK, Area.POLICY, seen)
    yield from network_conditions("key policy", document)


def _grants(arn: str, services: "Services", known: "Known") -> Iterator[Diagnosis]:
    """Report the grants for the caller's ARN. Grants for other principals may also apply."""
    caller = known.identity.caller.arn if known.identity else None
    if ":key/" not in arn or caller is None:
        return
    try:
        found = list(
            services.ask_kms.pages("list_grants", arn, "Grants", KeyId=arn, GranteePrincipal=caller)
        )
    except S3CryptError as error:
        if not is_denied(error):
            yield of_error("grants", Area.KMS, error)
        else:
            seen = "the grants of the key cannot be listed: you lack kms:ListGrants"
            yield Diagnosis("grants", Outcome.UNKNOWN, Area.POLICY, seen)
        return
    operations = sorted({name for each in found for name in each["Operations"]})
    seen = f"grants to you allow {', '.join(operations)}" if operations else "no grant is for you"
    yield Diagnosis("grants", Outcome.OK, Area.POLICY, seen)
