"""`ebbtide new`: writes a first rule with comments, cases and the templates that it sends."""

import re
from enum import StrEnum
from pathlib import Path

from schemas.errors import UserError

STARTERS = Path(__file__).parent / "starters"
"""A folder for each kind: `rule.yaml` and templates, in which NAME and IDENT stand for the name of the new rule."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class StarterKind(StrEnum):
    """The kinds of rule to start from."""

    CART_ABANDONMENT = "cart-abandonment"
    WELCOME_JOURNEY = "welcome-journey"
    WIN_BACK = "win-back"
    RECEIPT = "receipt"
    BROWSE_ABANDONMENT = "browse-abandonment"
    BIRTHDAY = "birthday"


class StarterError(UserError):
    """The rule cannot be written; nothing was written."""


def starter_files(name: str, like: StarterKind) -> dict[Path, str]:
    """The files of a new rule, relative to the folder of rules; raises StarterError for an invalid name."""
    if not _NAME.fullmatch(name):
        raise StarterError(
            f"{name!r} cannot name a rule and its file; use a letter, then up to 63 letters, digits, _ or -"
        )
    files = {}
    for source in sorted((STARTERS / like.value).iterdir()):
        text = source.read_text(encoding="utf-8")
        text = re.sub(r"\bNAME\b", name, text).replace("IDENT_", f"{name.replace('-', '_')}_")
        template = Path("templates") / source.name.replace("NAME", name, 1)
        files[Path(f"{name}.yaml") if source.name == "rule.yaml" else template] = text
    return files


def write_rule(name: str, like: StarterKind, folder: Path) -> list[Path]:
    """Writes the rule and its templates into `folder`; raises StarterError if one of the files exists."""
    files = {folder / path: text for path, text in starter_files(name, like).items()}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise StarterError(f"{', '.join(there)}: already there, and not changed; choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(files)
