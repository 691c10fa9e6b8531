"""Where each key and value of a TOML file stands. `tomllib` reads values and keeps no positions.

The scanner understands just enough of TOML 1.0 to follow keys. It trusts `tomllib` to refuse a wrong file: where it
does not understand one, it stops, and what it has found so far stands.
"""

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass

TomlPath = tuple[str | int, ...]
"""The keys down to a value, and the indexes of the arrays among them."""

MAX_DEPTH = 12
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_TEXT = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_PLAIN = re.compile(r"[^,\]}#\n]+")


class TooDeep(Exception):
    """A key or a value nested deeper than MAX_DEPTH, at an index of the text."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class TomlPosition:
    """The indexes in the text at which a key, or the item of an array, and its value begin."""

    key: int
    value: int


class TomlPositions:
    """The positions of a text. A path that the text does not have is at the nearest table around it."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._found = _Scanner(text).scan()

    @property
    def paths(self) -> frozenset[TomlPath]:
        """Everything that was found."""
        return frozenset(self._found)

    def of(self, path: TomlPath) -> TomlPosition:
        """Where the value at a path stands, or else the nearest table around it."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, TomlPosition(0, 0))

    def line_and_column(self, index: int) -> tuple[int, int]:
        """Line and column of an index, both from 1."""
        row = bisect_right(self._starts, index) - 1
        return row + 1, index - self._starts[row] + 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._index = 0
        self._found: dict[TomlPath, TomlPosition] = {}
        self._lengths: dict[TomlPath, int] = {}
        """How many tables each array of tables has so far."""

    def scan(self) -> dict[TomlPath, TomlPosition]:
        """Positions by path; raises TooDeep."""
        table: TomlPath = ()
        self._skip(_BLANK)
        while self._index < len(self._text):
            before = self._index
            if self._text[self._index] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
            if self._index == before:
                break  # not TOML
        return self._found

    def _skip(self, what: re.Pattern[str]) -> bool:
        found = what.match(self._text, self._index)
        if found is None:
            return False
        self._index = found.end()
        return True

    def _next_is(self, sign: str) -> bool:
        if self._text.startswith(sign, self._index):
            self._index += len(sign)
            return True
        return False

    def _header(self) -> TomlPath:
        start = self._index
        array = self._next_is("[[")
        if not array:
            self._index += 1
        *outer, last = self._key() or [""]
        path: TomlPath = ()
        for part in outer:
            path = self._inside(self._note((*path, part), start, start))
        path = self._note((*path, last), start, start)
        self._next_is("]]" if array else "]")
        if array:
            number = self._lengths[path] = self._lengths.get(path, 0) + 1
            return self._note((*path, number - 1), start, start)
        return self._inside(path)

    def _inside(self, path: TomlPath) -> TomlPath:
        """The last table of an array of tables; every other table itself."""
        number = self._lengths.get(path)
        return path if number is None else (*path, number - 1)

    def _key(self) -> list[str]:
        """The parts of a dotted key."""
        parts: list[str] = []
        start = self._index
        while True:
            self._skip(_SPACE)
            begin = self._index
            if self._skip(_QUOTED):
                parts.append(_unquoted(self._text[begin : self._index]))
            elif self._skip(_BARE):
                parts.append(self._text[begin : self._index])
            else:
                return parts
            if len(parts) > MAX_DEPTH:
                raise TooDeep(start)
            self._skip(_SPACE)
            if not self._next_is("."):
                return parts

    def _pair(self, table: TomlPath) -> None:
        start = self._index
        path = table
        parts = self._key()
        self._skip(_SPACE)
        if not parts or not self._next_is("="):
            return
        self._skip(_SPACE)
        for part in parts:
            path = self._note((*path, part), start, self._index)
        self._value(path)

    def _value(self, path: TomlPath) -> None:
        if len(path) > 2 * MAX_DEPTH:
            raise TooDeep(self._index)
        if self._next_is("["):
            self._items(path)
        elif self._next_is("{"):
            self._inline_table(path)
        elif not self._skip(_TEXT):
            self._skip(_PLAIN)

    def _items(self, path: TomlPath) -> None:
        number = 0
        while True:
            self._skip(_BLANK)
            if self._next_is("]") or self._index >= len(self._text):
                return
            before = self._index
            self._value(self._note((*path, number), before, before))
            number += 1
            self._skip(_BLANK)
            if not self._next_is(",") and self._index == before:
                return

    def _inline_table(self, path: TomlPath) -> None:
        while True:
            self._skip(_BLANK)
            if self._next_is("}") or self._index >= len(self._text):
                return
            before = self._index
            self._pair(path)
            self._skip(_BLANK)
            if not self._next_is(",") and self._index == before:
                return

    def _note(self, path: TomlPath, key: int, value: int) -> TomlPath:
        if len(path) > 2 * MAX_DEPTH:
            raise TooDeep(key)
        self._found.setdefault(path, TomlPosition(key, value))
        return path


def _unquoted(token: str) -> str:
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(tomllib.loads(f"key = {token}")["key"])
    except tomllib.TOMLDecodeError:
        return token[1:-1]
