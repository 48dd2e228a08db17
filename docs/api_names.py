# SPDX-License-Identifier: Apache-2.0
"""The public names of s3crypt as the source defines them: docstrings, members and signatures.

Signatures come from the source's syntax tree: they show what an author wrote, and do not depend on
the version of Python. This module knows no page and no Markdown.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, cached_property
from importlib import import_module
from typing import Any, is_typeddict

_WIDTH = 88
_PLAIN_BASES = {"IntEnum", "Protocol", "StrEnum", "TypedDict", "object"}
# Methods return these objects; their constructors are not for users.
_NOT_CONSTRUCTED = {
    "s3crypt.Journal",
    "s3crypt.Many",
    "s3crypt.ObjectReader",
    "s3crypt.ObjectWriter",
    "s3crypt.trails.Search",
}
_Function = ast.FunctionDef


@dataclass(frozen=True)
class Name:
    """A public class, function or value.

    Attributes:
        path: The name with the module that users import it from.
    """

    path: str

    @property
    def module(self) -> str:
        """The module that users import the name from."""
        return self.path.rpartition(".")[0]

    @property
    def short(self) -> str:
        """The name without its module."""
        return self.path.rpartition(".")[2]

    @property
    def title(self) -> str:
        """The name with its module, if that is not `s3crypt` itself."""
        return self.path.removeprefix("s3crypt.")

    @cached_property
    def value(self) -> Any:
        """The object."""
        return getattr(import_module(self.module), self.short)

    @cached_property
    def home(self) -> str:
        """The module that defines the name."""
        plain = inspect.unwrap(self.value) if callable(self.value) else self.value
        home = getattr(plain, "__module__", "")
        if isinstance(home, str) and home.startswith("s3crypt") and _definition(home, self.short):
            return home
        return next((each for each in _below(self.module) if _definition(each, self.short)), home)

    @cached_property
    def node(self) -> ast.stmt:
        """The definition in the source."""
        found = _definition(self.home, self.short)
        if found is None:
            raise LookupError(f"no module of s3crypt defines {self.path}")
        return found

    @property
    def doc(self) -> str:
        """The docstring; of a value, the comment above it or the text below it."""
        if isinstance(self.node, ast.ClassDef | _Function):
            return ast.get_docstring(self.node) or ""
        return _comment(_lines(self.home), self.node)

    @cached_property
    def members(self) -> "tuple[Member, ...]":
        """The public methods and properties that the class itself defines, in order."""
        if not isinstance(self.node, ast.ClassDef):
            return ()
        found: dict[str, list[_Function]] = {}
        for each in self.node.body:
            if isinstance(each, _Function) and not each.name.startswith("_"):
                found.setdefault(each.name, []).append(each)
        return tuple(Member(self, name, tuple(nodes)) for name, nodes in found.items())

    @property
    def fields(self) -> tuple[str, ...]:
        """The public fields of a dataclass, or the keys that a typed dictionary itself has."""
        if not isinstance(self.node, ast.ClassDef) or isinstance(self.value, type(Enum)):
            return ()
        return tuple(name for name, _, _ in _assigned(self.node) if not name.startswith("_"))

    @property
    def signature(self) -> list[str]:
        """The lines that show how the name is used: a call, members, or a value."""
        node = self.node
        if isinstance(node, ast.ClassDef):
            return self._class_signature(node)
        if isinstance(node, _Function):
            return _call(node.name, node, self.home)
        return _value(self.short, node.value, self.value)  # type: ignore[attr-defined]

    def _class_signature(self, node: ast.ClassDef) -> list[str]:
        if isinstance(self.value, type(Enum)):
            return [
                f"class {self.short}:",
                *(f"    {e.name} = {_repr(e.value)}" for e in self.value),
            ]
        if is_typeddict(self.value):
            keys = [f"    {name}: {_annotation(type_)}" for name, type_ in self.keys()]
            return [f"class {self.short}:", *keys]
        if (made := self._constructor(node)) is not None:
            return _call(self.short, made, self.home, method=True)
        if self.path in _NOT_CONSTRUCTED:
            return [f"class {self.short}"]
        if hasattr(self.value, "__dataclass_fields__"):
            return _wrapped(self.short, list(_parameters(node, self.home)), "")
        return [ast.unparse(node).partition(":\n")[0].rpartition("\n")[2]]

    def _constructor(self, node: ast.ClassDef) -> _Function | None:
        """Return the constructor that users call, if the class has one."""
        if self.path in _NOT_CONSTRUCTED:
            return None
        made = (each for each in node.body if isinstance(each, _Function))
        return next((each for each in made if each.name == "__init__"), None)

    @property
    def bases(self) -> tuple[str, ...]:
        """The base classes that tell a user something."""
        if not isinstance(self.node, ast.ClassDef):
            return ()
        texts = [ast.unparse(base) for base in self.node.bases]
        return tuple(
            text for text in texts if text.partition("[")[0] not in {*_PLAIN_BASES, "Generic"}
        )

    @property
    def types(self) -> set[str]:
        """The names in the annotations of the signature."""
        if isinstance(self.node, _Function):
            return _names_in(self.node)
        found: set[str] = set()
        if isinstance(self.node, ast.ClassDef):
            inits = [made] if (made := self._constructor(self.node)) else []
            annotations = [type_ for _, type_, _ in _assigned(self.node)]
            for each in [*inits, *annotations]:
                found |= _names_in(each)
        return found

    def keys(self) -> Iterator[tuple[str, ast.expr]]:
        """Yield the keys of a typed dictionary and of its bases, with their types."""
        if isinstance(self.node, ast.ClassDef):
            for node in self.node.bases:
                base = getattr(import_module(self.home), ast.unparse(node))
                if is_typeddict(base):
                    yield from Name(f"{base.__module__}.{base.__name__}").keys()
            yield from ((name, type_) for name, type_, _ in _assigned(self.node))


@dataclass(frozen=True)
class Member:
    """A public method or property of a class; `nodes` has its overloads and its implementation."""

    owner: Name
    name: str
    nodes: tuple[_Function, ...] = field(repr=False)

    @property
    def title(self) -> str:
        """The name with its class."""
        return f"{self.owner.short}.{self.name}"

    @property
    def doc(self) -> str:
        """The docstring."""
        texts = [ast.get_docstring(node) for node in self.nodes]
        return next((text for text in texts if text), "")

    @property
    def is_property(self) -> bool:
        """Whether it is read without a call."""
        return bool(_decorators(self.nodes[0]) & {"property", "cached_property"})

    @property
    def is_override(self) -> bool:
        """Whether a base class from outside s3crypt defines and documents it."""
        bases = [kind for kind in self.owner.value.__mro__[1:] if self.name in vars(kind)]
        return any(not kind.__module__.startswith("s3crypt") for kind in bases)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, without `self`."""
        arguments = self.nodes[-1].args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return tuple(each.arg for each in every if each.arg not in ("self", "cls"))

    @property
    def signature(self) -> list[str]:
        """The lines that show how the member is used."""
        if self.is_property:
            returned = self.nodes[0].returns
            return [f"{self.name}: {_annotation(returned)}" if returned else self.name]
        shown = [node for node in self.nodes if "overload" in _decorators(node)] or self.nodes[-1:]
        return [
            line for node in shown for line in _call(node.name, node, self.owner.home, method=True)
        ]

    @property
    def types(self) -> set[str]:
        """The names in the annotations of the signature."""
        return set().union(*map(_names_in, self.nodes))


@cache
def _source(module: str) -> str:
    return inspect.getsource(import_module(module))


def _lines(module: str) -> list[str]:
    return _source(module).splitlines()


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


@cache
def _below(package: str) -> tuple[str, ...]:
    """Return a package and the modules of its own from which it imports names."""
    imports = [each for each in ast.walk(_tree(package)) if isinstance(each, ast.ImportFrom)]
    return (package, *(f"{package}.{each.module}" for each in imports if each.level == 1))


@cache
def _definition(module: str, name: str) -> ast.stmt | None:
    """Return the statement in a module that defines a name."""
    for each in _tree(module).body:
        targets = getattr(each, "targets", [getattr(each, "target", None)])
        if getattr(each, "name", None) == name or name in (getattr(t, "id", "") for t in targets):
            return each
    return None


def _comment(lines: Sequence[str], node: ast.stmt) -> str:
    below = lines[node.end_lineno or 0 :][:1]
    if below and below[0].startswith('"""'):
        return below[0].strip('"')
    first = last = node.lineno - 1
    # One comment may stand above several values.
    while first and re.match(r"# |[A-Z_]+ = ", lines[first - 1]):
        first -= 1
    return " ".join(line[2:] for line in lines[first:last] if line.startswith("# "))


def _assigned(node: ast.ClassDef) -> list[tuple[str, ast.expr, ast.expr | None]]:
    """Return the name, type and default of each field in a class's body."""
    return [
        (each.target.id, each.annotation, each.value)
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and not ast.unparse(each.annotation).startswith("ClassVar")
    ]


def _parameters(node: ast.ClassDef, module: str) -> Iterator[str]:
    """Yield the constructor's parameters of a dataclass."""
    for name, type_, default in _assigned(node):
        if name == "_":
            yield "*"
        elif not name.startswith("_"):
            given = ""
            if isinstance(default, ast.Call) and getattr(default.func, "id", "") == "field":
                words = {word.arg: _default(word.value, module) for word in default.keywords}
                if words.get("init") == "False":
                    continue
                factory = words.get("default_factory")
                given = f"{factory}()" if factory else words.get("default", "")
            elif default is not None:
                given = _default(default, module)
            yield f"{name}: {_annotation(type_)}" + (f" = {given}" if given else "")


def _call(name: str, node: _Function, module: str, *, method: bool = False) -> list[str]:
    decorators = _decorators(node)
    parameters = list(_arguments(node.args, module))
    if method and "staticmethod" not in decorators:
        parameters = parameters[1:]
    if parameters[:1] == ["/"]:
        parameters = parameters[1:]
    is_init = node.name == "__init__"
    returned = "" if is_init or node.returns is None else f" -> {_annotation(node.returns)}"
    return _wrapped(name, parameters, returned)


def _arguments(given: ast.arguments, module: str) -> Iterator[str]:
    positional = [*given.posonlyargs, *given.args]
    absent = [None] * (len(positional) - len(given.defaults))
    for place, (each, default) in enumerate(
        zip(positional, [*absent, *given.defaults], strict=True)
    ):
        yield _argument(each, default, module)
        if place + 1 == len(given.posonlyargs):
            yield "/"
    if given.vararg:
        yield f"*{_argument(given.vararg, None, module)}"
    elif given.kwonlyargs:
        yield "*"
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _argument(each, default, module)
    if given.kwarg:
        yield f"**{_argument(given.kwarg, None, module)}"


def _argument(node: ast.arg, default: ast.expr | None, module: str) -> str:
    text = node.arg + (f": {_annotation(node.annotation)}" if node.annotation else "")
    return text if default is None else f"{text} = {_default(default, module)}"


def _default(node: ast.expr, module: str) -> str:
    """Return the source of a default, or the number that a constant has."""
    if isinstance(node, ast.Lambda):
        return "..."
    value = getattr(import_module(module), node.id, None) if isinstance(node, ast.Name) else None
    return repr(value) if isinstance(value, int | float) else _text(node)


def _text(node: ast.AST) -> str:
    """Return the source of a node with the quotes that ruff prefers."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _repr(value: object) -> str:
    text = repr(value)
    return text if '"' in text else text.replace("'", '"')


def _wrapped(name: str, parts: Sequence[str], end: str) -> list[str]:
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{name}(", *(f"    {part}," for part in parts), f"){end}"]


def _decorators(node: _Function) -> set[str]:
    return {getattr(each, "id", "") for each in node.decorator_list}


def _value(name: str, node: ast.expr, value: object) -> list[str]:
    """Return the lines of an assignment, with the value itself where that is a constant."""
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return [
            f"{name} = {{",
            *(f"    {_repr(key)}: {_repr(item)}," for key, item in value.items()),
            "}",
        ]
    if isinstance(value, dict):
        key, item = next(iter(value.items()))
        return [f"{name}: dict[{type(key).__name__}, {type(item).__name__}]"]
    if isinstance(value, tuple):
        return _wrapped(f"{name} = ", [_repr(item) for item in value], "")
    shown = _repr(value) if isinstance(value, int | str) else _text(node)
    return [f"{name} = {shown}"]


def _annotation(node: ast.expr) -> str:
    """Return an annotation without the quotes around names of types."""
    return _text(_Unquoted().visit(node))


def _names_in(node: ast.AST) -> set[str]:
    """Return the dotted names in the annotations below a node."""
    annotations = [
        getattr(each, kind)
        for each in ast.walk(node)
        for kind in ("annotation", "returns")
        if getattr(each, kind, None)
    ] or ([node] if isinstance(node, ast.expr) else [])
    text = " ".join(_annotation(each) for each in annotations)
    return set(re.findall(r"[A-Za-z_][\w.]*", text))


class _Unquoted(ast.NodeTransformer):
    """Replaces quoted annotations by what they quote, except for the values of a Literal."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node if ast.unparse(node.value) == "Literal" else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            return self.visit(ast.parse(node.value, mode="eval").body)
        return node
