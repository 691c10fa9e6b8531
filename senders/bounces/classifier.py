"""Finds the class of a diagnostic by the rules of `data/classes.toml` and of a file of the operator. Pure.

All patterns are one RE2 set, so a diagnostic is read once, in time linear in its length, whatever the patterns. What
remains is a number with a bit for each rule: the lowest bit that is set is the first rule that matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import re2

from senders.bounces.refusal import Refusal, Stage, embedded_status, fold, without_accents
from senders.bounces.rule_files import InvalidBounceRules, Rule, RuleFile, merge, read_rules

MAX_MEMORY = 256 << 20
"""What RE2 may use for the set's automaton. Beyond it a match would fail, which is an error and never silent."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a refusal says. `rule` names the rule that decided, and is empty if none did; `by_text` if it saw words."""

    bounce_class: str
    hard: bool
    waits: bool
    rule: str
    by_text: bool = False


class Classifier:
    """The rules of some files, ready to be asked. Safe to share between threads."""

    def __init__(self, rule_files: Sequence[RuleFile]) -> None:
        rules, self.classes, self.hash = merge(rule_files)
        self._rules = tuple(rules)
        self._anywhere = sum(1 << number for number, rule in enumerate(rules) if not rule.text)
        self._found = [0]
        self._vetoes = [0]
        self._set = self._compile()
        self._holding = lru_cache(4096)(self._conditions)

    def _compile(self) -> re2.Set:
        options = re2.Options()
        options.max_mem = MAX_MEMORY
        patterns = re2.Set.SearchSet(options)
        patterns.Add("")
        for number, rule in enumerate(self._rules):
            for pattern, found, veto in [
                *((each, 1, 0) for each in rule.text),
                *((each, 0, 1) for each in rule.unless),
            ]:
                patterns.Add(without_accents(pattern))
                self._found.append(found << number)
                self._vetoes.append(veto << number)
        patterns.Compile()
        return patterns

    def classify(self, diagnostic: Refusal) -> Judgment:
        """The verdict on one diagnostic."""
        text = fold(diagnostic.text)
        enhanced = diagnostic.enhanced or embedded_status(text)
        rules, vetoed = self._anywhere, 0
        for pattern in self._matching(text):
            rules |= self._found[pattern]
            vetoed |= self._vetoes[pattern]
        rules &= ~vetoed & self._holding(diagnostic.code, enhanced, diagnostic.stage)
        rule = self._rules[(rules & -rules).bit_length() - 1] if rules else None
        return self._verdict(diagnostic, rule)

    def _matching(self, text: str) -> list[int]:
        """The numbers of the patterns that match. The first one matches every text, so nothing means no memory."""
        matching: list[int] | None = self._set.Match(text)
        if not matching:
            raise MemoryError("RE2 needs more memory for the rules of bounces")
        return matching

    def _conditions(self, code: int, enhanced: str | None, stage: Stage) -> int:
        """The rules whose other conditions hold, as bits."""
        return sum(1 << number for number, rule in enumerate(self._rules) if rule.applies(code, enhanced, stage))

    def _verdict(self, diagnostic: Refusal, rule: Rule | None) -> Judgment:
        name = "uncategorized" if rule is None else rule.bounce_class
        found = self.classes[name]
        if diagnostic.stage in (Stage.GREETING, Stage.MAIL):
            name = found.before_recipient or name
        elif diagnostic.temporary:
            name = found.temporary or name
        found = self.classes[name]
        return Judgment(name, found.hard, found.waits, *(("", False) if rule is None else (rule.name, bool(rule.text))))


@lru_cache(8)
def load_classifier(own_rules: Path | None = None) -> Classifier:
    """The classifier with our rules, and before them those of a file of the operator. Raises InvalidBounceRules."""
    ours = files("senders.bounces").joinpath("data/classes.toml").read_bytes()
    read = [read_rules(ours, "senders/bounces/data/classes.toml")]
    if own_rules is not None:
        try:
            own = own_rules.read_bytes()
        except OSError as error:
            raise InvalidBounceRules(f"{own_rules}: {error.strerror}") from None
        read.insert(0, read_rules(own, str(own_rules)))
    return Classifier(read)
