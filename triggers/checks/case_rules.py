"""Cases in which other rules take part: what they expect of those, and whether they end."""

from collections.abc import Mapping

from schemas.wording import nearest, quoted
from triggers.language.diagnostics import Report
from triggers.language.expressions import References
from triggers.rules.rule import Send, Trigger, recurs


def check_other_rules(report: Report, references: References, triggers: Mapping[str, Trigger]) -> None:
    """Reports sends that another rule does not have, and a case without an end beside a rule that recurs."""
    for name, index, ends in references.others:
        if not ends and name in triggers and recurs(triggers[name].sources):
            message = f"missing key `until` in a case with {quoted(name)}, which recurs by the clock"
            report.add(index, "missing-key", message, 'as in until: "+7d 00:00"')
    for name, step, index in references.their_sends:
        sends = [each.id for each in triggers[name].steps if isinstance(each, Send)] if name in triggers else [step]
        if step not in sends:
            message = f"the rule {quoted(name)} has no send {quoted(step)}"
            report.add(index, "invalid-value", message, nearest(step, sends))
