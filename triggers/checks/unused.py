"""Parts of a set without effect: policies that no trigger obeys, definitions that nothing reads, and events that a rule
waits for and nothing gives. Most often a name is misspelt, and the engine then silently does nothing.

Without an event catalogue, the cases and the other documents of the set say which events exist.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from schemas.vocabulary import OUTCOME_EVENTS, TRANSACTIONAL
from schemas.wording import nearest, quoted
from triggers.checks.misspelling import misspelling_of
from triggers.language.diagnostics import Diagnostic
from triggers.language.document_reader import DocumentReader
from triggers.language.documents import PolicyDocument, TriggerDocument
from triggers.language.yaml_tree import MappingNode
from triggers.rules.policies import obeys
from triggers.rules.rule import Crossing, Policy, SegmentChange, Trigger
from triggers.rules.ruleset import RuleSet

Document = tuple[DocumentReader, MappingNode, Trigger | None]
_DEFINED = ("score", "metric", "segment", "brand", "endpoint")
_HOW_TO_USE = {
    "segment": "a rule reads it with on: {{enters: {name}}}, or `segment.{name}`",
    "brand": "a rule reads it with brand: {name}",
    "endpoint": "a rule calls it with send: {{webhook: {name}}}",
}
_ALONE_AMONG = 2
"""A purpose is noted if at least this many other triggers have other purposes."""


def check_unused(
    rules: RuleSet,
    documents: Sequence[Document],
    written: Sequence[TriggerDocument],
    policies: Sequence[PolicyDocument],
) -> list[Diagnostic]:
    """Warns of definitions that nothing uses, and returns notes on purposes that only one trigger has.

    Without a trigger in the set, nothing is reported: rules of other sets may use it all.
    """
    if not written:
        return []
    for policy in policies:
        _check_policy(policy, rules)
    _check_definitions(documents)
    return _check_purposes(rules, written)


def _check_policy(each: PolicyDocument, rules: RuleSet) -> None:
    policy = each.policy
    if any(obeys(trigger, policy) for trigger in rules.declared.values()):
        return
    place = each.place("for")
    message = f"the policy {quoted(policy.name)} applies to no trigger"
    purposes = {trigger.purpose for trigger in rules.declared.values()}
    if policy.purpose is not None and policy.purpose not in purposes:
        message += f": none has the purpose {quoted(policy.purpose)}"
        each.report.add(place, "unused-policy", message, nearest(policy.purpose, purposes))
        return
    each.report.add(place, "unused-policy", message, _why_nobody(policy, rules))


def _why_nobody(policy: Policy, rules: RuleSet) -> str:
    channels = {send.channel for trigger in rules.declared.values() for send in trigger.messages}
    if policy.channel is not None and policy.channel not in channels:
        return f"none sends by the channel {quoted(policy.channel)}; {nearest(policy.channel, channels)}"
    brands = {trigger.brand for trigger in rules.declared.values() if trigger.brand}
    if policy.brand is not None and policy.brand not in brands:
        return f"none has the brand {quoted(policy.brand)}; {nearest(policy.brand, brands)}".removesuffix("; ")
    if policy.purpose is None:
        return f"the triggers here are {TRANSACTIONAL}, which obey only what says for: {{purpose: {TRANSACTIONAL}}}"
    return "no trigger has all that `for` asks"


def _check_definitions(documents: Sequence[Document]) -> None:
    read = _names_read(documents)
    for document, node, _ in documents:
        kind = next(iter(node.items), "")
        name = getattr(node.items.get(kind), "text", "")
        if kind in _DEFINED and name not in read[kind]:
            message = f"nothing {'calls' if kind == 'endpoint' else 'reads'} the {kind} {quoted(name)}"
            how = _HOW_TO_USE.get(kind, "a rule reads it with `{kind}.{name}`").format(kind=kind, name=name)
            hint = f"{how}; remove it if no rule needs it"
            document.report.add(node.keys[kind].index, "unused-definition", message, hint)


def _names_read(documents: Sequence[Document]) -> Mapping[str, set[str]]:
    """The names that expressions and sources read, by kind."""
    read: dict[str, set[str]] = {kind: set() for kind in _DEFINED}
    for document, _, trigger in documents:
        read["brand"] |= {name for name, _ in document.references.brands}
        for use in document.expressions.uses:
            read["score"] |= use.condition.code.scores
            read["metric"] |= {name for name, _ in use.condition.code.metrics}
            read["segment"] |= use.condition.code.segments
        read["endpoint"] |= {name for name, _ in document.references.endpoints}
        for source in trigger.sources if trigger else ():
            if isinstance(source, Crossing):
                read["score"].add(source.score)
            elif isinstance(source, SegmentChange):
                read["segment"].add(source.segment)
    return read


def _check_purposes(rules: RuleSet, written: Sequence[TriggerDocument]) -> list[Diagnostic]:
    """Purposes that only one trigger has and no policy names: likely misspelt, or a note if there are several others.

    Of two similar names, the later is reported.
    """
    uses, notes, earlier = _purposes(rules), list[Diagnostic](), {TRANSACTIONAL}
    named = {TRANSACTIONAL, *(policy.purpose for policy in rules.policies.values() if policy.purpose)}
    for each in written:
        purpose = each.trigger.purpose
        if uses[purpose] == 1 and purpose not in named:
            like = misspelling_of(purpose, {*earlier, *(other for other in uses if uses[other] > 1)})
            if like:
                _warn_misspelt_purpose(each, like)
            elif sum(uses[other] for other in uses if other not in (purpose, TRANSACTIONAL)) >= _ALONE_AMONG:
                notes.append(_lone_purpose(each, set(uses) - {purpose}))
        earlier.add(purpose)
    return notes


def _warn_misspelt_purpose(each: TriggerDocument, like: str) -> None:
    purpose = quoted(each.trigger.purpose)
    message = f"only this trigger has the purpose {purpose}, which is close to {quoted(like)}"
    hint = f"did you mean {quoted(like)}? If both exist, name this one in a policy"
    each.report.add(each.place("purpose"), "misspelt-purpose", message, hint)


def _lone_purpose(each: TriggerDocument, others: Collection[str]) -> Diagnostic:
    message = f"no other trigger has the purpose {quoted(each.trigger.purpose)}, so it needs a consent of its own"
    hint = f"the others are {', '.join(sorted(others))}; if it is right, name it in a policy"
    return each.report.at(each.place("purpose"), "lone-purpose", message, hint)


def _purposes(rules: RuleSet) -> Counter[str]:
    return Counter(trigger.purpose for trigger in rules.declared.values())


@dataclass(frozen=True, slots=True)
class _Listener:
    """The place where a document first names an event."""

    document: DocumentReader
    index: int


def check_never_given(documents: Sequence[Document], written: Sequence[TriggerDocument]) -> None:
    """Warns of events that documents listen to and nothing gives, for a set without an event catalogue.

    An event that no case gives is reported if another has a similar name, and if no event of an `unless` is named
    anywhere else: that is the mistake that mails users who must not be mailed.
    """
    listeners = _listeners(documents)
    given = {name for document, _, _ in documents for name, _ in document.references.case_events}
    given |= OUTCOME_EVENTS
    unknown = {name for name in listeners if name not in given}
    for name in sorted(unknown):
        surer = {other for other in listeners if other in given or len(listeners[other]) > len(listeners[name])}
        like = misspelling_of(name, surer)
        if like:
            unknown.remove(name)
            _warn_misspelt(listeners[name], name, like, listeners[like][0])
    for each in written:
        ends = {name for pattern in each.trigger.unless for name in pattern.types}
        if ends and all(name in unknown and len(listeners[name]) == 1 for name in ends):
            _warn_never_given(each, sorted(ends), (set(listeners) | given) - ends)


def _listeners(documents: Sequence[Document]) -> dict[str, list[_Listener]]:
    found: dict[str, list[_Listener]] = {}
    for document, _, _ in documents:
        for name, index in dict(reversed(document.references.events)).items():
            found.setdefault(name, []).append(_Listener(document, index))
    return found


def _warn_misspelt(listeners: Sequence[_Listener], name: str, like: str, place: _Listener) -> None:
    there = place.document.report.at(place.index, "", "")
    message = f"no case gives {quoted(name)}, which is close to {quoted(like)}"
    hint = f"did you mean {quoted(like)}, as in {there.path}:{there.line}? If both exist, list them in events.yaml"
    for each in listeners:
        each.document.report.add(each.index, "event-never-given", message, hint)


def _warn_never_given(each: TriggerDocument, ends: Sequence[str], known: Collection[str]) -> None:
    named = " and ".join(quoted(name) for name in ends)
    others = ", ".join(sorted(name for name in known if name not in OUTCOME_EVENTS))
    message = f"no case and no other document names {named} of `unless`: if it is misspelt, it never ends anything"
    hint = f"write a case in which it ends the rule, or list the events in events.yaml; known here: {others}"
    each.report.add(each.place("unless"), "event-never-given", message, hint)
