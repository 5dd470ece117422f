"""The pages of the documentation that are made from the code, as a hook of MkDocs: methods, formats, commands, modules.

Nothing here names a method, a format or a command: what is registered has a page.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo

import pintsize
from pintsize.formats import FORMATS, format_class
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import Method, PairMethod, PostTraining

Pages = list[tuple[str, str, str]]
"""Title, path and text of each page, in the order of the navigation."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts generated pages where the navigation says ``generate:NAME``."""
    nav = []
    for entry in config.nav or []:
        ((title, target),) = entry.items()
        if isinstance(target, str) and target.startswith("generate:"):
            pages = GENERATED[target.removeprefix("generate:")]()
            target = [{name: path} for name, path, _ in pages] if len(pages) > 1 else pages[0][1]
            if isinstance(target, list) and target[0].keys() == {title}:
                target[0] = target[0][title]  # the section's own page
        nav.append({title: target})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for make in GENERATED.values():
        for _, path, text in make():
            files.append(File.generated(config, path, content=text))
    return files


def methods() -> Pages:
    """An overview, and a page a method."""
    rows = [(name, method_class(name)) for name in sorted(METHODS)]
    families: dict[str, list[tuple[str, type[Method]]]] = {}
    for name, kind in rows:
        families.setdefault(kind.family, []).append((name, kind))
    text = [
        "# Methods",
        "A method decides what a row is; the [format](../formats.md) it ends in decides how the row is stored. "
        "A method is written as a spec: `name`, or `name:field=value,field=value`. `a + b` means that the float parts "
        "of what `a` made are compressed by `b`.",
    ]
    for family, members in families.items():
        text += [
            f"## {family.capitalize()}",
            table(["Method", "Works on", "What it does", "Paper"], map(overview, members)),
        ]
    pages = [("Methods", "methods/index.md", "\n\n".join(text) + "\n")]
    return pages + [(name, f"methods/{name}.md", method_page(name, kind)) for name, kind in rows]


def overview(member: tuple[str, type[Method]]) -> list[str]:
    """A method's line in the overview."""
    name, kind = member
    return [f"[`{name}`]({name}.md)", kind_of(kind), inspect.getdoc(kind).partition("\n\n")[0], kind.paper]  # type: ignore[union-attr]


def kind_of(kind: type[Method]) -> str:
    """When a method is applied."""
    found = {PostTraining: "a trained table", PairMethod: "a pair of trained tables"}
    return ", ".join(words for base, words in found.items() if issubclass(kind, base)) or "a table being trained"


def method_page(name: str, kind: type[Method]) -> str:
    """All that a method says of itself."""
    traits = kind.traits
    facts = [
        ["Family", kind.family],
        ["Paper", kind.paper],
        ["Works on", kind_of(kind)],
        ["Encodes row by row", yes(traits.by_rows)],
        ["Needs counts", yes(traits.needs_counts)],
        ["Same seed, same bytes", yes(traits.deterministic)],
        ["Extra", f"`pip install 'pintsize[{traits.extra}]'`" if traits.extra else "none"],
    ]
    fields = [
        [
            f"`{field}`",
            type_text(info),
            default_text(info),
            info.description or "",
        ]
        for field, info in kind.model_fields.items()
    ]
    specs = "\n".join(str(kind(**example)) for example in kind.examples)
    parts = [f"# {name}", inspect.getdoc(kind) or "", table(["", ""], facts), "## Fields"]
    parts.append(table(["Field", "Type", "Default", ""], fields) if fields else "None.")
    return "\n\n".join([*parts, "## Specs", f"```text\n{specs}\n```"]) + "\n"


def yes(fact: bool) -> str:
    """A trait in a word."""
    return "yes" if fact else "no"


def default_text(info: FieldInfo) -> str:
    """A field's default as a spec writes it."""
    if info.is_required():
        return "required"
    return f"`{info.default if isinstance(info.default, str) else json.dumps(info.default)}`"


def type_text(info: FieldInfo) -> str:
    """A field's type and bounds as a reader wants them: ``int, ge 1, le 8``."""

    def spoken(kind: Any) -> str:
        if typing.get_origin(kind) is typing.Literal:
            return " or ".join(f"`{value}`" for value in typing.get_args(kind))
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            return " or ".join("`null`" if part is type(None) else spoken(part) for part in typing.get_args(kind))
        return f"`{kind.__name__}`" if isinstance(kind, type) else f"`{kind}`"

    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{signs[key]} {getattr(rule, key)}" for rule in info.metadata for key in signs if hasattr(rule, key)]
    return ", ".join([spoken(info.annotation), *bounds])


def formats() -> Pages:
    """One page with every format's class: its docstring says the layout."""
    text = [
        "# Formats",
        "A format decides how a row is stored. All of them offer what `CompressedTable` offers; formats nest.",
        "::: pintsize.formats.base.CompressedTable\n    options:\n      inherited_members: true",
    ]
    for tag in sorted(FORMATS):
        kind = format_class(tag)
        options = "    options:\n      members: []"
        text.append(f"::: {kind.__module__}.{kind.__name__}\n{options}")
    text += ["## How codes lie in bytes", inspect.getdoc(importlib.import_module("pintsize.formats._packing")) or ""]
    return [("Formats", "formats.md", "\n\n".join(text) + "\n")]


def python() -> Pages:
    """The public names, and a page a public module."""
    names = table(
        ["Name", "From"], ([f"`pintsize.{name}`", f"`pintsize.{home}`"] for name, home in pintsize._HOME.items())
    )
    pages = [("Python", "python/index.md", f"# Python\n\n{inspect.getdoc(pintsize)}\n\n{names}\n")]
    for module in pkgutil.iter_modules(pintsize.__path__):
        if module.name.startswith("_") or module.name in {"methods", "formats", "cli", "kernels", "arrays"}:
            continue
        dotted = f"pintsize.{module.name}"
        loaded = importlib.import_module(dotted)
        parts = [f"# {dotted}", inspect.getdoc(loaded) or ""]
        members = (getattr(loaded, name) for name in getattr(loaded, "__all__", ()))
        parts += [f"::: {member.__module__}.{member.__name__}" for member in members if belongs(member, dotted)]
        pages.append((dotted, f"python/{module.name}.md", "\n\n".join(parts) + "\n"))
    return pages


def belongs(member: Any, module: str) -> bool:
    """Whether it is a class or function that this module, or a part of this package, defines: shown there only."""
    defined = f"{getattr(member, '__module__', '')}."
    return isinstance(member, (type, types.FunctionType)) and defined.startswith(f"{module}.")


def command_line() -> Pages:
    """One page with every command, from the typer application."""
    text = ["# Command line"]
    if importlib.util.find_spec("pintsize.cli") is None:
        text.append("There is no command line in this build.")
    else:
        import typer

        root = typer.main.get_command(importlib.import_module("pintsize.cli").app)
        context = root.make_context("pintsize", [], resilient_parsing=True)
        text.append(root.help or "")
        text += commands(root, context)
    return [("Command line", "command-line.md", "\n\n".join(text) + "\n")]


def commands(group: Any, context: Any) -> Iterator[str]:
    """Each command of a group, and those of groups in it."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield f"## {inner.command_path}"
        yield "```text\n" + " ".join([inner.command_path, *command.collect_usage_pieces(inner)]) + "\n```"
        yield inspect.cleandoc((command.help or "").replace("\b\n", "").replace("\f", ""))
        rows = []
        for parameter in command.get_params(inner):
            is_option = parameter.param_type_name == "option"
            words = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
            rows.append([", ".join(f"`{word}`" for word in words), getattr(parameter, "help", "") or ""])
        yield table(["", ""], rows)
        if hasattr(command, "commands"):
            yield from commands(command, inner)


def table(headings: list[str], rows: Any) -> str:
    """A Markdown table; text in cells is put on one line."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


GENERATED: dict[str, Callable[[], Pages]] = {
    "methods": methods,
    "formats": formats,
    "python": python,
    "command_line": command_line,
}
