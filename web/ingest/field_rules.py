"""Takes out of an event what nobody behind ingest is to see: values are dropped, or replaced by a keyed hash. Pure.

A path is matched in every way in which its names can be read: `card.number` is the member `number` of `card`, in each
item where `card` is a list, and also a member that is called `card.number`.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

Paths = tuple[tuple[str, ...], ...]


class FieldRules:
    """The rules for one type of event. `key` is the key of hashes."""

    def __init__(self, rules: Mapping[str, str], key: bytes) -> None:
        self._dropped = _paths(rules, "drop")
        self._hashed = _paths(rules, "hash")
        self._of_text, self._of_json = (
            hashlib.blake2b(digest_size=16, key=key, person=person) for person in (b"text", b"json")
        )
        """Copies of them cost half of new ones."""

    def __bool__(self) -> bool:
        return bool(self._dropped or self._hashed)

    def apply(self, value: Any) -> None:
        """Changes a JSON value in place: first drops, then hashes. Raises RecursionError if it is nested too deeply."""
        for names in self._dropped:
            _drop(value, names)
        for names in self._hashed:
            self._hash(value, names)

    def _hash(self, value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, list):
            for item in value:
                self._hash(item, names)
        elif isinstance(value, dict):
            for length in range(1, len(names) + 1):
                name = ".".join(names[:length])
                if name in value:
                    if length == len(names):
                        value[name] = self._hashed_value(value[name])
                    else:
                        self._hash(value[name], names[length:])

    def _hashed_value(self, value: Any) -> Any:
        """The hash of a text or another value; of a list, those of its items. Null stays null."""
        if value is None:
            return None
        if isinstance(value, list):
            return [self._hashed_value(item) for item in value]
        if isinstance(value, str):
            made = self._of_text.copy()
            made.update(value.encode())
        else:
            made = self._of_json.copy()
            made.update(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
        return made.hexdigest()


def hash_key(secret: str) -> bytes:
    """The key of hashes made of a secret of any length."""
    return hashlib.blake2b(secret.encode(), digest_size=32).digest()


def _paths(rules: Mapping[str, str], action: str) -> Paths:
    return tuple(tuple(path.split(".")) for path in sorted(rules) if rules[path] == action)


def _drop(value: Any, names: tuple[str, ...]) -> None:
    if isinstance(value, list):
        for item in value:
            _drop(item, names)
    elif isinstance(value, dict):
        value.pop(".".join(names), None)
        for length in range(1, len(names)):
            if (inner := value.get(".".join(names[:length]))) is not None:
                _drop(inner, names[length:])
