# SPDX-License-Identifier: Apache-2.0
"""Storage options: the choice of encryption, refusal of unknown options, and shared clients."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import fsspec
import fsspec.config
import pandas as pd
import pytest
from samples import aes, connect, names, stored

from s3crypt import (
    SSEC,
    SSES3,
    AESKeyring,
    CachingKeyring,
    ClientSide,
    ConfigError,
    KMSKeyring,
    PolicyError,
)
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.filesystem.connection import _SHARED
from s3crypt.filesystem.options import _LIVE

if TYPE_CHECKING:
    from pathlib import Path

    from s3crypt import Mode

FRAME = 4096
MODE = ClientSide(aes(), frame_length=FRAME)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Write a wrapping key to a file."""
    path = tmp_path / "wrapping.key"
    path.write_bytes(bytes(range(32)))
    return path


def options(key_file: Path, **more: Any) -> dict[str, Any]:
    """Return storage options that name a key file."""
    return {"key": f"aes:tests/one={key_file}", **more}


def test_storage_options_as_on_the_command_line(s3: Any, bucket: str, key_file: Path) -> None:
    """A key in the options encrypts the objects client-side; the scheme finds the file system."""
    given = options(key_file, context={"team": "ops"}, frame_length=FRAME)
    with fsspec.open(f"s3crypt://{bucket}/x", "wb", **given) as file:
        file.write(b"plaintext" * 1000)
    assert b"plaintext" not in stored(s3, bucket, "x")
    keyring = AESKeyring("tests", "one", bytes(range(32)))
    store = connect(ClientSide(keyring, context={"team": "ops"}))
    assert store.read(f"s3://{bucket}/x") == b"plaintext" * 1000
    assert store.inspect(f"s3://{bucket}/x").frame_length == FRAME


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sse_c_key_fil": "x"}, "sse_c_key_file"),
        ({"encrypt": True}, "encrypt"),
        ({"anon": False}, "anon"),
        ({"signed": "false"}, "signed"),
        ({"allow_unverified_signature": "no"}, "allow_unverified_signature"),
        ({"bind_bucket": "yes"}, "bind_bucket"),
        ({"allow_plain_http": 1}, "allow_plain_http"),
        ({"written_in": "acme"}, "bind_bucket"),
        ({"mode": "clientside"}, ""),
        ({"mode": "client"}, ""),
        ({"context": {"a": "b"}}, ""),
        ({"mode": MODE, "key": "aes:tests/one=x"}, "key"),
        ({"mode": SSES3(), "bind_name": False}, "bind_name"),
        ({"mode": MODE, "frame_length": FRAME}, "frame_length"),
        ({"encryption": "client", "mode": "sse-s3"}, "differ"),
        ({"encryption": SSES3, "mode": None}, "mode object"),
        ({"encryption": b"k" * 32}, "mode object"),
        ({"encryption": ""}, "The encryption does not exist"),
        ({"encryption": "any", "key": "aes:tests/one=x"}, 'encryption="any"'),
        ({"key": "tests/one"}, "not a key"),
        ({"key": "aes:tests/one=x", "frame_length": True}, "frame_length"),
        ({"workers": True}, "workers"),
        ({"workers": 0}, "workers"),
        ({"workers": "4"}, "workers"),
        ({"unclosed": "keep"}, "unclosed"),
        ({"unclosed": True}, "unclosed"),
        ({"s3crypt": {"key": "aes:tests/one=x"}}, "without 's3crypt' around it"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(wrong: dict[str, Any], said: str) -> None:
    """A misspelt or impossible option is an error, so that nothing is stored in plaintext."""
    with pytest.raises(ConfigError) as caught:
        S3CryptFileSystem(**wrong)
    assert said in f"{caught.value} {caught.value.hint}"


def test_an_entry_that_a_tool_added_is_named_without_its_content() -> None:
    """Datasets adds an entry with the user's token to the options; the error omits the token."""
    entry = {"endpoint": "https://example.org", "token": "hf_secret"}
    with pytest.raises(ConfigError, match="'hf'") as caught:
        S3CryptFileSystem("sse-s3", hf=entry)
    assert "pass each a copy" in str(caught.value.hint)
    assert "hf_secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("variable", "instead"),
    [
        ("S3CRYPT_KEY", "key"),
        ("S3CRYPT_MODE", "encryption"),
        ("S3CRYPT_SSE_C_KEY_FILE", "sse_c_key_file"),
    ],
)
def test_the_commands_environment_is_said_not_to_be_read(
    variable: str, instead: str, monkeypatch: pytest.MonkeyPatch, bucket: str, key_file: Path
) -> None:
    """If a variable of the command is set, the hint names the option and FSSPEC variable for it.

    The FSSPEC variable works.
    """
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigError, match="no encryption") as caught:
        S3CryptFileSystem(skip_instance_cache=True).cat_file(f"{bucket}/x")
    hint = str(caught.value.hint)
    assert f"{variable} is set" in hint
    assert f"storage option {instead}," in hint
    other = f"FSSPEC_S3CRYPT_{instead.upper()}"
    assert other in hint
    given = {"key": options(key_file)["key"], "encryption": "sse-s3"}.get(instead, str(key_file))
    read: dict[str, dict[str, Any]] = {}
    fsspec.config.set_conf_env(read, {other: given})
    monkeypatch.setitem(fsspec.config.conf, "s3crypt", read["s3crypt"])
    fs = S3CryptFileSystem()
    fs.pipe_file(f"{bucket}/x", b"abc")
    assert fs.cat_file(f"{bucket}/x") == b"abc"


@pytest.mark.parametrize("wish", [{}, {"encryption": None}, {"encryption": "any"}])
def test_writing_needs_an_encryption(s3: Any, bucket: str, wish: dict[str, Any]) -> None:
    """Without an encryption in the options every write is refused."""
    fs = S3CryptFileSystem(**wish)
    with pytest.raises(ConfigError, match=r"encryption|mode"):
        fs.pipe_file(f"{bucket}/x", b"secret")
    with pytest.raises(ConfigError, match=r"encryption|mode"):
        fs.open(f"{bucket}/x", "wb")
    assert names(s3, bucket) == []


@pytest.mark.parametrize(
    "call",
    [
        "fs.cat_file(path)",
        "fs.open(path)",
        "fs.cat_ranges([path], [0], [1], on_error='raise')",
        "fs.get(path, local)",
        "fs.info(path)",
        "fs.du(path)",
        "fs.ls(path)",
        "fs.cp(path, path + '2')",
        "fs.mv(path, path + '2')",
        "fs.touch(path)",
    ],
)
def test_without_encryption_there_is_no_content(
    s3: Any, bucket: str, tmp_path: Path, call: str
) -> None:
    """Without an encryption in the options no content and no size is read: both may be forged."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"forged")
    fs = S3CryptFileSystem()
    with pytest.raises(ConfigError, match="no encryption") as caught:
        eval(call, {"fs": fs, "path": f"{bucket}/x", "local": str(tmp_path / "x")})
    assert "encryption='any'" in str(caught.value.hint)
    assert names(s3, bucket) == ["x"]


def test_without_encryption_there_are_names(s3: Any, bucket: str) -> None:
    """Listing, existence checks and removals need no encryption in the options."""
    s3.put_object(Bucket=bucket, Key="d/x", Body=b"anybody's")
    fs = S3CryptFileSystem()
    assert fs.find(bucket) == fs.glob(f"{bucket}/d/*") == [f"{bucket}/d/x"]
    assert fs.ls(f"{bucket}/d", detail=False) == [f"{bucket}/d/x"]
    assert (fs.exists(f"{bucket}/d/x"), fs.isdir(f"{bucket}/d")) == (True, True)
    fs.rm(f"{bucket}/d", recursive=True)
    assert names(s3, bucket) == []


def test_any_reads_what_s3_decrypts(s3: Any, bucket: str) -> None:
    """`encryption="any"` reads every server-side object, but no client-side object."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"anybody's")
    fs = fsspec.filesystem("s3crypt", encryption="any")
    assert (fs.cat_file(f"{bucket}/x"), fs.size(f"{bucket}/x")) == (b"anybody's", 9)
    S3CryptFileSystem(MODE).pipe_file(f"{bucket}/y", b"secret")
    with pytest.raises(PolicyError):
        fs.cat_file(f"{bucket}/y")


def test_forged_objects_are_refused_by_every_way_to_say_it(
    s3: Any, bucket: str, key_file: Path
) -> None:
    """If fsspec drops the option `mode`, nothing is read, not even a forged object."""
    path = f"s3crypt://{bucket}/x.csv"
    s3.put_object(Bucket=bucket, Key="x.csv", Body=b"a\n666\n")
    for given in ({"encryption": MODE}, {"encryption": "client", **options(key_file)}):
        with pytest.raises(Exception, match=r"x\.csv") as caught:
            pd.read_csv(path, storage_options=given)
        assert type(caught.value).__module__ == "s3crypt.errors"
        with pytest.raises(Exception, match=r"x\.csv"):
            fsspec.open(path, **given).open().read()
    lost, _ = fsspec.core.url_to_fs(path, mode=MODE)
    with pytest.raises(ConfigError, match="no encryption"):
        lost.cat_file(path)


def test_encryption_goes_through_storage_options(s3: Any, bucket: str, kms_key: str) -> None:
    """`encryption` reaches the file system from other tools, as text and as a mode object."""
    table = pd.DataFrame({"a": [1, 2]})
    given = {"encryption": "sse-kms", "key": f"kms:{kms_key}"}
    table.to_parquet(f"s3crypt://{bucket}/x.parquet", storage_options=given)
    head = s3.head_object(Bucket=bucket, Key="x.parquet")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", kms_key)
    table.to_csv(f"s3crypt://{bucket}/x.csv", storage_options={"encryption": MODE})
    assert connect(MODE).read(f"s3://{bucket}/x.csv").startswith(b",a")


def test_mode_and_encryption_are_one_option(key_file: Path) -> None:
    """`mode` and `encryption` are the same option; giving both the same value is accepted."""
    assert S3CryptFileSystem(MODE, encryption=MODE) == S3CryptFileSystem(encryption=MODE)
    named = S3CryptFileSystem(mode="client", **options(key_file))
    assert named is S3CryptFileSystem(encryption="client", **options(key_file))
    with pytest.raises(TypeError, match="positional"):
        S3CryptFileSystem(MODE, mode="client")  # type: ignore[misc]  # the mistake under test
    with pytest.raises(TypeError, match="positional"):
        S3CryptFileSystem(*[MODE, "client"])


def test_fsspecs_configuration_yields_to_what_is_given(
    monkeypatch: pytest.MonkeyPatch, key_file: Path
) -> None:
    """Given options take precedence over fsspec's configuration, also after unpickling."""
    monkeypatch.setitem(fsspec.config.conf, "s3crypt", {"mode": "sse-s3"})
    assert S3CryptFileSystem()._connection.options.mode_name == "sse-s3"
    given = S3CryptFileSystem(encryption="client", **options(key_file))
    assert given._connection.options.mode_name == "client"
    pickled = pickle.dumps(given)
    monkeypatch.setitem(fsspec.config.conf, "s3crypt", {})
    assert pickle.loads(pickled)._connection.options.mode_name == "client"


def test_no_key_is_the_same_as_none() -> None:
    """An option of None counts as not given, because programs pass None."""
    assert S3CryptFileSystem("sse-s3", key=None, sse_c_key_file=None) is not None
    with pytest.raises(ConfigError, match="key"):
        S3CryptFileSystem("client", key=None)


def test_key_file_is_read_when_content_is_asked_for(bucket: str, key_file: Path) -> None:
    """The key file is read once, when content is first used: a scheduler does not need the file."""
    key_file.rename(key_file.with_suffix(".away"))
    fs = S3CryptFileSystem(**options(key_file))
    assert fs.ls(bucket, detail=False) == []
    with pytest.raises(ConfigError, match="Cannot read the key file"):
        fs.pipe_file(f"{bucket}/x", b"abc")
    key_file.with_suffix(".away").rename(key_file)
    fs.pipe_file(f"{bucket}/x", b"abc")
    key_file.write_bytes(bytes(32))
    assert fs.cat_file(f"{bucket}/x") == b"abc"
    anew = S3CryptFileSystem(**options(key_file), skip_instance_cache=True)
    with pytest.raises(Exception, match="None of the given keys opens"):
        anew.cat_file(f"{bucket}/x")


@pytest.mark.parametrize("option", ["key", "sse_c_key_file"])
def test_relative_paths_are_of_where_the_file_system_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """A relative path of a key file is resolved when the file system is made."""
    value = "aes:tests/one=my.key" if option == "key" else "my.key"
    made = []
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my.key").write_bytes(bytes([number]) * 32)
        monkeypatch.chdir(tmp_path / name)
        made.append(S3CryptFileSystem(**{option: value}))
    assert made[0] != made[1]
    modes = [fs._connection.mode for fs in made]
    assert modes[0] != modes[1]
    assert str(tmp_path / "one" / "my.key") in str(made[0].storage_options)


@pytest.mark.parametrize(
    "text", ["{0} ", "'{0}'", "{0}x", "x{0}", "{1}", "{1} ", "{1}x", '"{1}"', "{2}.", "./{0}"]
)
def test_key_in_place_of_its_file_is_not_repeated(text: str) -> None:
    """A key instead of its file's name is refused at once, and the error does not repeat it."""
    key = bytes(range(1, 250, 8))[:32]
    written = text.format(
        key.hex(), b64encode(key).decode(), urlsafe_b64encode(key).decode().rstrip("=")
    )
    for given in ({"key": f"aes:tests/one={written}"}, {"sse_c_key_file": written}):
        with pytest.raises(ConfigError, match="must be given by the name of its file") as caught:
            S3CryptFileSystem(**given)
        assert written not in f"{caught.value} {caught.value.hint}"


def test_endless_file_is_no_key() -> None:
    """An endless key file is refused after a bounded read."""
    fs = S3CryptFileSystem(key="aes:tests/one=/dev/zero")
    with pytest.raises(ConfigError, match="does not contain a 32-byte key"):
        fs.cat_file("bucket/x")


def test_profile_that_does_not_exist() -> None:
    """If the profile does not exist, the first request fails, and the error names the profile."""
    with pytest.raises(ConfigError, match="no-such-profile"):
        S3CryptFileSystem(profile="no-such-profile").ls("")


def test_endpoint_is_of_s3_only(sandbox: Any, monkeypatch: pytest.MonkeyPatch, bucket: str,
                                kms_key: str) -> None:  # fmt: skip
    """`endpoint_url` is for S3 only; KMS keeps its own endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    fs = S3CryptFileSystem(
        mode="client", key=f"kms:{kms_key}", endpoint_url=sandbox.endpoint_url, region="us-east-1"
    )
    fs.pipe_file(f"{bucket}/x", b"abc")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert S3CryptFileSystem(key=f"kms:{kms_key}").cat_file(f"{bucket}/x") == b"abc"


def test_same_options_are_one_instance(key_file: Path) -> None:
    """Equal options return the same instance; file systems of one mode object are equal."""
    assert S3CryptFileSystem(**options(key_file)) is S3CryptFileSystem(**options(key_file))
    one, same = S3CryptFileSystem(MODE), S3CryptFileSystem(mode=MODE)
    assert one == same
    assert one._connection is same._connection
    assert S3CryptFileSystem(MODE, skip_instance_cache=True)._connection is not one._connection


def test_threads_share_a_client(key_file: Path) -> None:
    """Fsspec makes one file system per thread; their clients and caches are shared."""
    made: list[S3CryptFileSystem] = []
    all_there = threading.Barrier(4)

    def make() -> None:
        made.append(S3CryptFileSystem(**options(key_file)))
        # All threads stay alive here, because the number of an ended thread would be reused.
        all_there.wait()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(fs) for fs in made}) == 4
    assert len({id(fs._connection) for fs in made}) == 1


def test_live_modes_go_again() -> None:
    """If the last file system of a mode object is gone, the shared state for it is freed."""
    mode = ClientSide(AESKeyring("n", "gone", bytes(32)))
    gc.collect()
    before = len(S3CryptFileSystem._cache), len(_SHARED), len(_LIVE)
    pickled = pickle.dumps(S3CryptFileSystem(mode))
    for _ in range(5):
        fs = pickle.loads(pickled)
        assert fs._connection.client
        del fs
    gc.collect()
    assert (len(S3CryptFileSystem._cache), len(_SHARED), len(_LIVE)) == before


def test_names_of_live_modes_never_come_again() -> None:
    """File systems of different mode objects never have equal tokens.

    Tools take equal tokens for equal data. Memory addresses are reused, so they cannot be tokens.
    """
    tokens = set()
    for number in range(20):
        tokens.add(S3CryptFileSystem(SSEC(bytes([number]) * 32))._fs_token)
    assert len(tokens) == 20


def test_unpickled_copies_share_a_client() -> None:
    """An unpickled file system shares the client of the original while the original exists."""
    fs = S3CryptFileSystem(MODE)
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert again._connection is fs._connection


@pytest.mark.parametrize(
    "pair",
    [
        (SSEC(bytes(32)), SSEC(bytes(31) + b"\1")),
        tuple(ClientSide(AESKeyring("n", "k", bytes([byte]) * 32)) for byte in (0, 1)),
        (SSES3(), MODE),
    ],
    ids=["sse-c", "aes", "modes"],
)
def test_other_keys_are_other_instances(pair: tuple[Mode, Mode]) -> None:
    """File systems with different keys are different, even if the keys have the same repr."""
    one, other = (S3CryptFileSystem(mode) for mode in pair)
    assert one is not other
    assert one != other
    assert one._connection.mode is pair[0]
    assert other._connection.mode is pair[1]


def test_pickled_file_system_is_made_anew_from_its_options(bucket: str, key_file: Path) -> None:
    """An unpickled file system reads the key file itself, because the pickle contains no key."""
    fs = S3CryptFileSystem(**options(key_file))
    fs.pipe_file(f"{bucket}/x", b"from here")
    pickled = pickle.dumps(fs)
    assert bytes(range(32)) not in pickled
    code = f"""
import pickle, sys
fs = pickle.loads(sys.stdin.buffer.read())
print(fs.cat_file("{bucket}/x").decode())
fs.pipe_file("{bucket}/y", b"from there")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickled, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"from here\n", b"")
    assert fs.cat_file(f"{bucket}/y") == b"from there"
    assert S3CryptFileSystem.from_json(fs.to_json()) == fs


def test_pickled_live_mode(bucket: str, kms_key: str) -> None:
    """A file system of a mode object can be pickled if its keyring can be pickled."""
    fs = S3CryptFileSystem(ClientSide(KMSKeyring(kms_key)))
    fs.pipe_file(f"{bucket}/x", b"abc")
    again = pickle.loads(pickle.dumps(fs))
    assert again is not fs
    assert again.cat_file(f"{bucket}/x") == b"abc"


def test_keyring_that_stays_here_is_not_pickled() -> None:
    """A file system with a cache of data keys refuses to be pickled, as the cache itself does."""
    keyring = CachingKeyring(aes(), max_age=60)
    fs = S3CryptFileSystem(ClientSide(keyring, bind_name=False))
    with pytest.raises(TypeError):
        pickle.dumps(fs)
