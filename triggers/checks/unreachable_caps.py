"""Caps that can never be reached, because another cap is always full first or too few sends are possible.

Only certain cases are reported; a maximum that is an expression is left out.
"""

import math
from collections.abc import Iterator, Sequence

from schemas.vocabulary import TRANSACTIONAL
from schemas.wording import counted, quoted
from triggers.language.documents import PolicyDocument, TriggerDocument
from triggers.measures.shapes import MS, Calendar, Rolling
from triggers.rules.rule import Cap, Policy, Trigger
from triggers.rules.ruleset import RuleSet

_WIDER = {
    "key": ("key", "trigger", "purpose", "channel", "brand", "all"),
    "trigger": ("trigger", "purpose", "channel", "brand", "all"),
    "purpose": ("purpose", "all"),
    "brand": ("brand", "all"),
    "channel": ("channel", "all"),
    "all": ("all",),
}
"""The scopes that contain each scope: a cap over a wider scope counts at least as many sends."""
_LONGEST_MS = {"day": 25 * MS["h"], "week": 169 * MS["h"], "month": 31 * MS["d"] + MS["h"]}
"""The longest that a calendar window can be, over a change of the clock."""
_WITHIN = {"day": ("day", "week", "month"), "week": ("week",), "month": ("month",)}


def check_unreachable_caps(
    rules: RuleSet, written: Sequence[TriggerDocument], policies: Sequence[PolicyDocument]
) -> None:
    """Warns of each cap that can never be reached."""
    hint = "drop it, or make it tighter"
    for each in written:
        for index, why in _of_trigger(each, rules.triggers[each.trigger.name]):
            each.report.add(index, "cap-unreachable", why, hint)
    others = sorted(rules.policies.values(), key=lambda policy: policy.name)
    for policy in policies:
        for index, why in _of_policy(policy, others):
            policy.report.add(index, "cap-unreachable", why, hint)


def _of_trigger(each: TriggerDocument, obeying: Trigger) -> Iterator[tuple[int, str]]:
    own = len(each.trigger.caps)
    for number, cap in enumerate(each.trigger.caps):
        if not isinstance(cap.maximum, int) or cap.maximum == 0:
            continue
        most = _most_sends(each.trigger, cap)
        stricter = next((o for n, o in enumerate(obeying.caps) if n != number and _covers(o, cap, n < number)), None)
        if most is not None and most < cap.maximum:
            yield (
                each.place("cap", number),
                f"a cap of {cap.maximum} per {cap.window} is never reached: "
                f"`reentry` lets at most {counted(most, 'earlier send')} into it",
            )
        elif stricter is not None:
            whose = "another cap" if stricter in obeying.caps[:own] else "a policy's cap"
            yield each.place("cap", number), _full_before(cap, whose, stricter)


def _of_policy(each: PolicyDocument, others: Sequence[Policy]) -> Iterator[tuple[int, str]]:
    """Caps of a policy that another policy for the same triggers makes unreachable. Of equal caps, the first stays."""
    for number, cap in enumerate(each.policy.caps):
        if not isinstance(cap.maximum, int) or cap.maximum == 0:
            continue
        for other in others:
            whose = "another cap" if other is each.policy else f"the policy {quoted(other.name)}'s cap"
            stricter = (
                one
                for n, one in enumerate(other.caps)
                if (other is not each.policy or n != number)
                and _covers(one, cap, (other.name, n) < (each.policy.name, number))
            )
            found = next(stricter, None) if _obeyed_by_all(other, each.policy) else None
            if found is not None:
                yield each.place("cap", number), _full_before(cap, whose, found)
                break


def _obeyed_by_all(other: Policy, policy: Policy) -> bool:
    """Whether every trigger that obeys `policy` obeys `other` too. `transactional` obeys only policies that name it."""
    if policy.purpose == TRANSACTIONAL and other.purpose is None:
        return False
    return all(
        theirs in (None, ours)
        for theirs, ours in (
            (other.purpose, policy.purpose),
            (other.channel, policy.channel),
            (other.brand, policy.brand),
        )
    )


def _full_before(cap: Cap, whose: str, stricter: Cap) -> str:
    return (
        f"a cap of {cap.maximum} per {cap.window} is never reached: "
        f"{whose} of {stricter.maximum} per {stricter.window} by {stricter.scope} is full first"
    )


def _covers(other: Cap, cap: Cap, earlier: bool) -> bool:
    """Whether `other` is full whenever `cap` is full, and is at least as strict.

    Of two equal caps, the earlier one counts. A cap that drops is stricter than one that defers, and one that spreads
    over longer is stricter too.
    """
    if (cap.over == "drop" and other.over == "defer") or (other.over == "defer" and cap.spread_ms > other.spread_ms):
        return False
    if not isinstance(other.maximum, int) or not isinstance(cap.maximum, int) or other.scope not in _WIDER[cap.scope]:
        return False
    if (other.maximum, other.window, other.scope, other.over) == (cap.maximum, cap.window, cap.scope, cap.over):
        return earlier
    if other.maximum > cap.maximum or other.maximum == 0:
        return False
    if isinstance(other.window, Rolling) and isinstance(cap.window, Rolling):
        return other.window.ms >= cap.window.ms
    if isinstance(other.window, Rolling) and isinstance(cap.window, Calendar):
        return other.window.ms >= _LONGEST_MS[cap.window.unit]
    if isinstance(other.window, Calendar) and isinstance(cap.window, Calendar):
        return other.window.unit in _WITHIN[cap.window.unit]
    return False


def _most_sends(trigger: Trigger, cap: Cap) -> int | None:
    """The most sends that a cap can have counted before one more is decided; None if nothing bounds them.

    With one occurrence at a time and `reentry: D`, entries of a key are D apart. A send may leave by up to `expires`
    later than another, and later steps of a journey later still, so only a rule of one send is judged.
    """
    if cap.scope not in ("key", "trigger") or not trigger.key or (cap.scope == "trigger" and not _one_key(trigger)):
        return None
    if trigger.reentry_ms is None:
        return len(trigger.messages) - 1
    if len(trigger.messages) != 1 or not isinstance(cap.window, Rolling) or trigger.reentry_ms == 0:
        return None
    apart_ms = trigger.reentry_ms - trigger.expires_ms
    return math.ceil(cap.window.ms / apart_ms) - 1 if apart_ms > 0 else None


def _one_key(trigger: Trigger) -> bool:
    """Whether a user can have only one key."""
    return all(condition.text.strip() == "user.id" for condition in trigger.key)
