"""Which policies a trigger obeys, and what they add to it."""

from collections.abc import Iterable
from dataclasses import replace

from schemas.vocabulary import TRANSACTIONAL
from triggers.rules.rule import Policy, Trigger


def with_policies(trigger: Trigger, policies: Iterable[Policy]) -> Trigger:
    """The trigger with what its policies add: caps, quiet periods, holdouts and budgets, and the smallest expiry."""
    for policy in sorted((p for p in policies if obeys(trigger, p)), key=lambda p: p.name):
        held = ((f"policy/{policy.name}", policy.holdout_percent),) if policy.holdout_percent else ()
        trigger = replace(
            trigger,
            caps=trigger.caps + policy.caps,
            quiet=trigger.quiet + policy.quiet,
            holdouts=trigger.holdouts + held,
            expires_ms=min(trigger.expires_ms, policy.expires_ms or trigger.expires_ms),
            budgets=trigger.budgets if policy.budget is None else (*trigger.budgets, policy.budget),
        )
    return trigger


def obeys(trigger: Trigger, policy: Policy) -> bool:
    """Whether the policy applies to the trigger. A transactional trigger only obeys policies for that purpose."""
    if trigger.purpose == TRANSACTIONAL and policy.purpose != TRANSACTIONAL:
        return False
    channels = {send.channel for send in trigger.messages}
    fits = policy.purpose in (None, trigger.purpose) and policy.brand in (None, trigger.brand)
    return fits and (policy.channel is None or policy.channel in channels)
