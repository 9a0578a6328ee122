# ruff: noqa: T201 - a report for the terminal
"""Measures of the tree that the layout promises: folders, lengths, suppressions, names, circles.

``python -m tests.support.gates.house`` prints where the tree stands.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("engine", "service", "export")
CODE = (*PRODUCT, "benchmarks", "deploy", "requirements", "clients", "proto", "tests")
SUPPRESSION = re.compile(
    r"#\s*(?:noqa\b|type:\s*ignore|pragma:|mypy:|pyright:)[^#]*(?:#(?!\s*(?:noqa|type:))[^#]*)?"
)
"""With its reason, which mypy wants in a comment of its own."""
_WORDS_FOR_PEOPLE = (
    r"(?:DEMO_MODEL|SEGMENTED|SIMULATED_COHORT|SUPPLIED_WORDS"
    r"|f?[\"'][^\"']*(?:demo model|segmented by|simulated cohort|on contours of)[^\"']*[\"'])"
)
DISPLAY_DECISION = re.compile(
    rf"{_WORDS_FOR_PEOPLE}(?:\.lower\(\))?\s+(?:not\s+)?in\b"
    rf"|\.(?:starts|ends)with\(\(?{_WORDS_FOR_PEOPLE}"
    rf"|(?:[=!]=)\s*{_WORDS_FOR_PEOPLE}"
    rf"|\bre\.(?:match|search|fullmatch)\({_WORDS_FOR_PEOPLE}"
    r"|(?:\b|_)(?:source|model|description|summary|name)\.startswith\((?:model_name|name|source|described)\b"
    r"|\bin\s+(?:\w+\.)*(?:model_name|segmenter\.name|zone_source|core_source|lesion\.source|summary|statements)\b"
)
"""A decision on words that are meant for people."""


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Every Python file that git knows below these folders, generated code left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    names = (ROOT / name for name in listed if name.endswith(".py") and not name.startswith("proto/gen/"))
    return tuple(sorted(path for path in names if path.exists()))


@cache
def tree_of(path: Path) -> ast.Module:
    """Syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def shown(path: Path) -> str:
    """Path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def folder_widths() -> Counter[str]:
    """Number of Python files by folder."""
    return Counter(shown(path.parent) for path in python_files(*CODE))


def file_lengths() -> dict[str, int]:
    """Number of lines by file."""
    return {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(*CODE)}


def class_lengths() -> dict[str, int]:
    """Number of lines by class."""
    return {
        f"{shown(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in python_files(*CODE)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    }


def suppressions() -> Iterator[tuple[str, str]]:
    """Every suppressed rule outside tests: where, and the comment."""
    for path in python_files(*(folder for folder in CODE if folder != "tests")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in SUPPRESSION.finditer(line):
                yield f"{shown(path)}:{number}", match[0].strip()


def has_reason(comment: str) -> bool:
    """Whether a suppression says why."""
    return " - " in comment or re.search(r"\]\s+#?\s*\S", comment) is not None


def _mentions(path: Path) -> set[str]:
    """Every identifier that a file mentions: names, attributes, imports, and words in strings that are one."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found.update(part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"[A-Za-z_]\w*", node.value) if len(node.value) < 200 else ())
    return found


def _public_definitions(path: Path) -> Iterator[str]:
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            commands = [
                d for d in node.decorator_list if isinstance(d, ast.Call) and "command" in ast.unparse(d)
            ]
            if not node.name.startswith("_") and not commands:
                yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield target.id


def names_used_nowhere_else() -> list[str]:
    """Public names of the product that no other file mentions."""
    mentioned: defaultdict[str, set[Path]] = defaultdict(set)
    for path in python_files(*CODE):
        for name in _mentions(path):
            mentioned[name].add(path)
    return [
        f"{shown(path)}:{name}"
        for path in python_files(*PRODUCT)
        for name in _public_definitions(path)
        if name != "__version__" and not mentioned[name] - {path}
    ]


def _module_of(path: Path) -> str:
    return shown(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports() -> dict[str, set[str]]:
    """Modules of this repository by the module that imports them."""
    files = python_files(*PRODUCT, "benchmarks")
    modules = {_module_of(path) for path in files}
    arrows: dict[str, set[str]] = {name: set() for name in modules}
    for path in files:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                targets = {f"{node.module}.{alias.name}" for alias in node.names} & modules
                arrows[_module_of(path)] |= targets or ({node.module} & modules)
    return arrows


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in arrows.get(waiting.pop(), set()) - seen:
                seen.add(target)
                waiting.append(target)
        return seen

    reach = {node: reached(node) for node in arrows}
    groups = {
        tuple(sorted(other for other in reach[node] if node in reach.get(other, set())))
        for node in arrows
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def folder_of(module: str) -> str:
    """Folder of a module two levels deep, or the module itself where it lies on the ground floor."""
    return ".".join(module.split(".")[:2])


def folder_arrows() -> dict[str, set[str]]:
    """Folders by the folder that imports from them; modules directly in a package are left out."""
    arrows: defaultdict[str, set[str]] = defaultdict(set)
    for module, targets in imports().items():
        for target in targets:
            if folder_of(module) != folder_of(target) and "." in target:
                arrows[folder_of(module)].add(folder_of(target))
    return dict(arrows)


def decisions_on_words() -> list[str]:
    """Lines of the product that decide on a display string."""
    return [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in python_files(*PRODUCT)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DISPLAY_DECISION.search(line)
    ]


def main() -> None:
    """Print where the tree stands."""
    listed = list(suppressions())
    print("folders over 22 files:", {k: n for k, n in folder_widths().items() if n > 22})
    print("files over 400 lines:", {k: n for k, n in file_lengths().items() if n > 400})
    print("classes over 200 lines:", {k: n for k, n in class_lengths().items() if n > 200})
    print("suppressions outside tests:", len(listed))
    print("  without a reason:", *(f"\n    {where} {text}" for where, text in listed if not has_reason(text)))
    print("public names used nowhere else:", *(f"\n    {name}" for name in names_used_nowhere_else()))
    print("circles of modules:", circles(imports()))
    print("circles of folders:", circles(folder_arrows()))
    print("decisions on words:", *(f"\n    {line}" for line in decisions_on_words()))


if __name__ == "__main__":
    main()
