"""Finds rule files and templates in a folder, and warns of files that look like them but are not read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import UserError
from triggers.language.diagnostics import Diagnostic

RULE_SUFFIXES = {".yaml", ".yml"}
TEMPLATE_SUFFIX = ".liquid"
CATALOGUES = {"events.yaml", "events.yml"}
"""The names of an event catalogue, a file beside the rules."""
PRIVACY = {"privacy.yaml", "privacy.yml"}
"""The names of a privacy file, beside the rules too."""
TEMPLATES = "templates"

_READ = "names of rule files end in .yaml or .yml, those of templates in .liquid, in lower case"
_OTHER_TEMPLATES = {".html", ".htm", ".txt", ".mjml", ".j2", ".jinja", ".jinja2", ".hbs", ".mustache", ".eml", ".tpl"}
_SNIFFED = {"", ".txt", ".json"}
"""Suffixes of files whose text is searched for a rule. Manuals are not searched: they may show rules."""
_SNIFFED_BYTES = 65_536
_RULE_TEXT = re.compile(rb'^\s*\{?\s*"?(?:trigger|score|metric|segment|policy|brand)"?:\s', re.MULTILINE)
_MANUALS = ("readme", "license", "changelog", "notice", "codeowners")
_LEFT_BY_EDITORS = ("~", ".swp", ".swo")


class NothingFound(UserError):
    """The paths have no rule file, or one that cannot be read."""


@dataclass(slots=True)
class FoundFiles:
    """The files to read, ordered by path, and a warning for each other file that looks like one."""

    files: list[Path] = field(default_factory=list)
    beside: set[Path] = field(default_factory=set)
    """Files that lie beside a named file and were not named themselves."""
    passed_over: list[Diagnostic] = field(default_factory=list)


def find_files(*paths: Path) -> FoundFiles:
    """The files at or below the paths, each once.

    Raises FileNotFoundError, or NothingFound for a named file that is neither a rule file nor a template.
    """
    found, named = FoundFiles(), set[Path]()
    for path in paths:
        if path.is_file():
            named.add(path)
            found.beside |= set(_beside(path))
        elif path.exists():
            named |= set(_below(path, found.passed_over))
        else:
            what = "a broken link" if path.is_symlink() else "no such file or folder"
            raise FileNotFoundError(f"{path}: {what}")
    found.beside -= named
    read = {os.path.realpath(file): file for file in sorted(named | found.beside, reverse=True)}
    found.files = sorted(read.values())
    found.passed_over = sorted(each for each in found.passed_over if os.path.realpath(each.path) not in read)
    return found


def is_rule(file: Path) -> bool:
    """Whether the file is a rule file, by its name."""
    return file.suffix in RULE_SUFFIXES and file.name not in CATALOGUES | PRIVACY


def _beside(file: Path) -> list[Path]:
    if file.suffix not in RULE_SUFFIXES and file.suffix != TEMPLATE_SUFFIX:
        raise NothingFound(f"{file}: neither a rule file nor a template; {_READ}")
    templates = sorted(file.parent.glob(f"{TEMPLATES}/*{TEMPLATE_SUFFIX}"))
    catalogues = [file.parent / name for name in sorted(CATALOGUES | PRIVACY)]
    return [each for each in (*templates, *catalogues) if each.is_file()]  # opening a pipe would wait for its writer


def _below(folder: Path, passed_over: list[Diagnostic]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise NothingFound(f"{error.filename}: cannot be read: {error.strerror}") from None

    for at, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(at)
        for name in sorted(folders):
            passed_over += _passed_folder(here / name)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = here / name
            if file.is_file() and not name.startswith(".") and file.suffix in (*RULE_SUFFIXES, TEMPLATE_SUFFIX):
                yield file
            elif why := _why_passed(file):
                passed_over.append(_warning(file, why))


def _passed_folder(folder: Path) -> list[Diagnostic]:
    """Warns of a folder with the name of a file, and of a folder that is not read and has what looks like a rule."""
    named = not folder.name.startswith(".") and folder.suffix.casefold() in (*RULE_SUFFIXES, TEMPLATE_SUFFIX)
    if folder.is_symlink():
        holds = named or any(file.suffix in (*RULE_SUFFIXES, TEMPLATE_SUFFIX) for file in _list(folder))
        return [_warning(folder, "links to folders are not followed; name the folder itself too")] * holds
    if folder.name.startswith("."):
        return [
            _warning(file, "a folder whose name begins with a dot is hidden") for file in _list(folder) if _rule(file)
        ]
    return [_warning(folder, "it is a folder with the name of a file; the files in it are read")] * named


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # a broken link, or a hidden folder that we may not read: it has no rules for us
        return []


def _why_passed(file: Path) -> str:
    """Why a file that looks like a rule or a template is not read; empty for other files."""
    name = file.name.casefold()
    if name.endswith(_LEFT_BY_EDITORS) or name.startswith(_MANUALS) or file.suffix == ".md":
        return ""
    if name.startswith("."):
        return "a file whose name begins with a dot is hidden" if _rule(file) else ""
    if not file.is_file():
        why = "it is a broken link" if file.is_symlink() else "it is a pipe or a device, not a regular file"
        return why if _suffixes(name) else ""
    if _suffixes(name):
        return _READ
    if file.suffix in _OTHER_TEMPLATES and file.parent.name == TEMPLATES:
        return f"a template ends in {TEMPLATE_SUFFIX}"
    return f"it has a rule, but {_READ}" if _rule(file) else ""


def _suffixes(name: str) -> bool:
    """Whether a name in lower case has the suffix of a rule or a template anywhere: `a.yaml.bak`, `a.yml`."""
    return any(suffix in (*RULE_SUFFIXES, TEMPLATE_SUFFIX) for suffix in Path(name).suffixes)


def _rule(file: Path) -> bool:
    """Whether the text of the file has a rule."""
    if file.suffix.casefold() not in _SNIFFED | RULE_SUFFIXES or not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            return _RULE_TEXT.search(opened.read(_SNIFFED_BYTES)) is not None
    except OSError:  # a file that we may not read is not one of our rules
        return False


def _warning(path: Path, why: str) -> Diagnostic:
    return Diagnostic(str(path), 1, 1, "not-read", f"this is not read: {why}")
