"""Read the corpus that every Python environment has: the documentation of Python, torch, numpy and lightning.

It is the language reference in `pydoc_data.topics` and the docstrings of the modules, which are parsed and never imported.
One module is one document. Doctests, tables, signatures, directives and section titles are cut; English prose remains.
"""

import ast
import inspect
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from roberta_lab.data.corpus.sources.text import Document

PACKAGES = ("torch", "numpy", "lightning")
_CUT_FOLDERS = {"test", "tests", "testing", "_internal", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo", "__pycache__", "_vendor", "ensurepip", "pydoc_data"}  # fmt: skip
_TOPICS = "pydoc_data.topics"


@dataclass(frozen=True)
class Docstring:
    """The documentation of one object, with clean indentation."""

    module: str
    package: str  # python | torch | numpy | lightning
    qualname: str
    kind: str  # module | class | function
    text: str


def fingerprint() -> dict[str, str]:
    """Return the versions that decide the text of the documents."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def docstrings(part: int, parts: int) -> Iterator[Docstring]:
    """Yield the docstrings of one of `parts` parts: modules by name, then the topics of the language reference."""
    files = _modules()
    for entry in files[part * len(files) // parts : (part + 1) * len(files) // parts]:
        yield from _read_module(entry)
    if part == parts - 1:
        yield from _topics()


def document(records: list[Docstring]) -> Document:
    """Return the docstrings of one module as one document."""
    first = records[0]
    title = first.module.removeprefix(f"{_TOPICS}.")
    paragraphs = [paragraph for record in records for paragraph in prose(record.text)]
    return Document(first.module, title, first.package, paragraphs, whole=first.module)


# ---------------------------------------------------------------- reading
@lru_cache(maxsize=1)  # a process reads several parts
def _modules() -> list[tuple[str, str, Path]]:
    """Return (package, module, file) of every source file that is read, by module."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    roots, found = [("python", stdlib, stdlib)], []
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None, name
        roots.append((name, folder := Path(spec.origin).parent, folder.parent))
    for package, root, above in roots:
        for path in root.rglob("*.py"):
            parts = path.relative_to(above).with_suffix("").parts
            if _CUT_FOLDERS.isdisjoint(parts[:-1]):
                found.append((package, ".".join(parts).removesuffix(".__init__"), path))
    return sorted(found, key=lambda entry: entry[1])


def _read_module(entry: tuple[str, str, Path]) -> list[Docstring]:
    package, module, path = entry
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    return [Docstring(module, package, *found) for found in _walk(tree, "")]


def _walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
        if text := ast.get_docstring(node):
            yield prefix, kind, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{prefix}.{child.name}".lstrip("."))
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _added(child.value)
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _walk(child, prefix)


def _added(call: ast.Call) -> Iterator[tuple[str, str, str]]:
    """Yield the documentation of functions written in C: `add_docstr(torch.abs, "...")`, `add_newdoc("numpy", "abs", "...")`."""
    if getattr(call.func, "id", getattr(call.func, "attr", "")) not in ("add_docstr", "_add_docstr", "add_newdoc"):
        return
    constants = [n for argument in call.args for n in ast.walk(argument) if isinstance(n, ast.Constant)]
    texts = [n.value for n in constants if isinstance(n.value, str)]
    if texts and "\n" in max(texts, key=len):
        yield ast.unparse(call.args[0]).strip("'\""), "function", inspect.cleandoc(max(texts, key=len))


def _topics() -> Iterator[Docstring]:
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for topic, text in sorted(ast.literal_eval(statement.value).items()):
                yield Docstring(f"{_TOPICS}.{topic}", "python", topic, "module", inspect.cleandoc(text))


# ---------------------------------------------------------------- cleaning
_SPOKEN_DIRECTIVES = {"note", "warning", "tip", "important", "caution", "deprecated", "versionadded", "versionchanged"}
_DIRECTIVE = re.compile(r"\.\.\s+([\w-]+)::\s*(.*)")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.])\1{2,}$")
_TABLE = re.compile(r"[=\-+]{2,}(\s+|\+)[=\-+|\s]*$|[|+].*[|+]$")
_SIGNATURE = re.compile(r"[\w.\[\], ]*\w\(.*(\)|,)(\s*->.*)?:?$|(class|def|import|from|return|raise)\b.*")
_HEADER = re.compile(r"[A-Z]\w+( \w+)?:$")
_ENTRY = re.compile(r"(?:[-*•]|\d+[.)])\s+|:\w+[^:`]*:\s+|\*{0,2}`{0,2}\w+`{0,2}\s*(?:\([^)]*\))?:\s+(?=[A-Za-z])")
_FIELD = re.compile(r"\w+( , \w+)* ?: .*")
_MARKUP = (
    (re.compile(r":[\w:+-]+:`~?\.?([^`<]*?)\s*(?:<[^`]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^`]*>`_+"), r"\1"),
    (re.compile(r"`+([^`]*)`+_*"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)"), r"\1"),
    (re.compile(r"\s+"), " "),
)
_PROSE = re.compile(r"[A-Z\"'(].*[.!?:)\"']$", re.DOTALL)


def prose(text: str) -> list[str]:
    """Return the paragraphs of a docstring that are English prose, each on one line, without markup."""
    kept = []
    for paragraph in (entry for lines in _blocks(text) for entry in _entries(lines)):
        for pattern, plain in _MARKUP:
            paragraph = pattern.sub(plain, paragraph)
        if _is_prose(paragraph := paragraph.strip()):
            kept.append(paragraph)
    return kept


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield runs of lines between blank ones, without literal blocks, doctests, directives, tables and titles."""
    cut_below: int | None = None  # indentation of the line that opened a literal block or a directive
    for block in re.split(r"\n\s*\n", text.expandtabs()):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        indent = _indent(lines[0])
        if cut_below is not None and indent > cut_below:
            continue
        cut_below = None
        if directive := _DIRECTIVE.match(lines[0].strip()):
            if directive[1] not in _SPOKEN_DIRECTIVES:
                cut_below = indent
                continue
            lines[0] = directive[2]
        elif lines[0].strip().startswith((">>>", "..", "$ ")):
            continue
        lines = _without_titles_and_code([line.rstrip() for line in lines])
        if lines and lines[-1].endswith("::"):
            cut_below, lines[-1] = _indent(lines[-1]), lines[-1][:-1]
        yield lines


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _without_titles_and_code(lines: list[str]) -> list[str]:
    if any(_TABLE.match(line.strip()) for line in lines):
        return []
    kept: list[str] = []
    for line in lines:
        bare = line.strip()
        if bare.startswith(">>>"):
            break
        if _UNDERLINE.match(bare):
            kept = kept[:-1]
        elif not (_SIGNATURE.match(bare) or _HEADER.match(bare) or _FIELD.fullmatch(bare)):
            kept.append(line)
    return kept


def _entries(lines: list[str]) -> Iterator[str]:
    """Yield one paragraph per list item, field or described parameter, without its mark or name."""
    current: list[str] = []
    for line in lines:
        bare = line.strip()
        if entry := _ENTRY.match(bare):
            yield " ".join(current)
            current, bare = [], bare[entry.end() :]
        current.append(bare)
    yield " ".join(current)


def _is_prose(paragraph: str) -> bool:
    """Return whether a paragraph has five words, the ends of a sentence, mostly letters, and no rest of formulas or code."""
    if paragraph.count(" ") < 4 or not _PROSE.match(paragraph) or re.search(r"[\\{}|]|==|>>>|__\w+__\(|::", paragraph):
        return False
    return sum(c.isalpha() or c.isspace() for c in paragraph) >= 0.85 * len(paragraph)
