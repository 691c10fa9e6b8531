"""Reads a shaping file. Every mistake is reported at once, with line and column; a wrong file gives no shaping."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.digests import digest
from schemas.mistakes import mistake_words
from schemas.wording import closest, nearest, quoted
from senders.shaping import checks
from senders.shaping.document import (
    AutomationRule,
    DefaultTable,
    HostMatch,
    MailLimit,
    MailTable,
    PoolTable,
    ProviderSourceKeys,
    ProviderTable,
    ShapingDocument,
    SourceKeys,
    SourceTable,
    WayTable,
)
from senders.shaping.file import ShapingFile
from senders.shaping.findings import MAX_SHOWN, InvalidShaping, ShapingFinding, ShapingUnreadable
from senders.shaping.keys import ProviderKeys, ShapingTable
from senders.shaping.toml_positions import MAX_DEPTH, TomlPath, TomlPositions, TooDeep

MAX_BYTES = 256 * 1024
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TABLES: dict[str, type[ShapingTable]] = {
    "default": DefaultTable,
    "provider": ProviderTable,
    "site": WayTable,
    "domain": WayTable,
    "source": SourceTable,
    "pool": PoolTable,
    "trigger": MailTable,
    "purpose": MailTable,
    "from_domain": MailTable,
}
_ELSEWHERE = {
    "enable_tls": '`tls` here: opportunistic, required, verified or off, as in tls = "verified"',
    "regex": "`pattern` here",
    "mx_rollup": 'a [domain."…"] table has limits of its own; [site."MX HOST"] is for all domains with these hosts',
    "max_smtp_out": "`connection_limit` here",
    "max_msg_rate": "`max_message_rate` here",
    "max_connect_rate": "`max_connection_rate` here",
    "max_msg_per_connection": "`max_deliveries_per_connection` here",
    "retry_after": "`retry_interval` here",
    "match_internal": "replies of our own never match",
    "ehlo_domain": "`ehlo_name` of a [source.NAME]",
}
"""What keys of KumoMTA and PowerMTA are called here."""
_IN_TOML = {
    "too_short": "needs at least one item",
    "dict_type": "not a table",
    "model_type": "not a table",
    "tuple_type": "not an array",
    "string_pattern_mismatch": "not a name",
}


def load(path: Path) -> ShapingFile:
    """The file at a path; raises InvalidShaping or ShapingUnreadable."""
    return parse(read(path), str(path))


def read(path: Path) -> bytes:
    """The bytes of a file, no more than a shaping file may have and one; raises ShapingUnreadable."""
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ShapingUnreadable(f"{path}: {error.strerror}; give another path, or fix this one") from error


def parse(raw: bytes, path: str) -> ShapingFile:
    """The file with these bytes; `path` is only shown. Raises InvalidShaping."""
    file, findings = inspect(raw, path)
    if file is None:
        raise InvalidShaping(findings)
    return file


def inspect(raw: bytes, path: str) -> tuple[ShapingFile | None, list[ShapingFinding]]:
    """The file, or None if a finding is an error; and all findings in the order of their places."""
    try:
        text, data, positions = _read(raw, path)
    except InvalidShaping as invalid:
        return None, invalid.findings
    try:
        document = ShapingDocument.model_validate(data)
    except ValidationError as error:
        return None, _findings(error, data, positions, path)
    file = ShapingFile(path, digest([text]), document, data, positions)
    findings = sorted(checks.findings(file))[:MAX_SHOWN]
    return (None if any(each.severity == "error" for each in findings) else file), findings


def _read(raw: bytes, path: str) -> tuple[str, dict[str, Any], TomlPositions]:
    def refused(message: str, line: int = 1, column: int = 1) -> InvalidShaping:
        return InvalidShaping([ShapingFinding(path, line, column, "error", message)])

    if len(raw) > MAX_BYTES:
        raise refused(f"larger than {MAX_BYTES // 1024} KB")
    try:
        text = raw.decode().replace("\r\n", "\n")
        positions = TomlPositions(text)
        return text, tomllib.loads(text), positions
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = error.start - before.rfind(b"\n")
        raise refused("not UTF-8", before.count(b"\n") + 1, column) from None
    except TooDeep as deep:
        line, column = _line_and_column(text, deep.index)
        raise refused(f"nested deeper than {MAX_DEPTH}", line, column) from None
    except tomllib.TOMLDecodeError as error:
        place = _AT.search(str(error))
        line, column = _line_and_column(text, len(text))
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        message = _AT.sub("", str(error))
        raise refused(f"not TOML: {message[:1].lower()}{message[1:]}", line, column) from None
    except (ValueError, RecursionError):  # the interpreter's own bounds: a number of thousands of digits
        raise refused("not TOML that can be read: a number is too long") from None


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _findings(
    error: ValidationError, data: dict[str, Any], positions: TomlPositions, path: str
) -> list[ShapingFinding]:
    """The findings of a file that is TOML and does not fit the models."""
    found = []
    errors = error.errors(include_url=False)[:MAX_SHOWN]
    within = {wrong["loc"][:length] for wrong in errors for length in range(len(wrong["loc"]))}
    for wrong in errors:
        if wrong["type"] == "too_short" and wrong["loc"] in within:
            continue  # it has an item, which is wrong
        is_key = wrong["type"] == "extra_forbidden" or wrong["loc"][-1:] == ("[key]",)
        where = _path_in(data, tuple(part for part in wrong["loc"] if part != "[key]"))
        position = positions.of(where)
        line, column = positions.line_and_column(position.key if is_key else position.value)
        message, hint = _words(wrong)
        found.append(ShapingFinding(path, line, column, "error", message, hint))
    return sorted(found)


def _path_in(data: Any, location: TomlPath) -> TomlPath:
    """The location as a path in the file: pydantic counts items of what is written without an array, too."""
    path: TomlPath = ()
    for part in location:
        if isinstance(part, int) and not isinstance(data, list):
            continue
        path = (*path, part)
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return path


def _words(wrong: Any) -> tuple[str, str]:
    """Message and hint of one error of pydantic."""
    kind, location = wrong["type"], wrong["loc"]
    name = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        return f"unknown key {quoted(name)}{_within(location[:-1])}", _hint(name, location)
    if kind == "missing":
        return f"`{name}` is missing{_within(location[:-1])}", ""
    if kind == "enum":
        return f"{_subject(location)}unknown value {quoted(str(wrong['input']))}", f"one of {wrong['ctx']['expected']}"
    if kind == "string_pattern_mismatch" and "[key]" in location:
        return f"not a name: {quoted(str(wrong['input']))}", ""
    return f"{_subject(location)}{_IN_TOML.get(kind) or mistake_words(wrong)}", ""


def _subject(location: TomlPath) -> str:
    """The key that an error is about."""
    names = [str(part) for part in location if isinstance(part, str) and part != "[key]"]
    return f"{quoted(names[-1])}: " if names else ""


def _within(location: TomlPath) -> str:
    names = [str(part) for part in location if isinstance(part, str)]
    return f" in {quoted('.'.join(names))}" if names else ""


def _hint(name: str, location: TomlPath) -> str:
    plain = name.lower().replace("-", "_")
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if len(location) == 1:
        if "." in name:
            return f'write [domain."{name}"], or [site."MX HOST"] for all domains with the same hosts'
        if name in ProviderKeys.model_fields:
            return "write it below [default]"
        return nearest(name, ShapingDocument.model_fields)
    if name in ProviderKeys.model_fields and name.startswith("provider_"):
        return "only below [provider.NAME]"
    close = closest(plain, set(_table_of(location).model_fields))
    if close:
        return f"did you mean `{close}`?"
    return "docs/shaping.md lists the keys"


def _table_of(location: TomlPath) -> type[ShapingTable]:
    """The model whose keys a location holds."""
    inner: dict[str, type[ShapingTable]] = {"set": ProviderKeys, "automation": AutomationRule, "match": HostMatch}
    for part, model in inner.items():
        if part in location[:-1]:
            return model
    first = str(location[0])
    if "sources" in location[:-1]:
        return ProviderSourceKeys if first == "provider" else SourceKeys
    if "provider" in location[1:-1]:
        return MailLimit
    return _TABLES.get(first, ShapingDocument)
