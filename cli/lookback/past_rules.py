"""The rules and switches of earlier numbers, as the journal names them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from confluent_kafka import Message

from infra.kafka.topic_reader import read_all
from schemas.codec import DecodeError, decode
from schemas.errors import UserError
from schemas.rules import CURRENT, Control, Manifest, Text
from schemas.switches import OlderNumber, SwitchBoard
from schemas.topics import CONTROL, RULES
from streams.decisions.evaluate import Decider
from streams.decisions.rulefeed import load_manifest
from streams.settings import StreamSettings
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import InvalidRules
from triggers.measures.decay import Curve
from triggers.rules.ruleset import RuleSet


class RulesMissing(UserError):
    """No rules are kept by which anything could be recomputed."""


@dataclass(slots=True)
class RulesOfManifest:
    """The rules of one manifest, and its number."""

    number: int
    rules: RuleSet


@dataclass
class PastRules:
    """The manifests and switches that are kept, by number. Loads each set once."""

    manifests: dict[int, Manifest] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    switches: list[Control] = field(default_factory=list)
    settings: StreamSettings = field(default_factory=StreamSettings)
    replaced: set[int] = field(default_factory=set)
    """Numbers that are not kept, or that do not load any more: the nearest later set stands for them."""
    _loaded: dict[int, RulesOfManifest] = field(default_factory=dict)
    _deciders: dict[tuple[int, frozenset[str]], Decider] = field(default_factory=dict)

    def decider(self, manifest: int, control: int) -> Decider:
        """Decides by the rules and switches of these numbers; raises RulesMissing."""
        found = self.rules(manifest)
        if found.number != manifest:
            self.replaced.add(manifest)
        key = found.number, self.paused(control)
        if key not in self._deciders:
            wait_ms = round(self.settings.profile_wait_s * 1000)
            self._deciders[key] = Decider(Evaluator(found.rules, self.settings.default_zone, key[1], wait_ms))
        return self._deciders[key]

    def rules(self, manifest: int) -> RulesOfManifest:
        """The rules of this manifest, or of the nearest later one that is kept and loads, or of the newest."""
        later = sorted(number for number in self.manifests if number >= manifest)
        for number in [*later, *sorted(self.manifests.keys() - {*later}, reverse=True)]:
            if (found := self._load(number)) is not None:
                return found
        raise RulesMissing("no published rules are kept: nothing can be recomputed; `ebbtide apply` publishes some")

    def paused(self, control: int) -> frozenset[str]:
        """The scopes that were paused under this number of control, as far as it is kept."""
        board = SwitchBoard()
        for switch in self.switches:
            if switch.number <= control:
                board.put(switch)
        return board.paused()

    @cached_property
    def newest(self) -> int:
        """The number of the current manifest; 0 before the first one."""
        return max(self.manifests, default=0)

    def curve(self, score: str) -> Curve | None:
        """How a score fades, by the newest rules that declare it."""
        for found in sorted(self._loaded.values(), key=lambda each: -each.number):
            if score in found.rules.scores:
                return found.rules.scores[score].curve
        return None

    def _load(self, number: int) -> RulesOfManifest | None:
        manifest = self.manifests[number]
        if number not in self._loaded and all(text in self.texts for text in manifest.texts):
            try:
                self._loaded[number] = RulesOfManifest(number, load_manifest(manifest, self.texts))
            except InvalidRules:  # an earlier version loaded it; this one says more
                return None
        return self._loaded.get(number)


def past_rules(rules: Iterable[Message], control: Iterable[Message]) -> PastRules:
    """All that these records of the topics `rules` and `control` still have."""
    found = PastRules()
    for message in rules:
        key, value = (message.key() or b"").decode(errors="replace"), message.value()
        try:
            if key == CURRENT:
                manifest = decode(Manifest, value)
                found.manifests[manifest.number] = manifest
            elif value is not None:
                found.texts[key.removeprefix("text/")] = decode(Text, value)
        except DecodeError:  # workers log it, and ignore it too
            continue
    for message in control:
        try:
            found.switches.append(decode(Control, message.value()))
        except (DecodeError, OlderNumber):
            continue
    found.switches.sort(key=lambda each: each.number)
    return found


def read_past_rules(kafka: str) -> PastRules:
    """Reads both topics whole."""
    return past_rules(read_all(kafka, RULES.name), read_all(kafka, CONTROL.name))
