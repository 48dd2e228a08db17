# SPDX-License-Identifier: Apache-2.0
"""Keyrings and modes from text, as in storage options; transcripts test them for the command."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from base64 import b64encode, encodebytes, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import s3crypt
from s3crypt import configuration
from s3crypt.configuration import MODES, ModeChoice, keyring_of, mode_of
from s3crypt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KMS = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Make a file of 32 random bytes."""
    path = tmp_path / "acme.key"
    path.write_bytes(secrets.token_bytes(32))
    return path


@pytest.fixture
def pem_files(tmp_path: Path) -> tuple[Path, Path]:
    """Make a private key and its public key in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def said(error: pytest.ExceptionInfo[ConfigError]) -> str:
    """Return the whole text of an error, including its causes."""
    texts: list[str] = []
    cause: BaseException | None = error.value
    while cause is not None:
        texts += [str(cause), repr(cause), str(getattr(cause, "hint", ""))]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(texts)


def test_an_aes_key(key_file: Path) -> None:
    """aes:NAMESPACE/NAME=FILE names an AES key, as one text or in a list."""
    expected = s3crypt.AESKeyring("acme", "2026/q3", key_file.read_bytes())
    assert keyring_of(f"aes:acme/2026/q3={key_file}") == expected
    assert keyring_of([f"aes:acme/2026/q3={key_file}"]) == expected


@pytest.mark.parametrize("encode", [bytes.hex, lambda key: b64encode(key).decode()])
def test_an_aes_key_as_text_in_its_file(key_file: Path, encode: Callable[[bytes], str]) -> None:
    """The key file may contain raw bytes, hex or base64."""
    key = key_file.read_bytes()
    key_file.write_text(encode(key) + "\n")
    assert keyring_of(f"aes:acme/2026={key_file}") == s3crypt.AESKeyring("acme", "2026", key)


def test_rsa_keys(pem_files: tuple[Path, Path]) -> None:
    """rsa:NAMESPACE/NAME=FILE.pem names a private or a public key."""
    private, public = pem_files
    opener, sealer = (keyring_of(f"rsa:acme/pair={file}") for file in pem_files)
    assert opener == s3crypt.RSAKeyring("acme", "pair", private=private.read_bytes())
    assert sealer == s3crypt.RSAKeyring("acme", "pair", public=public.read_bytes())
    data_key = sealer.generate(32, {})
    assert opener.unwrap(data_key.edks, {}, 32) == data_key.plaintext


@pytest.mark.parametrize(
    ("text", "key"), [(KMS, KMS), (f"kms:{KMS}", KMS), ("kms:alias/a", "alias/a")]
)
def test_kms_keys(text: str, key: str) -> None:
    """kms:alias/NAME, kms:ARN and an ARN alone name a KMS key."""
    keyring = keyring_of(text)
    assert isinstance(keyring, s3crypt.KMSKeyring)
    assert keyring.key == key


def test_several_keys(key_file: Path) -> None:
    """With several keys the first key makes the data key."""
    keyring = keyring_of([f"aes:acme/one={key_file}", f"aes:acme/two={key_file}"])
    assert isinstance(keyring, s3crypt.MultiKeyring)
    names = [edk.provider for edk in keyring.generate(32, {}).edks]
    assert names == ["acme", "acme"]


def test_a_session_is_made_when_a_kms_key_needs_it(key_file: Path) -> None:
    """The function for a session is called only for a KMS key."""
    made = []

    def make() -> boto3.Session:
        made.append(boto3.Session())
        return made[-1]

    keyring_of(f"aes:acme/2026={key_file}", session=make)
    mode_of("sse-kms", key=KMS, session=make)
    assert made == []
    keyring_of([f"aes:acme/2026={key_file}", KMS], session=make)
    assert len(made) == 1
    keyring_of(KMS, session=made[0])


@pytest.mark.parametrize(
    "key",
    ["", "kms:", "aes:", "aes:acme", "aes:acme/2026", "aes:acme=FILE", "aes:/2026=FILE",
     "aes:acme/=FILE", "aes:acme/2026=", "rot13:acme/2026=FILE", "reports", "0123abcd" * 8,
     f"alias/{'0123abcd' * 8}", f"alias/{'A' * 43}",
     b"kms:alias/a", 7, None],
    ids=str,
)  # fmt: skip
def test_what_is_no_key(key: Any) -> None:
    """The error for a wrong key lists the forms of a key.

    It does not repeat the text, which may be a key itself.
    """
    with pytest.raises(ConfigError, match=r"^The value of key is not a key\.$") as caught:
        keyring_of([key])
    assert "aes:NAMESPACE/NAME=FILE" in (caught.value.hint or "")
    assert not key or len(str(key)) < 20 or str(key) not in said(caught)


@pytest.mark.parametrize("key", ["alias/reports", "1234abcd-12ab-34cd-56ef-1234567890ab"])
def test_a_kms_key_without_its_prefix(key: str) -> None:
    """Without its prefix a KMS key is refused, and the hint shows it with `kms:`."""
    calls: list[Callable[[], object]] = [
        lambda: keyring_of(key),
        lambda: s3crypt.ClientSide(key),
        lambda: s3crypt.S3Crypt(key),
        lambda: mode_of("sse-kms", key=key),
        lambda: mode_of(None, key=key),
    ]
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.hint == f"Did you mean kms:{key}?"


@pytest.mark.parametrize(
    "make",
    [
        lambda key: key.hex(),
        lambda key: key.hex().upper(),
        lambda key: key[:16].hex(),
        lambda key: b64encode(key[:16]).decode(),
        lambda key: b64encode(key).decode(),
        lambda key: urlsafe_b64encode(key).decode(),
        lambda key: urlsafe_b64encode(key).decode().rstrip("="),
        lambda key: f"'{key.hex()}'",
        lambda key: f"{b64encode(key).decode()}x",
        lambda key: f"{key.hex()[:40]} {key.hex()[40:]}",
        lambda key: "\0" + key.decode("latin-1"),
        lambda key: f"-----BEGIN PRIVATE KEY-----\n{b64encode(key * 50).decode()}\n",
    ],
)
def test_a_key_for_the_name_of_its_file(make: Callable[[bytes], str]) -> None:
    """If a key is given instead of its file's name, neither the error nor a cause repeats it."""
    text = make(secrets.token_bytes(32))
    for key in (f"aes:acme/2026={text}", f"rsa:acme/2026={text}"):
        with pytest.raises(ConfigError, match="must be given by the name of its file") as caught:
            keyring_of(key)
        assert text not in said(caught)
    with pytest.raises(ConfigError, match="must be given by the name of its file") as caught:
        mode_of("sse-c", sse_c_key_file=text)
    assert text not in said(caught)


def test_key_bytes_for_the_name_of_their_file() -> None:
    """Key bytes are refused as a file name, and the error does not repeat them."""
    key = secrets.token_bytes(32)
    with pytest.raises(ConfigError, match="must be given by the name of its file") as caught:
        mode_of("sse-c", sse_c_key_file=key)
    assert repr(key) not in said(caught)


def test_a_file_that_is_named_like_a_key(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing file is read even if its name looks like a key."""
    name = "0" * 64
    key_file.rename(key_file.with_name(name))
    monkeypatch.chdir(key_file.parent)
    assert isinstance(keyring_of(f"aes:acme/2026={name}"), s3crypt.AESKeyring)


def test_the_bytes_of_a_wrong_file_are_not_repeated(key_file: Path) -> None:
    """Errors about a wrong key file do not repeat the file's bytes."""
    secret = b"correct horse battery staple 31"
    key_file.write_bytes(secret)
    for key in (f"aes:acme/2026={key_file}", f"rsa:acme/2026={key_file}"):
        with pytest.raises(ConfigError) as caught:
            keyring_of(key)
        assert secret.decode() not in said(caught)


def test_a_passphrase_is_not_asked_for(pem_files: tuple[Path, Path]) -> None:
    """An encrypted PEM file is refused, because no passphrase can be given."""
    private, _ = pem_files
    private.write_bytes(private.read_bytes().replace(b"BEGIN PRIVATE", b"BEGIN ENCRYPTED PRIVATE"))
    with pytest.raises(ConfigError, match="passphrase"):
        keyring_of(f"rsa:acme/pair={private}")


def _openssh(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def _openssh_public(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )


def _in_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    began = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, began, began.replace(year=2036)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _request(key: rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _for_pss(key: rsa.RSAPrivateKey) -> bytes:
    """Return a key whose identifier allows only PSS signatures."""
    der = _in_der(key).replace(
        bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d01010a"), 1
    )
    return b"-----BEGIN PRIVATE KEY-----\n%s-----END PRIVATE KEY-----\n" % encodebytes(der)


def _elliptic(_: rsa.RSAPrivateKey) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


OTHERS: dict[str, tuple[Callable[[rsa.RSAPrivateKey], bytes], str]] = {
    "an OpenSSH private key": (_openssh, "openssl genrsa -out FILE.pem 4096"),
    "an OpenSSH public key": (_openssh_public, "ssh-keygen -e -m PKCS8"),
    "a certificate": (_certificate, "openssl x509 -in FILE -noout -pubkey"),
    "a certificate request": (_request, "openssl req -in FILE -noout -pubkey"),
    "an RSA key for PSS signatures only": (_for_pss, "openssl genrsa"),
    "an elliptic-curve key": (_elliptic, "openssl genrsa"),
    "not PEM: it may be a key in DER": (_in_der, "openssl pkey"),
    "not a PEM file": (lambda _: b"no key", "openssl genrsa"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_rsa_key_for_encryption(what: str, tmp_path: Path) -> None:
    """The error for a wrong key names the kind and the file.

    The hint names the command for a new key.
    """
    make, command = OTHERS[what]
    content = make(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{path} is {what}") as caught:
        keyring_of(f"rsa:acme/pair={path}")
    assert command in str(caught.value.hint)
    halves: list[dict[str, Any]] = [{"private": content}, {"public": content}]
    for half in halves:
        with pytest.raises(ConfigError, match=f"this is {what}"):
            s3crypt.RSAKeyring("acme", "pair", **half)


def test_a_key_beside_its_certificate(pem_files: tuple[Path, Path]) -> None:
    """A key is read from a PEM file that also contains its certificate."""
    private, _ = pem_files
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    private.write_bytes(private.read_bytes() + _certificate(key))
    assert isinstance(keyring_of(f"rsa:acme/pair={private}"), s3crypt.RSAKeyring)


def test_an_rsa_key_of_another_kind_is_named_with_its_file(tmp_path: Path) -> None:
    """The error for an unsuitable RSA key names the file, whatever is wrong with the key."""
    path = tmp_path / "curve.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match=f"{path}: The public key is not an RSA key"):
        keyring_of(f"rsa:acme/pair={path}")


def test_the_home_directory_in_the_name_of_a_key_file(
    key_file: Path, pem_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """s3crypt expands `~` in a key file's name: a shell expands it only where a word begins."""
    monkeypatch.setenv("HOME", str(key_file.parent))
    key = key_file.read_bytes()
    expected = s3crypt.AESKeyring("acme", "2026", key)
    assert keyring_of("aes:acme/2026=~/acme.key") == expected
    assert keyring_of(f"rsa:acme/pair=~/{pem_files[0].name}")
    assert s3crypt.SSEC.from_file("~/acme.key") == s3crypt.SSEC(key)
    assert mode_of("sse-c", sse_c_key_file="~/acme.key") == s3crypt.SSEC(key)
    choice = ModeChoice(key="aes:acme/2026=~/acme.key").anchored()
    assert choice.key == (f"aes:acme/2026={key_file}",)
    with pytest.raises(ConfigError, match=f"Cannot read the key file {key_file.parent}/absent"):
        keyring_of("aes:acme/2026=~/absent")
    with pytest.raises(ConfigError, match="Cannot read the key file ~nobody-here/absent"):
        keyring_of("aes:acme/2026=~nobody-here/absent")


@pytest.mark.parametrize("kind", ["aes", "rsa"])
def test_a_file_that_is_not_there(kind: str, tmp_path: Path) -> None:
    """The error for a missing key file names the file."""
    with pytest.raises(ConfigError, match=r"Cannot read the key file .*absent: No such file"):
        keyring_of(f"{kind}:acme/2026={tmp_path / 'absent'}")


def test_a_choice_reads_no_file(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A choice of keys is checked at once, but its files are read later, by absolute paths."""
    monkeypatch.chdir(key_file.parent)
    choice = ModeChoice(key="aes:acme/2026=acme.key").anchored()
    assert choice.key == (f"aes:acme/2026={key_file}",)
    monkeypatch.chdir("/")
    made = choice.make()
    assert isinstance(made, s3crypt.ClientSide)
    key_file.unlink()
    with pytest.raises(ConfigError, match="Cannot read the key file"):
        choice.make()
    with pytest.raises(ConfigError, match="not a key"):
        ModeChoice(key="acme.key")


@pytest.mark.parametrize("kind", ["aes", "rsa"])
def test_a_file_without_end(kind: str) -> None:
    """An endless file is refused after a bounded read."""
    with pytest.raises(ConfigError, match=r"does not contain a 32-byte key|not a PEM file"):
        keyring_of(f"{kind}:acme/2026=/dev/zero")


@pytest.mark.parametrize("keys", [[], (), None])
def test_no_key(keys: Any) -> None:
    """An empty choice of keys is refused."""
    with pytest.raises(ConfigError, match=r"^No key was given\.$"):
        keyring_of(keys)


def test_nothing_asked_for() -> None:
    """Without options there is no mode, and the store reads only server-side objects."""
    assert mode_of(None) is None


def test_every_mode(key_file: Path) -> None:
    """Every mode is made by its name and its options."""
    context = {"team": "reports"}
    assert mode_of("sse-s3") == s3crypt.SSES3()
    assert mode_of("sse-kms", key=KMS, context=context) == s3crypt.SSEKMS(KMS, context=context)
    assert mode_of("dsse-kms", key=f"kms:{KMS}") == s3crypt.DSSEKMS(KMS)
    customer = s3crypt.SSEC(key_file.read_bytes())
    assert mode_of("sse-c", sse_c_key_file=key_file) == customer
    assert mode_of(None, sse_c_key_file=str(key_file)) == customer
    aes = f"aes:acme/2026={key_file}"
    keyring = s3crypt.AESKeyring("acme", "2026", key_file.read_bytes())
    assert mode_of(None, key=aes) == mode_of("client", key=[aes]) == s3crypt.ClientSide(keyring)
    assert {"sse-s3", "sse-kms", "dsse-kms", "sse-c", "client"} == MODES.keys()


def test_all_options_of_client_side(key_file: Path) -> None:
    """Every option of client-side encryption reaches the mode."""
    mode = mode_of(
        "client",
        key=f"aes:acme/2026={key_file}",
        context={"team": "reports"},
        signed=True,
        frame_length=2**16,
        key_location="metadata",
        bind_name=False,
        bind_bucket=True,
    )
    assert mode == s3crypt.ClientSide(
        s3crypt.AESKeyring("acme", "2026", key_file.read_bytes()),
        context={"team": "reports"},
        signed=True,
        frame_length=2**16,
        key_location="metadata",
        bind_name=False,
        bind_bucket=True,
    )


_OPTIONS: dict[str, Any] = {
    "key": KMS,
    "context": {"a": "b"},
    "sse_c_key_file": os.devnull,
    "signed": True,
    "frame_length": 2**16,
    "key_location": "metadata",
    "bind_name": False,
    "bind_bucket": True,
}


_IMPLYING = {"key", "sse_c_key_file"}


@pytest.mark.parametrize(
    ("mode", "option"),
    [
        (mode, option)
        for mode in (None, *MODES)
        for option in _OPTIONS
        if option not in (MODES[mode] if mode else _IMPLYING)
    ],
)
def test_nothing_given_is_ignored(mode: str | None, option: str) -> None:
    """An option that does not apply to the mode is an error that names it."""
    with pytest.raises(ConfigError, match=f"^{option} needs "):
        mode_of(mode, **{option: _OPTIONS[option]})


_LENGTH_TEXT = "frame_length must be a number of bytes."
_CONTEXT_TEXT = "context must be a mapping of text to text."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": None, "frame_length": 2**16}, "frame_length needs mode or key."),
        ({"mode": "sse-s3", "frame_length": 2**16}, 'frame_length needs mode="client".'),
        ({"mode": "client", "sse_c_key_file": "x"}, 'sse_c_key_file needs mode="sse-c".'),
        ({"mode": "sse-s3", "key": KMS}, "key needs another mode than sse-s3."),
        ({"mode": None, "key": KMS, "sse_c_key_file": ""}, "Give key or sse_c_key_file, not both."),
        ({"mode": "client"}, 'mode="client" needs key.'),
        ({"mode": "sse-c"}, 'mode="sse-c" needs sse_c_key_file.'),
        ({"mode": "sse-kms"}, 'mode="sse-kms" needs exactly one key, of KMS.'),
        ({"mode": "sse-kms", "key": [KMS, KMS]}, 'mode="sse-kms" needs exactly one key, of KMS.'),
        ({"mode": "dsse-kms", "key": "aes:a/b="}, 'mode="dsse-kms" needs exactly one key, of KMS.'),
        ({"mode": "rot13"}, "The mode does not exist."),
        ({"mode": None, "key": KMS, "frame_length": "64KiB"}, _LENGTH_TEXT),
        ({"mode": None, "key": KMS, "frame_length": True}, _LENGTH_TEXT),
        ({"mode": None, "key": KMS, "context": "a=b"}, _CONTEXT_TEXT),
        ({"mode": None, "key": KMS, "context": {"a": 1}}, _CONTEXT_TEXT),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(options: dict[str, Any], message: str) -> None:
    """A wrong combination of options is an error that names them as Python arguments."""
    with pytest.raises(ConfigError) as caught:
        mode_of(**options)
    assert str(caught.value) == message


def test_options_are_named_as_the_caller_writes_them() -> None:
    """A caller can pass a function that spells option names in errors, as the command does."""
    with pytest.raises(ConfigError, match=r"^<frame_length> needs <mode=client>\.$"):
        mode_of(
            "sse-s3",
            frame_length=2**16,
            spell=lambda name, value=None: f"<{name}={value}>" if value else f"<{name}>",
        )


def test_other_keys_than_those_of_kms_load_no_boto3(key_file: Path) -> None:
    """A raw key loads no boto3, and the module itself loads no cipher."""
    code = (
        "import sys\n"
        f"import {configuration.__name__} as configuration\n"
        "assert 'cryptography' not in sys.modules\n"
        f"configuration.mode_of(None, key='aes:acme/2026={key_file}')\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
