"""Sample data and a user for a template: from files, from a case of the rules beside it, or computed by a rule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cli.rules.given_facts import Facts
from cli.rules.given_user import GivenUser
from cli.rules.rule_files import TEMPLATES, NothingFound
from cli.rules.rule_folder import read_folder
from cli.text_files import read_json
from schemas.brands import Brand
from schemas.errors import UserError
from schemas.wording import counted, nearest, quoted
from senders.content.recipient import Recipient
from triggers.cases.case_runner import run_case
from triggers.cel.values import EvaluationError
from triggers.language.diagnostics import InvalidRules
from triggers.loader import load_to_try
from triggers.rules.rule import Case, Send, Trigger
from triggers.rules.ruleset import RuleSet


class PreviewError(UserError):
    """The template or its data cannot be used; the message says what to give instead."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The data and user of a template, and where they came from, in a few words."""

    data: dict[str, Any]
    user: Recipient
    origin: str
    unread: str = ""
    """The first fault of the rules beside the template, if they do not load and so no case gives data."""
    brand: Brand | None = None
    """Whose mail it is: the brand of the rule that gave the data, or the one that was asked for."""


NO_CASE = "the rules beside it do not load ({}); `ebbtide check` shows what to fix"


@dataclass(frozen=True, slots=True)
class _RuleSample:
    """The sample that a rule beside a template gives, or why the rules there cannot be read; and their brands."""

    sample: Sample | None = None
    unread: str = ""
    brands: Mapping[str, Brand] = field(default_factory=dict)


def sample_for(template: Path, facts: Facts, data: Path | None, brand: str | None = None) -> Sample:
    """The data and user for the template: as given, or else from the rules beside it.

    With an event, an occurrence or segments, the first rule that sends the template computes its `data` from what is
    given. Otherwise its first case that sends it gives the data, played with the given user where that one is sent it.
    A brand of this name must be there; raises PreviewError.
    """
    asks_rules = data is None or facts.user is None or brand is not None
    found = _from_rules(template, facts) if asks_rules else _RuleSample()
    sample = found.sample or Sample({}, _recipient(GivenUser()), _no_case(found))
    return Sample(
        sample.data if data is None else _object(data),
        sample.user if facts.user is None else _recipient(facts.user),
        sample.origin if data is None else f"data of {data}",
        found.unread,
        sample.brand if brand is None else _brand(found, brand),
    )


def _brand(found: _RuleSample, name: str) -> Brand:
    if name in found.brands:
        return found.brands[name]
    why = NO_CASE.format(found.unread) if found.unread else "the rules beside the template do not define it"
    hint = nearest(name, found.brands)
    raise PreviewError(f"--brand: no brand {quoted(name)}: {why}{hint and f'; {hint}'}")


def _no_case(found: _RuleSample) -> str:
    return (
        f"no data: {NO_CASE.format(found.unread)}"
        if found.unread
        else "no data: no case of the rules beside it sends this template"
    )


def _from_rules(template: Path, facts: Facts) -> _RuleSample:
    """The data and the user that a rule beside the template gives it; or why the rules do not load."""
    try:
        folder = read_folder(_beside(template), may_be_empty=True)
        rules = load_to_try(folder.rules, folder.template_hashes())
    except NothingFound as error:
        return _RuleSample(unread=str(error))
    except InvalidRules as error:
        return _RuleSample(unread=_first_fault(error))
    name = next((name for name, file in folder.templates.items() if Path(file.path) == template), template.stem)
    if facts.of_a_send:
        return _RuleSample(_computed(rules, name, facts), brands=rules.brands)
    if facts.user is not None:
        _refuse_unknown(rules, facts.user)
    return _RuleSample(_of_a_case(rules, name, facts.user), brands=rules.brands)


def _beside(template: Path) -> Path:
    """The folder of the rules: the one that `templates` lies in, or that of the template."""
    for parent in (template.parent, template.parent.parent):
        if parent.name == TEMPLATES:
            return parent.parent
    return template.parent


def _sends(rules: RuleSet, template: str) -> Iterator[tuple[Trigger, Send]]:
    """The rules that send the template, with their sends."""
    for trigger in rules.declared.values():
        for step in trigger.steps:
            if isinstance(step, Send) and not step.is_webhook and step.template == template:
                yield trigger, step


def _computed(rules: RuleSet, template: str, facts: Facts) -> Sample | None:
    """The `data` of the first send of the template, over the given facts; raises PreviewError where a field fails."""
    for trigger, send in _sends(rules, template):
        context, data = facts.context(), {}
        for name, condition in send.data:
            try:
                data[name] = condition.value(context)
            except EvaluationError as error:
                raise PreviewError(f"data.{name} of {trigger.name}: {error}; give more, or --data") from None
        origin = f"data of {trigger.name} for what is given"
        return Sample(data, _recipient(facts.user or GivenUser()), origin, brand=rules.brands.get(trigger.brand or ""))
    return None


def _of_a_case(rules: RuleSet, template: str, user: GivenUser | None) -> Sample | None:
    """The data of the first case that sends the template to the given user; or else to its own."""
    cases = [(trigger, case) for trigger, _ in _sends(rules, template) for case in trigger.cases]
    own = next((found for each in cases if (found := _sent(rules, *each, template))), None)
    if own is None or user is None:
        return own
    given = [(trigger, replace(case, user=user.as_case())) for trigger, case in cases]
    told = replace(own, origin=f"{own.origin}, whose own user it is, since the given one gets no such mail")
    return next((found for each in given if (found := _sent(rules, *each, template))), told)


def _sent(rules: RuleSet, trigger: Trigger, case: Case, template: str) -> Sample | None:
    for sent in run_case(rules, trigger, case).sent:
        if sent.message.template == template:
            profile = sent.profile
            user = Recipient("u1", None, profile.zone, profile.locale, profile.attributes, {})
            origin, brand = f"data of the case “{case.name}” of {trigger.name}", rules.brands.get(trigger.brand or "")
            return Sample(sent.message.data, user, origin, brand=brand)
    return None


def _refuse_unknown(rules: RuleSet, user: GivenUser) -> None:
    """Raises PreviewError for a score or metric of the user that no rule defines."""
    for kind, given, known in (("score", user.own.score, rules.scores), ("metric", user.own.metric, rules.metrics)):
        for name in given:
            if name not in known:
                raise PreviewError(f"--user: there is no {kind} {quoted(name)}; {nearest(name, known)}".rstrip("; "))


def _first_fault(error: InvalidRules) -> str:
    """The first problem with its place, and the number of further ones."""
    first, more = error.diagnostics[0], len(error.diagnostics) - 1
    others = f", and {counted(more, 'more problem')}" if more else ""
    return f"{first.path}:{first.line}: {first.message}{others}"


def _recipient(user: GivenUser) -> Recipient:
    return Recipient(user.id, None, user.own.zone, user.own.locale, user.attributes, {})


def _object(file: Path) -> dict[str, Any]:
    """Reads a JSON object from a file, or from standard input for `-`."""
    if str(file) != "-" and not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    found = read_json(file)
    if not isinstance(found, dict):
        raise PreviewError(f"{file}: not a JSON object")
    return found
