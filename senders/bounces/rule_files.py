"""The rules files of bounce classes: their form, and what is wrong with one. Pure."""

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import re2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import UserError
from schemas.mistakes import mistakes
from senders.bounces.refusal import Stage

ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
ReplyCode = Annotated[str, Field(pattern=r"^[45][0-9x][0-9x]$")]
EnhancedCode = Annotated[str, Field(pattern=r"^(none|[245x]\.(\d{1,3}|x)\.(\d{1,3}|x))$")]


class InvalidBounceRules(UserError):
    """A rules file of bounces cannot be used. The message names each problem."""


class BounceClass(BaseModel):
    """What follows from a class. Its keys are explained in data/classes.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    hard: bool = False
    waits: bool = False
    temporary: str | None = None
    before_recipient: str | None = None


class Rule(BaseModel):
    """One rule: it matches if each condition that it gives holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassName
    bounce_class: Annotated[str, Field(alias="class")]
    text: tuple[Pattern, ...] = ()
    unless: tuple[Pattern, ...] = ()
    code: tuple[ReplyCode, ...] = ()
    enhanced: tuple[EnhancedCode, ...] = ()
    stage: tuple[Stage, ...] = ()

    def applies(self, code: int, enhanced: str | None, stage: Stage) -> bool:
        """Whether the conditions hold that do not look at the text. A code or an enhanced code is enough."""
        if self.stage and stage not in self.stage:
            return False
        if not self.code and not self.enhanced:
            return True
        status = enhanced or "none"
        return any(_like(str(code), each) for each in self.code) or any(_like(status, each) for each in self.enhanced)


def _like(value: str, pattern: str) -> bool:
    if "." in pattern:
        parts, wanted = value.split("."), pattern.split(".")
        return len(parts) == 3 and all(want in ("x", part) for part, want in zip(parts, wanted, strict=True))
    return len(value) == len(pattern) and all(want in ("x", char) for char, want in zip(value, pattern, strict=True))


class _RulesDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: dict[ClassName, BounceClass] = {}
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file that was read: its name for people, its bytes and what is in it."""

    name: str
    content: bytes
    classes: dict[str, BounceClass]
    rules: tuple[Rule, ...]


def read_rules(content: bytes, name: str) -> RuleFile:
    """Reads a rules file. Raises InvalidBounceRules with every problem that it has by itself."""
    try:
        document = _RulesDocument.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidBounceRules(f"{name}: {error}") from None
    except ValidationError as error:
        problems = [f"{place}: {words}" for place, words in mistakes(error).items()]
        raise InvalidBounceRules(_lines(name, problems)) from None
    problems = list(_problems(document.rules))
    if problems:
        raise InvalidBounceRules(_lines(name, problems))
    return RuleFile(name, content, document.classes, document.rules)


def _problems(rules: Sequence[Rule]) -> Iterator[str]:
    names: set[str] = set()
    for rule in rules:
        if rule.name in names:
            yield f"rule {rule.name}: there are two of this name"
        names.add(rule.name)
        if not (rule.text or rule.code or rule.enhanced or rule.stage):
            yield f"rule {rule.name}: it has no condition, so no rule after it would ever match"
        for pattern in (*rule.text, *rule.unless):
            try:
                re2.compile(pattern, _QUIET)
            except re2.error as error:
                yield f"rule {rule.name}: pattern '{pattern}': {_words(error)}"


def _words(error: Exception) -> str:
    reason = error.args[0] if error.args else str(error)
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


_QUIET = re2.Options()
_QUIET.log_errors = False


def merge(rule_files: Sequence[RuleFile]) -> tuple[list[Rule], dict[str, BounceClass], str]:
    """All rules in order, all classes, and the hash of the files. Of a class that two files name, the first counts.

    Raises InvalidBounceRules if a rule or class names a class that is in none of them.
    """
    rules = [rule for each in rule_files for rule in each.rules]
    classes = {name: found for each in reversed(rule_files) for name, found in each.classes.items()}
    problems = [
        f"rule {rule.name}: there is no class '{rule.bounce_class}'"
        for rule in rules
        if rule.bounce_class not in classes
    ]
    problems += [
        f"class {name}: '{other}' is no class that is not hard"
        for name, found in classes.items()
        for other in (found.temporary, found.before_recipient)
        if other is not None and (other not in classes or classes[other].hard)
    ]
    if problems:
        raise InvalidBounceRules(_lines(rule_files[0].name, problems))
    digest = hashlib.blake2b(digest_size=8)
    for each in rule_files:
        digest.update(len(each.content).to_bytes(8, "big") + each.content)
    return rules, classes, digest.hexdigest()


def _lines(name: str, problems: Sequence[str]) -> str:
    return "\n".join(f"{name}: {problem}" for problem in problems)
