# SPDX-License-Identifier: Apache-2.0
"""The five modes: each value is validated when it is made, and its repr hides its key."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from samples import CUSTOMER_KEY, aes

from s3crypt import DSSEKMS, SSEC, SSEKMS, SSES3, ClientSide, ConfigError
from s3crypt.location import Location
from s3crypt.modes import reported_mode
from s3crypt.transfer import CopySource, Upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MD5 = "tP/LI3N87DFaSk0aoqYgzg=="  # openssl md5 -binary of bytes 0 to 31, in base64


def all_modes() -> list[Any]:
    """Return one value of each mode."""
    return [SSES3(), SSEKMS("alias/x"), DSSEKMS("alias/x"), SSEC(CUSTOMER_KEY), ClientSide(aes())]


def test_names_are_those_of_the_command_line() -> None:
    """The modes have the names that the command line uses."""
    names = [mode.name for mode in all_modes()]
    assert names == ["sse-s3", "sse-kms", "dsse-kms", "sse-c", "client"]


@pytest.mark.parametrize("mode", all_modes(), ids=lambda mode: mode.name)
def test_modes_are_frozen(mode: Any) -> None:
    """No field of a mode can be set, so threads can share the mode."""
    for field in dataclasses.fields(mode):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(mode, field.name, None)


def test_a_mode_keeps_its_own_context() -> None:
    """Changing the caller's dictionary afterwards does not change the mode."""
    context = {"team": "a"}
    client, kms = ClientSide(aes(), context=context), SSEKMS("alias/x", context)
    before = kms.write_arguments()
    context["team"] = "b"
    assert client.object_context("x", "acme") == {"team": "a", "s3crypt:key": "x"}
    assert kms.write_arguments() == before


@pytest.mark.parametrize("mode", all_modes(), ids=lambda mode: mode.name)
def test_no_repr_shows_a_key(mode: Any) -> None:
    """Neither repr nor str of a mode shows its key, raw, in hex or in base64."""
    for key in (CUSTOMER_KEY, aes().key_bytes):
        for form in (repr(key), key.hex(), base64.b64encode(key).decode()):
            assert form not in repr(mode)
            assert form not in str(mode)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SSEKMS(""),
        lambda: DSSEKMS(""),
        lambda: SSEKMS(None),  # type: ignore[arg-type]  # from untyped code
        lambda: SSEKMS("k", {"a": 1}),  # type: ignore[dict-item]
        lambda: DSSEKMS("k", {1: "a"}),  # type: ignore[dict-item]
        lambda: SSEC(b""),
        lambda: SSEC(bytes(31)),
        lambda: SSEC(bytes(33)),
        lambda: SSEC("x" * 32),  # type: ignore[arg-type]  # from untyped code
        lambda: ClientSide(aes(), context={"s3crypt:key": "mine"}),
        lambda: ClientSide(aes(), context={"aws-crypto-public-key": "mine"}),
        lambda: ClientSide(aes(), context={"a": 1}),  # type: ignore[dict-item]
        lambda: ClientSide(aes(), key_location="elsewhere"),  # type: ignore[arg-type]
        lambda: ClientSide(aes(), frame_length=0),
        lambda: ClientSide(aes(), frame_length=4096 - 128),
        lambda: ClientSide(aes(), frame_length=4096 + 1),
        lambda: ClientSide(aes(), frame_length=64 * 2**20 + 128),
    ],
)
def test_an_impossible_mode_is_refused_when_made(make: Callable[[], object]) -> None:
    """Invalid arguments raise ConfigError when the mode is made."""
    with pytest.raises(ConfigError):
        make()


def test_what_each_mode_asks_for() -> None:
    """Each mode has the expected request arguments for a write, and for every other request."""
    key: dict[str, object] = {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": base64.b64encode(CUSTOMER_KEY).decode(),
        "SSECustomerKeyMD5": MD5,
    }
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/x"}
    expected: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"ServerSideEncryption": "AES256"}, {}),
        ({**kms, "BucketKeyEnabled": True}, {}),
        ({**kms, "ServerSideEncryption": "aws:kms:dsse"}, {}),
        (key, key),
        ({}, {}),
    ]
    for mode, (write, read) in zip(all_modes(), expected, strict=True):
        assert (mode.write_arguments(), mode.read_arguments()) == (write, read)


def test_a_copys_source_takes_the_customer_key_by_other_names() -> None:
    """The customer key of a copy's source is sent as CopySourceSSECustomer... arguments."""
    mode = SSEC(CUSTOMER_KEY)
    assert mode.copy_source_arguments() == {
        f"CopySource{name}": value for name, value in mode.read_arguments().items()
    }


@pytest.mark.parametrize("mode", [SSEKMS, DSSEKMS])
def test_a_kms_context_is_base64_of_json(mode: Any) -> None:
    """The context's JSON is sorted, so equal contexts give equal headers in base64."""
    one = mode("k", {"b": "ä", "a": "1"}).write_arguments()["SSEKMSEncryptionContext"]
    assert one == mode("k", {"a": "1", "b": "ä"}).write_arguments()["SSEKMSEncryptionContext"]
    assert json.loads(base64.b64decode(one)) == {"a": "1", "b": "ä"}
    assert "SSEKMSEncryptionContext" not in mode("k", {}).write_arguments()


def test_an_object_is_bound_to_its_name_unless_told_otherwise() -> None:
    """The object's name is a pair of its encryption context, unless bind_name is False."""
    assert ClientSide(aes()).object_context("a/b", "acme") == {"s3crypt:key": "a/b"}
    assert ClientSide(aes(), bind_name=False).object_context("a/b", "acme") == {}


@pytest.mark.parametrize(
    "content",
    [
        CUSTOMER_KEY,
        CUSTOMER_KEY.hex().encode(),
        CUSTOMER_KEY.hex().upper().encode() + b"\n",
        base64.b64encode(CUSTOMER_KEY),
        b" " + base64.b64encode(CUSTOMER_KEY) + b"\r\n",
        bytes([10]) * 32,
        b"f" * 32,
    ],
)
def test_a_key_file_holds_32_bytes_in_some_form(content: bytes, tmp_path: Path) -> None:
    """A key file holds the key raw, in hex or in base64; a file of 32 bytes is always raw."""
    path = tmp_path / "key"
    path.write_bytes(content)
    assert SSEC.from_file(path).key == (content if len(content) == 32 else CUSTOMER_KEY)
    assert SSEC.from_file(str(path)) == SSEC.from_file(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"short", bytes(31), bytes(33), b"0" * 63, b"zz" * 32, base64.b64encode(bytes(31))],
)
def test_another_key_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """A file without a key is refused; the error names the file and does not show its content."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)) as caught:
        SSEC.from_file(path)
    assert not content or content.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "."])
def test_an_unreadable_key_file_is_refused(name: str, tmp_path: Path) -> None:
    """An unreadable key file raises ConfigError, like other configuration mistakes."""
    with pytest.raises(ConfigError, match="Cannot read the key file"):
        SSEC.from_file(tmp_path / name)


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ({"ServerSideEncryption": "AES256"}, "sse-s3"),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}, "sse-kms"),
        ({"ServerSideEncryption": "aws:kms:dsse"}, "dsse-kms"),
        ({"SSECustomerAlgorithm": "AES256"}, "sse-c"),
        ({}, None),
        ({"ServerSideEncryption": "aws:fsx"}, None),
    ],
)
def test_what_s3_reports(reply: dict[str, object], name: str | None) -> None:
    """The mode follows from the values in S3's reply; an unknown value gives no mode."""
    assert reported_mode(reply) == name


def test_no_request_value_shows_the_customer_key() -> None:
    """The repr of upload and copy requests does not show the customer key that they contain."""
    mode = SSEC(bytes(range(32)))
    location = Location("b", "x")
    secret = str(mode.read_arguments()["SSECustomerKey"])
    client: Any = None
    to = Upload(client, location, mode.write_arguments(), mode.read_arguments(), {}, lambda _: None)
    source = CopySource(location, "e", None, 1, mode.copy_source_arguments())
    assert secret not in repr(to) + repr(source) + repr(mode)
