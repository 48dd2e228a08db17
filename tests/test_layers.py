# SPDX-License-Identifier: Apache-2.0
"""Import rules between the modules: the tests read the sources and enforce the design."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import botocore.session
import pytest
from botocore import xform_name

import s3crypt
from s3crypt import operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(s3crypt.__file__).resolve().parent
ROOT = PACKAGE.parent
COMMAND = ROOT / "cli"

# Each module of the library, and the library modules that it may import, also for type checking.
# `message` and `sandbox` stand for their whole packages.
ALLOWED = {
    "errors": set(),
    "framing": set(),
    "logs": set(),
    "local": {"errors", "logs"},
    "message": {"errors", "framing", "local"},
    "location": {"errors"},
    "files": {"errors", "formats", "framing", "key_references", "local", "message"},
    "folders": {"errors", "files", "jobs", "key_references", "message"},
    "operations": set(),
    "command_lines": set(),
    "redaction": set(),
    "aws_errors": {"errors"},
    "connections": set(),
    "aws": {"aws_errors", "connections", "errors", "local", "redaction"},
    "replies": {"operations"},
    "requests": {"aws", "aws_errors", "errors", "local", "logs", "operations", "replies"},
    "policy": {"errors"},
    "unseen": set(),
    "buckets": {
        "aws", "aws_errors", "command_lines", "errors", "operations", "policy", "requests",
        "unseen",
    },
    "iam": {"aws", "command_lines", "errors", "operations", "policy", "requests"},
    "kms": {
        "aws", "command_lines", "errors", "keyrings", "local", "operations", "policy", "requests",
        "unseen",
    },
    "alias_users": {"aws", "buckets", "errors"},
    "trail_settings": {"errors", "requests", "unseen"},
    "caller": {"aws", "errors", "policy", "requests"},
    "policy_reading": {"aws", "buckets", "errors", "kms", "policy", "requests"},
    "policy_changes": {
        "aws", "aws_errors", "buckets", "caller", "errors", "kms", "local", "location", "policy",
        "requests",
    },
    "keyrings": {"aws", "errors", "message", "operations", "requests"},
    "key_references": {"errors", "keyrings", "local", "message"},
    "modes": {"errors", "key_references", "keyrings", "message"},
    "options": {"errors", "key_references", "local", "modes"},
    "configuration": {"aws", "key_references", "modes", "options"},
    "s3ec": set(),
    "metadata": {"errors", "s3ec"},
    "formats": {
        "errors", "framing", "keyrings", "local", "message", "modes", "s3ec",
    },
    "transfer": {
        "aws", "aws_errors", "errors", "framing", "local", "location", "logs", "operations",
        "requests",
    },
    "objects": {
        "aws", "aws_errors", "buckets", "errors", "formats", "framing", "keyrings",
        "local", "location", "logs", "metadata", "modes", "operations", "requests", "s3ec",
        "transfer",
    },
    "hardening": {
        "aws", "buckets", "command_lines", "errors", "kms", "objects", "policy", "requests",
        "trail_settings",
    },
    "doctor": {
        "aws", "aws_errors", "buckets", "caller", "command_lines", "connections", "errors",
        "formats", "kms", "location", "modes", "objects", "operations", "policy", "requests",
        "transfer",
    },
    "jobs": {"aws_errors", "errors", "local", "logs"},
    "trails": {
        "aws", "errors", "jobs", "kms", "local", "location", "modes", "objects", "requests",
        "transfer",
    },
    "rotation": {
        "aws_errors", "errors", "formats", "jobs", "keyrings", "local", "location", "logs",
        "metadata", "modes", "objects", "requests", "transfer",
    },
    "arguments": {
        "errors", "key_references", "local", "message", "modes", "objects", "options",
    },
    "moves": {"errors", "local", "location", "modes", "objects", "rotation", "transfer"},
    "job_items": {"errors", "jobs", "location", "metadata", "modes", "objects", "transfer"},
    "syncing": {
        "aws_errors", "errors", "formats", "job_items", "jobs", "local", "location", "metadata",
        "modes", "moves", "objects", "rotation", "transfer",
    },
    "many": {
        "arguments", "aws_errors", "buckets", "errors", "formats", "job_items", "jobs", "local",
        "location", "modes", "moves", "objects", "requests", "rotation", "syncing", "transfer",
    },
    "store": {
        "arguments", "buckets", "errors", "files", "formats", "job_items", "jobs", "local",
        "location", "many", "modes", "moves", "objects", "rotation", "syncing", "transfer",
    },
    "filesystem": {
        "arguments", "aws", "aws_errors", "buckets", "errors", "jobs", "key_references", "local",
        "location", "modes", "objects", "options", "requests", "transfer",
    },
    "parquet_footer": {"errors"},
    "parquet": {
        "errors", "formats", "key_references", "keyrings", "local", "message", "parquet_footer",
    },
    "inventories": {"aws_errors", "errors", "jobs", "location", "objects"},
    "audit": {
        "aws", "aws_errors", "buckets", "caller", "command_lines", "errors", "hardening",
        "inventories", "jobs", "kms", "local", "location", "modes", "objects", "operations",
        "policy", "redaction", "requests", "trail_settings", "unseen",
    },
    "impact": {
        "aws", "aws_errors", "buckets", "caller", "errors", "inventories", "jobs", "kms",
        "location", "modes", "objects", "requests", "unseen",
    },
    "sandbox": {"errors"},
}  # fmt: skip
# Each external package, and the modules that may import it.
OUTSIDE = {
    # The sandbox needs boto3 only for its pytest fixture, which must reset the default session.
    "boto3": {
        "alias_users",
        "audit",
        "aws",
        "configuration",
        "doctor",
        "filesystem",
        "hardening",
        "iam",
        "impact",
        "key_references",
        "keyrings",
        "kms",
        "objects",
        "policy_changes",
        "policy_reading",
        "sandbox",
        "store",
        "trails",
    },
    "botocore": {
        "audit",
        "aws",
        "aws_errors",
        "connections",
        "doctor",
        "impact",
        "kms",
        "objects",
        "requests",
        "transfer",
    },
    "types_boto3_accessanalyzer": {"policy_reading"},
    "types_boto3_cloudtrail": {"audit", "hardening", "trail_settings", "trails"},
    "types_boto3_iam": {
        "audit",
        "caller",
        "doctor",
        "hardening",
        "iam",
        "impact",
        "policy_changes",
    },
    "types_boto3_kms": {
        "audit",
        "doctor",
        "impact",
        "keyrings",
        "kms",
        "objects",
        "policy_changes",
        "policy_reading",
        "trails",
    },
    "types_boto3_s3control": {"audit", "buckets"},
    "types_boto3_s3": {
        "alias_users",
        "audit",
        "buckets",
        "doctor",
        "filesystem",
        "hardening",
        "impact",
        "objects",
        "policy_changes",
        "policy_reading",
        "store",
        "transfer",
    },
    "types_boto3_sts": {
        "audit",
        "caller",
        "doctor",
        "hardening",
        "impact",
        "policy_changes",
        "policy_reading",
    },
    "cryptography": {"doctor", "keyrings", "kms", "message", "parquet_footer", "sandbox"},
    "urllib3": {"requests"},
    "moto": {"sandbox"},
    "pytest": {"sandbox"},
    "fsspec": {"filesystem"},
    "pyarrow": {"inventories", "filesystem", "parquet"},
    "click": set(),
    "rich": set(),
}
# The library modules that the command may use besides the public names of s3crypt.
PUBLIC_MODULES = {
    "__version__", "alias_users", "audit", "configuration", "doctor", "errors", "files",
    "folders", "hardening", "iam", "impact", "kms", "location", "message", "policy",
    "policy_changes", "policy_reading", "sandbox", "trails",
}  # fmt: skip
WITHOUT_AWS = {
    "configuration", "errors", "files", "framing", "key_references", "keyrings", "local",
    "location", "logs", "message", "modes", "operations", "options", "policy", "s3ec",
}  # fmt: skip
# These modules may load boto3, although their layer is in `WITHOUT_AWS`.
WITH_AWS = {"s3crypt.keyrings.kms", "s3crypt.keyrings.kms_key"}
# Modules within a package -> the only modules of s3crypt that they may import. Wrapping keys and
# their cache do not depend on a wire form, and reading a KMS key's description does not depend on
# administration.
WITHIN = {
    "keyrings/pem": set(),
    "keyrings/raw_keys": {"errors", "keyrings.pem"},
    "keyrings/kms_key": {"aws", "errors", "keyrings.materials", "operations", "requests"},
    "keyrings/materials": set(),
    "keyrings/cache": set(),
    "keyrings/capabilities": {"message.keys"},
    "kms/description": {"errors", "kms.grants", "kms.service"},
    "kms/service": {"aws", "errors", "operations", "requests"},
}
# Prefixes of operations that read a KMS key and change nothing.
READING = ("describe_", "get_", "list_")
# S3 operations about objects; only the packages objects and transfer may call them. They are called
# by `call`, by `pages` or as a client method.
OF_OBJECTS = {
    "abort_multipart_upload", "complete_multipart_upload", "copy_object",
    "create_multipart_upload", "delete_object", "delete_object_annotation", "delete_objects",
    "get_object", "get_object_annotation", "get_object_legal_hold", "get_object_retention",
    "get_object_tagging", "head_object", "list_multipart_uploads", "list_object_annotations",
    "list_object_versions", "list_objects_v2", "put_object", "put_object_annotation",
    "put_object_tagging", "upload_part", "upload_part_copy",
}  # fmt: skip
OF_BUCKETS = {
    "create_bucket", "delete_bucket", "delete_bucket_policy", "get_bucket_policy",
    "list_bucket_inventory_configurations", "put_bucket_policy",
    "get_object_lock_configuration", "head_bucket", "list_buckets", "list_directory_buckets",
}  # fmt: skip
# boto3's own transfer methods, which no module calls.
OF_BOTO3 = {"upload_file", "download_file", "upload_fileobj", "download_fileobj"}
# Operations that transfer object bytes.
MOVING = {"get_object", "put_object", "upload_part", "upload_part_copy", "copy_object"}


def sources() -> list[tuple[str, Path]]:
    """Return the library's files, each with its layer."""
    found = [(path.stem, path) for path in sorted(PACKAGE.glob("*.py")) if path.stem[0] != "_"]
    inside = sorted(PACKAGE.glob("*/**/*.py"))
    return found + [(path.relative_to(PACKAGE).parts[0], path) for path in inside]


@cache
def imports(path: Path, package: str) -> frozenset[str]:
    """Return all absolute imports of a file, at any depth; `s3crypt.x` for our own modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = (
                ".".join([*parts, node.module] if node.module else parts)
                if node.level
                else node.module
            )
            found.add(str(base))
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(found)


def own(names: Iterable[str]) -> set[str]:
    """Return the layers among the imported names."""
    layers = {name.split(".")[1] for name in names if name.startswith("s3crypt.")}
    return layers & ALLOWED.keys()


def package_of(path: Path) -> str:
    """Return the package that contains a file."""
    return ".".join(path.parent.relative_to(ROOT).parts)


def test_every_module_has_its_layer() -> None:
    """A new module must be added to the table, with the modules that it may import."""
    assert {layer for layer, _ in sources()} == ALLOWED.keys()


@pytest.mark.parametrize(
    ("layer", "path"), sources(), ids=lambda value: str(getattr(value, "stem", ""))
)
def test_imports_go_one_way(layer: str, path: Path) -> None:
    """Imports go down the layers only, also inside functions and for type checking."""
    assert own(imports(path, package_of(path))) - {layer} <= ALLOWED[layer]


def test_the_layers_have_no_circle() -> None:
    """The table of layers itself has no cycle."""
    rest = dict(ALLOWED)
    while rest:
        free = {layer for layer, below in rest.items() if not below & rest.keys()}
        assert free, f"a circle among {sorted(rest)}"
        rest = {layer: below for layer, below in rest.items() if layer not in free}


def test_codecs_are_known_to_formats_alone() -> None:
    """A codec is imported only by its format. The modules that move and read objects see frames."""
    above = {layer for layer, below in ALLOWED.items() if "message" in below}
    assert not above & {"transfer", "objects", "rotation", "store", "filesystem", "framing"}


def test_nothing_in_the_library_imports_its_face() -> None:
    """No module of the library imports `S3Crypt`, which delegates to the engine."""
    assert not [layer for layer, below in ALLOWED.items() if "store" in below]


@pytest.mark.parametrize("module", WITHIN)
def test_a_few_modules_know_less_than_their_package(module: str) -> None:
    """A few modules import only the modules of s3crypt that the table lists for them."""
    path = PACKAGE / f"{module}.py"
    modules = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py")
    }
    found = {name.removeprefix("s3crypt.") for name in imports(path, package_of(path))}
    assert found & modules == WITHIN[module]


@pytest.mark.parametrize(
    ("module", "operation"),
    [
        ("description", "describe_key"),
        ("examination", "get_key_last_usage"),
        ("listing", "list_keys"),
    ],
)
def test_describing_a_kms_key_changes_nothing(module: str, operation: str) -> None:
    """The modules that describe KMS keys call only operations that read."""
    tree = ast.parse((PACKAGE / "kms" / f"{module}.py").read_text(encoding="utf-8"))
    asked = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("ask", "pages")
        and isinstance(node.args[0], ast.Constant)
    }
    assert operation in asked
    assert all(str(operation).startswith(READING) for operation in asked)


def test_only_a_keyrings_own_class_asks_for_its_type() -> None:
    """Only a keyring's own module tests for its class.

    Other code asks for capabilities, which a caller's own keyring can have too.
    """
    for _, path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(node): owner.name
            for owner in ast.walk(tree)
            if isinstance(owner, ast.ClassDef)
            for node in ast.walk(owner)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                asked = {getattr(name, "id", "") for name in ast.walk(node.args[1])}
                keyrings = {name for name in asked if name.endswith("Keyring")}
                assert keyrings <= {inside.get(id(node))}, f"{path.name}: {keyrings}"


@pytest.mark.parametrize("outside", OUTSIDE)
def test_other_packages_are_used_where_they_belong(outside: str) -> None:
    """Each external package is imported only by the modules in the table."""
    users = {
        layer
        for layer, path in sources()
        if any(name.split(".")[0] == outside for name in imports(path, package_of(path)))
    }
    assert users <= OUTSIDE[outside]


def _asked(path: Path) -> set[str]:
    """Return the operations that a file calls."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("call", "pages"):
                operation = node.args[1:2]
                found |= {str(one.value) for one in operation if isinstance(one, ast.Constant)}
            elif isinstance(node.func, ast.Attribute) and _is_client(node.func):
                found.add(name)
    return found


def _is_client(node: ast.Attribute) -> bool:
    """Return whether the attribute is accessed on an object whose name says that it is a client."""
    owner = node.value
    name = getattr(owner, "attr", getattr(owner, "id", ""))
    return "client" in name


def test_every_operation_exists_and_is_used() -> None:
    """Each operation in the library's lists is a method of botocore's client, and is used."""
    used = {
        node.value
        for _, path in sources()
        if path.stem not in ("operations", "requests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    for service, names in (
        ("s3", operations.S3Operation),
        ("kms", operations.KMSOperation),
        ("iam", operations.IAMOperation),
        ("s3tables", operations.S3TablesOperation),
        ("s3vectors", operations.S3VectorsOperation),
        ("sts", operations.STSOperation),
        ("accessanalyzer", operations.AccessAnalyzerOperation),
        ("cloudtrail", operations.CloudTrailOperation),
    ):
        model = botocore.session.get_session().get_service_model(service)
        methods = {xform_name(operation) for operation in model.operation_names}
        assert set(get_args(names)) <= methods & used


def _annotated(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the annotated parameters, variables, attributes and functions of a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation:
            yield node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign):
            yield getattr(node.target, "attr", getattr(node.target, "id", "")), node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns:
            yield node.name, node.returns


@pytest.mark.parametrize(
    ("layer", "path"), sources(), ids=lambda value: str(getattr(value, "stem", ""))
)
def test_clients_have_a_type(layer: str, path: Path) -> None:
    """No parameter, attribute or value that is a client has the type `Any`, alone or nested."""
    for name, annotation in _annotated(ast.parse(path.read_text(encoding="utf-8"))):
        if "client" in name or name in ("kms", "_kms"):
            assert not re.search(r"\bAny\b", ast.unparse(annotation)), f"{layer}: {name}"


def test_stubs_are_imported_for_types_alone() -> None:
    """Users do not install the stubs, so each import of them is under `if TYPE_CHECKING`."""
    for _, path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
            if ast.unparse(block.test) == "TYPE_CHECKING":
                block.body = [ast.Pass()]
        assert not re.search(r"import.*types_boto3|types_boto3.*import", ast.unparse(tree)), path


def _askers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for layer, path in sources():
        if layer != "sandbox":
            for operation in _asked(path):
                found.setdefault(operation, set()).add(layer)
    return found


def test_requests_are_made_where_they_belong() -> None:
    """Requests about objects are made in objects and transfer; only transfer moves bytes."""
    askers = _askers()
    for operation, layers in askers.items():
        if operation in MOVING:
            assert layers == {"transfer"}, operation
        elif operation in OF_OBJECTS:
            assert layers <= {"objects", "transfer"}, operation
        elif operation in OF_BUCKETS:
            assert layers == {"buckets"}, operation
        assert operation not in OF_BOTO3
    # The check above has found requests, and each operation is in one of the lists.
    asked = {name for name, layers in askers.items() if layers & {"objects", "transfer", "buckets"}}
    known = OF_OBJECTS | OF_BUCKETS
    assert {name for name in asked if "object" in name or "bucket" in name} <= known
    assert len(asked & known) > 20


def test_the_command_uses_what_is_public() -> None:
    """The cli package uses only s3crypt's public names and the modules in `PUBLIC_MODULES`."""
    public = set(s3crypt.__all__) | PUBLIC_MODULES
    for path in sorted(COMMAND.rglob("*.py")):
        package = ".".join(["s3crypt_cli", *path.parent.relative_to(COMMAND).parts])
        for name in imports(path, package):
            parts = name.split(".")
            if parts[0] == "s3crypt" and len(parts) > 1:
                assert parts[1] in public, f"{path.name} imports {name}"
                assert not any(part.startswith("_") and part != "__version__" for part in parts), (
                    name
                )


def test_the_library_knows_no_command() -> None:
    """No module in s3crypt imports cli."""
    for _, path in sources():
        assert not any(
            name.split(".")[0] in ("cli", "s3crypt_cli") for name in imports(path, package_of(path))
        )


@pytest.mark.parametrize(
    ("layer", "path"), sources(), ids=lambda value: str(getattr(value, "stem", ""))
)
def test_every_module_can_be_imported_alone(layer: str, path: Path) -> None:
    """Each module can be imported alone.

    Only modules that need AWS load boto3, and only the sandbox loads moto.
    """
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    loaded = _loaded_by(f"import {module}")
    assert module in loaded
    if layer in WITHOUT_AWS and module not in WITH_AWS:
        assert not loaded & {"boto3", "botocore", "awscrt", "s3crypt.aws"}
    if layer != "sandbox":
        assert not loaded & {"moto", "flask"}


@pytest.mark.parametrize(
    "statement", ["import s3crypt", "from s3crypt import errors", "dir(__import__('s3crypt'))"]
)
def test_the_package_loads_nothing_heavy(statement: str) -> None:
    """Importing the package loads neither boto3 nor cryptography, nor other heavy packages."""
    loaded = _loaded_by(statement)
    heavy = {"boto3", "botocore", "cryptography", "awscrt", "moto", "rich", "click", "logging"}
    assert not loaded & heavy


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    """Every name in __all__ can be imported, and a misspelt name raises AttributeError."""
    for name in s3crypt.__all__:
        assert getattr(s3crypt, name) is not None
        assert name in dir(s3crypt)
    with pytest.raises(AttributeError, match="S3Cript"):
        s3crypt.S3Cript  # type: ignore[attr-defined]  # noqa: B018 - the access is the test


def test_a_wheel_installs_two_packages() -> None:
    """The wheel installs no top-level package named cli, tests or benchmarks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tool = project["tool"]["setuptools"]
    assert {name.split(".")[0] for name in tool["packages"]} == {"s3crypt", "s3crypt_cli"}
    assert tool["package-dir"] == {"s3crypt": "s3crypt", "s3crypt_cli": "cli"}
    inside = {package_of(path) for path in PACKAGE.rglob("__init__.py")}
    assert inside <= set(tool["packages"])
    below = {path.parent.name for path in COMMAND.glob("*/__init__.py")}
    assert {f"s3crypt_cli.{name}" for name in below} <= set(tool["packages"])
