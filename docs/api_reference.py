# SPDX-License-Identifier: Apache-2.0
"""Write docs/reference/, the reference of the Python package, from its docstrings.

A test fails when a page is not what this script prints.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Literal, get_args, get_origin

from api_names import Member, Name
from s3crypt_cli.output import NOTHING_SELECTED, exit_code

from s3crypt.errors import S3CryptError, StorageError

FOLDER = Path(__file__).with_name("reference")
# A section of a docstring -> the headings of its table.
_SECTIONS = {
    "Args": ("argument", ""),
    "Attributes": ("attribute", ""),
    "Methods share these arguments": ("shared argument", ""),
    "Raises": ("raises", "if"),
    "Raises from every method": ("every method raises", "if"),
}
_SECTION = re.compile(
    rf"^({'|'.join([*_SECTIONS, 'Returns'])}):\n((?:(?: {{4}}.*)?(?:\n|$))+)", re.MULTILINE
)
_TERM = re.compile(r"^ {4}(\S.*?): (.*(?:\n {5,}.*)*)", re.MULTILINE)
_BEFORE_METHOD = re.compile(r"\b(?:as|as for|like|see|than)\s+$", re.IGNORECASE)
_CODE = re.compile(r"(`[^`\n]+`)")


@dataclass(frozen=True)
class Page:
    """A page of the reference.

    Attributes:
        name: The file's name.
        title: The heading.
        introduction: The text below the heading.
        names: The public names on the page, with their modules, in order. `MODULE.*` stands for the
            names of the module's `__all__` that are on no page otherwise.
    """

    name: str
    title: str
    introduction: str
    names: tuple[str, ...]


PAGES = (
    Page(
        "objects.md",
        "Objects",
        "How do you store, read, list, copy and delete objects from Python? `S3Crypt` has "
        "the methods; the other classes are their results. The guide is [which mode](../modes.md).",
        (
            "s3crypt.S3Crypt",
            "s3crypt.ObjectInfo",
            "s3crypt.ObjectReader",
            "s3crypt.ObjectWriter",
            "s3crypt.ListedObject",
            "s3crypt.ListedPrefix",
            "s3crypt.ListedVersion",
            "s3crypt.ListedBucket",
            "s3crypt.Presigned",
            "s3crypt.location.Location",
        ),
    ),
    Page(
        "modes.md",
        "Modes and keyrings",
        "Who encrypts, and who wraps the data keys? A mode is an argument of `S3Crypt` and of most "
        "of its methods. A keyring is an argument of the mode `ClientSide`. The guides are "
        "[which mode](../modes.md) and [keys](../keys.md).",
        (
            "s3crypt.Mode",
            "s3crypt.SSES3",
            "s3crypt.SSEKMS",
            "s3crypt.DSSEKMS",
            "s3crypt.SSEC",
            "s3crypt.ClientSide",
            "s3crypt.KMSKeyring",
            "s3crypt.AESKeyring",
            "s3crypt.RSAKeyring",
            "s3crypt.MultiKeyring",
            "s3crypt.CachingKeyring",
            "s3crypt.CacheStatistics",
            "s3crypt.Keyring",
            "s3crypt.message.FittingKeyring",
            "s3crypt.message.DataKey",
            "s3crypt.message.EncryptedDataKey",
        ),
    ),
    Page(
        "many.md",
        "Many objects",
        "How do you work on many objects at once, and what does each outcome contain? "
        "`S3Crypt.many` is a `Many`. The guides are [many objects](../jobs.md), "
        "[synchronisation](../sync.md) and [rotation](../rotation.md).",
        (
            "s3crypt.Many",
            "s3crypt.job_items.JobOptions",
            "s3crypt.job_items.PutOptions",
            "s3crypt.job_items.GetOptions",
            "s3crypt.job_items.CopyOptions",
            "s3crypt.job_items.SyncOptions",
            "s3crypt.objects.describing.Described",
            "s3crypt.job_items.Source",
            "s3crypt.job_items.Object",
            "s3crypt.NameFilter",
            "s3crypt.Journal",
            "s3crypt.Outcome",
            "s3crypt.SyncOutcome",
            "s3crypt.RotationOutcome",
            "s3crypt.Usage",
            "s3crypt.objects.uploads.UnfinishedUpload",
            "s3crypt.objects.defaults.DefaultEncryption",
        ),
    ),
    Page(
        "messages.md",
        "Files and messages",
        "How do you encrypt files and bytes without S3? Two functions are for files; the module "
        "`s3crypt.message` is for bytes and streams. The format is in "
        "[the messages](../message-format.md).",
        (
            "s3crypt.encrypt_file",
            "s3crypt.decrypt_file",
            "s3crypt.message.encrypt",
            "s3crypt.message.decrypt",
            "s3crypt.message.EncryptingReader",
            "s3crypt.message.DecryptingReader",
            "s3crypt.message.*",
        ),
    ),
    Page(
        "errors.md",
        "Errors",
        "Which errors can a call raise, and which exit code does the command return for each? All "
        "errors are in `s3crypt` or in `s3crypt.errors`.",
        (
            "s3crypt.S3CryptError",
            "s3crypt.ConfigError",
            "s3crypt.IntegrityError",
            "s3crypt.FormatError",
            "s3crypt.PolicyError",
            "s3crypt.KeyUnavailableError",
            "s3crypt.StorageError",
            "s3crypt.ObjectNotFoundError",
            "s3crypt.LocalFileNotFoundError",
            "s3crypt.errors.KeyFileNotFoundError",
            "s3crypt.ConflictError",
            "s3crypt.SyncError",
            "s3crypt.RotationError",
            "s3crypt.errors.KeyFileWarning",
            "s3crypt.errors.Remedy",
        ),
    ),
    Page(
        "keys.md",
        "KMS keys",
        "How do you create, show, rotate and delete KMS keys from Python, and how do you find what "
        "depends on a key? The guides are [keys](../keys.md), [sharing](../keys-sharing.md), "
        "[key material](../keys-material.md) and [what depends on a key](../keys-impact.md).",
        (
            "s3crypt.KeyManager",
            "s3crypt.kms.*",
            "s3crypt.impact.find_dependents",
            "s3crypt.impact.Options",
            "s3crypt.impact.Report",
            "s3crypt.impact.read_report",
            "s3crypt.impact.*",
        ),
    ),
    Page(
        "audit.md",
        "Audit and hardening",
        "How do you audit buckets, keys and objects from Python, and how do you make a hardened "
        "bucket? The guides are [audit](../audit.md) and [buckets](../buckets.md).",
        (
            "s3crypt.audit.Auditor",
            "s3crypt.audit.values.Demands",
            "s3crypt.audit.objects.ObjectOptions",
            "s3crypt.audit.values.Finding",
            "s3crypt.audit.values.Verdict",
            "s3crypt.audit.values.Control",
            "s3crypt.audit.values.Severity",
            "s3crypt.audit.values.Requirement",
            "s3crypt.audit.values.Resource",
            "s3crypt.audit.values.Fix",
            "s3crypt.audit.values.ObjectVerdict",
            "s3crypt.audit.values.Coverage",
            "s3crypt.hardening.BucketManager",
            "s3crypt.hardening.Wanted",
            "s3crypt.hardening.Plan",
            "s3crypt.hardening.*",
        ),
    ),
    Page(
        "diagnosis.md",
        "Diagnosis and trails",
        "Why does an access fail, and who has opened an object or used a key? The guides are "
        "[the doctor](../doctor.md) and [who opened what](../who.md).",
        (
            "s3crypt.doctor.Doctor",
            "s3crypt.doctor.cause_of",
            "s3crypt.doctor.Diagnosis",
            "s3crypt.doctor.*",
            "s3crypt.trails.Trails",
            "s3crypt.trails.Question",
            "s3crypt.trails.Search",
            "s3crypt.trails.Access",
            "s3crypt.trails.*",
        ),
    ),
    Page(
        "policies.md",
        "Policies and roles",
        "How do you write policies, decide what they allow, apply them, and make roles? The guides "
        "are [policies](../policies.md) and [a team](../team.md).",
        (
            "s3crypt.policy.Scope",
            "s3crypt.policy.Role",
            "s3crypt.policy.iam_policy",
            "s3crypt.policy.trust_policy",
            "s3crypt.policy.bucket_policy",
            "s3crypt.policy.key_policy",
            "s3crypt.policy.Document",
            "s3crypt.policy.decide",
            "s3crypt.policy.Request",
            "s3crypt.policy.Caller",
            "s3crypt.policy.Policies",
            "s3crypt.policy.Decision",
            "s3crypt.policy.Verdict",
            "s3crypt.policy.*",
            "s3crypt.policy_changes.PolicyWriter",
            "s3crypt.policy_changes.Plan",
            "s3crypt.policy_changes.Target",
            "s3crypt.policy_changes.Applied",
            "s3crypt.iam.RoleManager",
            "s3crypt.iam.*",
        ),
    ),
    Page(
        "filesystem.md",
        "Data sets",
        "Which classes do pandas, Arrow, DuckDB, Dask and Parquet use? The guides are "
        "[encrypted data sets](../data-sets.md), which has the storage options too, and "
        "[column keys for Parquet](../parquet-encryption.md).",
        ("s3crypt.filesystem.*", "s3crypt.parquet.*"),
    ),
    Page(
        "sandbox.md",
        "Sandbox",
        "How do you start an S3 and a KMS on this machine, and use them in tests? The guide is "
        "[tests of your own](../testing.md).",
        (
            "s3crypt.sandbox.fixture.s3crypt_sandbox",
            "s3crypt.sandbox.running",
            "s3crypt.sandbox.Running",
            "s3crypt.sandbox.*",
        ),
    ),
)


@cache
def name_of(path: str) -> Name:
    """Return the public name with a path."""
    return Name(path)


@cache
def names() -> dict[str, str]:
    """Return the page of each public name, in the order of the pages."""
    given = [path for page in PAGES for path in page.names]
    classes = {id(name_of(path).value) for path in given if not path.endswith(".*")}

    def is_elsewhere(path: str) -> bool:
        value = name_of(path).value
        return path in given or (inspect.isclass(value) and id(value) in classes)

    found: dict[str, str] = {}
    for page in PAGES:
        for path in page.names:
            module = path.removesuffix(".*")
            every = [path] if module == path else all_of(module)
            # A class that another module has too, such as `s3crypt.kms.KeyManager`, is there.
            found |= dict.fromkeys(
                (each for each in every if each == path or not is_elsewhere(each)), page.name
            )
    return found


def all_of(module: str) -> list[str]:
    """Return the paths of the names in a module's `__all__`."""
    return [f"{module}.{name}" for name in import_module(module).__all__]


@cache
def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    return {"README.md": _index(), **{page.name: _page(page) for page in PAGES}}


def _index() -> str:
    lines = [
        "# Reference of the Python package",
        "",
        "Which classes, functions and errors are public, and where is each described? These pages",
        "are made from the docstrings (`python docs/api_reference.py`), which `help()` shows too.",
        "",
        "A name without a module is in `s3crypt`: `from s3crypt import S3Crypt`. Other names are",
        "imported from their modules: `from s3crypt.audit import Auditor`. Names that are not on",
        "these pages are internal and may change at any time.",
        "",
    ]
    for page in PAGES:
        lines += [f"## {page.title}", "", "| name | |", "|---|---|"]
        for name in _on(page):
            summary = _line(name.doc.partition("\n\n")[0], name, "README.md")
            lines.append(f"| [`{name.title}`]({page.name}#{slug(name.title)}) | {summary} |")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _page(page: Page) -> str:
    lines = [f"# {page.title}", "", fill(page.introduction, 100, break_on_hyphens=False), ""]
    if page.name == "errors.md":
        lines += _exit_codes()
    for name in _on(page):
        lines += _entry(name, page.name)
    return "\n".join(lines[:-1]) + "\n"


def _on(page: Page) -> list[Name]:
    return [name_of(path) for path, where in names().items() if where == page.name]


def error_types() -> list[type[S3CryptError]]:
    """Return the errors on the page of errors, in its order."""
    found = [name_of(path).value for path, page in names().items() if page == "errors.md"]
    return [each for each in found if issubclass(each, S3CryptError)]


def _exit_codes() -> Iterator[str]:
    """Yield the table of errors with the exit code that the command has for each."""
    nothing = exit_code(StorageError("", code=NOTHING_SELECTED))
    yield from (
        "## Exit codes",
        "",
        "The command `s3crypt` ends with the exit code of the error. An error whose `code` is",
        f"`{NOTHING_SELECTED}`, for a filter that selects no name, has exit code {nothing}.",
        "[The command](../command.md) lists all exit codes.",
        "",
        "| error | exit code |",
        "|---|---|",
    )
    for each in error_types():
        path = next(path for path in names() if name_of(path).value is each)
        if each is not S3CryptError:
            yield f"| {_link(path, 'errors.md')} | {exit_code(each(''))} |"
    yield ""


def _entry(name: Name, page: str) -> Iterator[str]:
    yield from (f"## {name.title}", "", "```py", *name.signature, "```", "")
    if name.bases:
        bases = [_type(base, name) or base for base in name.bases]
        yield from (f"Base: {', '.join(_link(base, page) for base in bases)}.", "")
    yield from _text(name.doc, name, page)
    yield from _types(name, name, page)
    for member in name.members:
        if member.doc:
            yield from (f"### {member.title}", "", "```py", *member.signature, "```", "")
            yield from _text(member.doc, name, page)
            yield from _shared(member)
            yield from _types(member, name, page)


def _types(of: Name | Member, name: Name, page: str) -> Iterator[str]:
    """Yield links to the types in a signature, and the values of its literals."""
    found = [path for text in sorted(of.types) if (path := _type(text, name))]
    links = [_link(path, page) for path in dict.fromkeys(found) if path != name.path]
    if links:
        yield from (f"Types: {', '.join(links)}.", "")
    for text in sorted(of.types):
        alias = vars(import_module(name.home)).get(text)
        if get_origin(alias) is Literal and not _type(text, name):
            yield from (f"`{text}`: {', '.join(f'`{each}`' for each in get_args(alias))}.", "")


def _type(text: str, name: Name) -> str | None:
    """Return the path of the public name that an annotation of `name` means."""
    value: object = import_module(name.home)
    for part in text.split("."):
        value = getattr(value, part, None)
    if value is not None:
        return _paths().get(id(value))
    # The module imports the name for type checkers only.
    found = [path for path in names() if path.rpartition(".")[2] == text]
    return found[0] if len(found) == 1 else None


@cache
def _paths() -> dict[int, str]:
    return {id(name_of(path).value): path for path in names()}


def _shared(member: Member) -> Iterator[str]:
    """Yield which arguments of a method the class describes."""
    sections = dict(_SECTION.findall(member.owner.doc))
    shared = _described(sections.get("Methods share these arguments", ""))
    own = _described(dict(_SECTION.findall(member.doc)).get("Args", ""))
    rest = [each for each in member.parameters if each in shared and each not in own]
    if rest and not member.is_property:
        title = member.owner.title
        texts = ", ".join(f"`{each}`" for each in rest)
        yield from (f"Shared arguments, described at [`{title}`](#{slug(title)}): {texts}.", "")


def attributes_of(doc: str) -> set[str]:
    """Return the names that the section Attributes of a docstring describes."""
    return _described(dict(_SECTION.findall(doc)).get("Attributes", ""))


def _described(section: str) -> set[str]:
    return {word for term, _ in _TERM.findall(section) for word in term.split(", ")}


def _text(doc: str, name: Name, page: str) -> Iterator[str]:
    """Yield a docstring as Markdown: its sections become tables."""
    begin = 0
    for section in _SECTION.finditer(doc):
        yield from _paragraphs(doc[begin : section.start()], name, page)
        kind, body = section.groups()
        if kind == "Returns":
            yield from (f"Returns: {_line(body, name, page)}", "")
        else:
            yield from _table(_SECTIONS[kind], body, name, page)
        begin = section.end()
    yield from _paragraphs(doc[begin:], name, page)


def _paragraphs(text: str, name: Name, page: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\n+", text.strip("\n")):
        if paragraph.startswith("    "):
            yield from (paragraph, "")
        elif paragraph:
            yield from (_marked(paragraph, name, page), "")


def _table(headings: tuple[str, str], body: str, name: Name, page: str) -> Iterator[str]:
    yield from (f"| {headings[0]} | {headings[1]} |", "|---|---|")
    for term, text in _TERM.findall(body):
        words = term.split(", ")
        terms = [
            _link(path, page) if (path := _type(each, name)) and headings[1] else f"`{each}`"
            for each in words
        ]
        yield f"| {', '.join(terms)} | {_line(text, name, page)} |"
    yield ""


def _line(text: str, name: Name, page: str) -> str:
    """Return a text as a cell of a table."""
    return _marked(" ".join(text.split()), name, page).replace("|", "\\|")


def _marked(text: str, name: Name, page: str) -> str:
    """Return a text as Markdown, with links from the public names in it."""
    parts = _CODE.split(text)
    for place, part in enumerate(parts):
        if place % 2:
            # A word such as `delete` is an option more often than the method of that name.
            is_method = "." in part or _BEFORE_METHOD.search(parts[place - 1])
            path = _find(part.strip("`"), name, members=bool(is_method))
            parts[place] = _link(path, page, part) if path and path != name.path else part
        else:
            parts[place] = part.replace("**", r"\*\*").replace("<", "&lt;")
    return "".join(parts)


def _find(text: str, name: Name, *, members: bool = True) -> str | None:
    """Return the path of the public name, or of the member of one, that a text of `name` means."""
    known = _members() if members else names()
    places = (f"{name.path}.", f"{name.module}.", "s3crypt.", "")
    return next((path for place in places if (path := place + text) in known), None)


@cache
def _members() -> dict[str, tuple[str, str]]:
    """Return the page and the heading of each public name and of each member of one."""
    found = {path: (page, name_of(path).title) for path, page in names().items()}
    for path, page in names().items():
        for member in name_of(path).members:
            if member.doc:
                found[f"{path}.{member.name}"] = page, member.title
    return found


def _link(path: str, page: str, shown: str | None = None) -> str:
    """Return a link from a page to a public name or a member, or plain code without an entry."""
    if path not in _members():
        return f"`{path}`"
    to, title = _members()[path]
    return f"[{shown or f'`{title}`'}]({'' if to == page else to}#{slug(title)})"


def slug(title: str) -> str:
    """Return the anchor that repository browsers give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    for file, content in pages().items():
        (FOLDER / file).write_text(content)
