"""Rows of a file of profiles: which column becomes which value, and the patch that a row is. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.errors import UserError
from schemas.mistakes import mistakes
from schemas.profiles import Consent
from schemas.types import Instant
from schemas.wording import counted, nearest, quoted
from web.profiles.checks import VALUES
from web.profiles.importer import ImportRow
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import microseconds

USER, TIME, ATTRIBUTES, CONSENT = "user_id", "time", "attributes", "consent"
FIELDS = frozenset({USER, TIME, ATTRIBUTES, CONSENT, *VALUES})
_TARGET = re.compile(r"(?P<name>.*?)(?::(?P<kind>text|number|boolean|json))?", re.DOTALL)
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_INSTANT = TypeAdapter[datetime](Instant)
_CONSENT = TypeAdapter[Consent](Consent)


class ImportProblem(UserError):
    """A file cannot be imported as it is."""


class InvalidRow(ValueError):
    """A row that is no patch. The message holds no value of it."""


class Columns:
    """What becomes of each column: `--map COLUMN=TARGET`. A column without a target keeps its name.

    A target is a field of a profile, `consent.PURPOSE.granted` (or `.time`, `.method`, `.text_version`), or the name of
    an attribute. Nothing after the sign leaves the column out. `:number`, `:boolean` or `:json` reads its text as such.
    """

    def __init__(self, maps: Iterable[str]) -> None:
        self._targets: dict[str, tuple[str, str]] = {}
        for each in maps:
            column, sign, target = each.partition("=")
            if not sign or not column:
                raise ImportProblem(f"--map {quoted(each)}: write it as COLUMN=TARGET, such as email=address")
            self._targets[column] = _target(target)

    @property
    def key(self) -> list[tuple[str, tuple[str, str]]]:
        """The same for the same targets."""
        return sorted(self._targets.items())

    def of(self, column: str) -> tuple[str, str]:
        """The target of a column, empty if it is left out, and the kind of its text."""
        return self._targets.get(column) or (column, "")

    def check(self, columns: Iterable[str]) -> None:
        """Raises ImportProblem if no column has the user, or one that is mapped is not there."""
        there = list(columns)
        for column in self._targets:
            if column not in there:
                raise ImportProblem(f"--map: there is no column {quoted(column)}; {nearest(column, there)}")
        targets = [self.of(column)[0] for column in there]
        if USER not in targets:
            raise ImportProblem(f"no column is {USER}: name it with --map COLUMN={USER}; {nearest(USER, there)}")
        if twice := {target for target in targets if target and targets.count(target) > 1}:
            raise ImportProblem(
                f"{counted(2, 'column')} or more become {quoted(min(twice))}; leave one out: --map COLUMN="
            )

    def shown(self, columns: Iterable[str]) -> list[str]:
        """One line a column: what becomes of it."""
        return [f"{column} → {_shown(*self.of(column))}" for column in columns]


def patch_row(line: int, row: Mapping[str, Any], columns: Columns, source: str, time_us: int) -> ImportRow:
    """The row as a patch. A time of its own counts before `time_us`."""
    try:
        return ImportRow(line, _patch(row, columns, source, time_us))
    except InvalidRow as error:
        return ImportRow(line, None, str(error))


def _patch(row: Mapping[str, Any], columns: Columns, source: str, time_us: int) -> ProfilePatch:
    values: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    consent: dict[str, dict[str, Any]] = {}
    for column, raw in row.items():
        target, kind = columns.of(column)
        if not target:
            continue
        value = raw if not kind or raw is None else _read(column, kind, raw)
        if target == ATTRIBUTES:
            attributes |= _object(target, value)
        elif target == CONSENT:
            consent |= _object(target, value)
        elif target.startswith(f"{CONSENT}."):
            purpose, _, part = target.removeprefix(f"{CONSENT}.").rpartition(".")
            consent.setdefault(purpose, {})[part] = value
        elif target in FIELDS:
            values[target] = value
        else:
            attributes[target.removeprefix(f"{ATTRIBUTES}.")] = value
    user_id, at = values.pop(USER, None), values.pop(TIME, None)
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        user_id = str(user_id)
    if not isinstance(user_id, str):
        raise InvalidRow(f"{USER}: missing, or not a text")
    answers = {purpose: _answer(purpose, answer) for purpose, answer in consent.items() if answer is not None}
    return ProfilePatch(user_id, time_us if at is None else _moment(at), source, values, attributes, answers)


def _target(text: str) -> tuple[str, str]:
    parts = _TARGET.fullmatch(text)
    assert parts is not None  # it matches every text
    name, kind = parts["name"], parts["kind"] or ""
    if name.startswith(f"{CONSENT}.") and name.rpartition(".")[2] not in Consent.model_fields:
        known = ", ".join(Consent.model_fields)
        raise ImportProblem(f"--map …={quoted(name)}: after the purpose comes one of {known}")
    return name, kind


def _shown(target: str, kind: str) -> str:
    if not target:
        return "left out"
    named = target if target in FIELDS or target.startswith(f"{CONSENT}.") else f"attribute {target}"
    return f"{named}, read as {kind}" if kind else named


def _read(column: str, kind: str, raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return _READERS[kind](raw.strip())
    except (ValueError, OverflowError):
        raise InvalidRow(f"{column}: not a {kind}") from None


def _boolean(text: str) -> bool:
    if text.casefold() not in _TRUE | _FALSE:
        raise ValueError
    return text.casefold() in _TRUE


def _number(text: str) -> int | float:
    number = orjson.loads(text)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError
    return number


_READERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "number": _number,
    "boolean": _boolean,
    "json": orjson.loads,
}


def _object(field: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRow(f"{field}: not a JSON object")
    return value


def _answer(purpose: str, answer: Any) -> Consent:
    data = {name: value for name, value in answer.items() if value is not None} if isinstance(answer, dict) else answer
    try:
        return _CONSENT.validate_python(data)
    except ValidationError as error:
        place, words = next(iter(mistakes(error).items()))
        raise InvalidRow(f"{'.'.join(filter(None, ['consent', purpose[:64], place]))}: {words}") from None


def _moment(value: Any) -> int:
    try:
        return microseconds(_INSTANT.validate_python(value))
    except ValidationError:
        raise InvalidRow(f"{TIME}: not a time with an offset, such as 2026-11-29T10:00:00Z") from None
