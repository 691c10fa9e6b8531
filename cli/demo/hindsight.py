"""The demo looks at its rules: a change planned over what just happened, and one user's timeline recomputed."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.backtest.page import page
from cli.demo.books import Books, Check
from cli.demo.restock_books import RULE
from cli.environment import Environment
from cli.lookback import partition_history
from cli.lookback.past_rules import read_past_rules
from cli.lookback.timeline_text import around, show
from cli.lookback.user_timeline import recompute
from cli.manifests.effect_text import show_effect
from cli.manifests.history import read_rules
from cli.manifests.plan_effect import PlanEffect, read_effect
from cli.manifests.plan_text import show_plan
from cli.manifests.plan_view import PlanView
from cli.manifests.publication import plan_folder
from cli.manifests.topic_history import write_history
from cli.rules.rule_folder import Folder
from cli.step_printer import StepPrinter

CHANGED = "thank-you"
"""The rule that the plan switches off."""


def act_on_rules(
    environment: Environment, folder: Folder, books: Books, live_from: datetime, printer: StepPrinter
) -> list[Check]:
    """Plans to switch a rule off, with the effect as a page, and recomputes the user with the most decisions."""
    effect = _plan(environment, _changed(folder), live_from, printer)
    sends = {rule: (old, new) for rule, old, new in effect.compared.sends()}
    old, new = sends.get(CHANGED, (0, 0))
    sent, kept = sum(each.trigger == RULE for each in books.commands), sends.get(RULE, (0, 0))
    return [
        Check("a plan shows what a change takes away", old > 0 and new == 0, f"{CHANGED}: {old:,} sends → {new:,}"),
        Check(
            "and what it leaves as it was", sent > 0 and kept == (sent, sent), f"{RULE}: {sent:,} sends → {kept[1]:,}"
        ),
        _recomputed(environment, books, printer),
    ]


def _plan(environment: Environment, folder: Folder, since: datetime, printer: StepPrinter) -> PlanEffect:
    printer.say(f"[bold]ebbtide plan CHANGED --since {since:%Y-%m-%d} --html plan.html[/]")
    log = read_rules(environment.kafka)
    plan = plan_folder(log, folder)
    with TemporaryDirectory() as copied:
        past = write_history(environment.kafka, Path(copied), since)
        effect = read_effect(plan, log, past, "UTC", printer)
    (environment.home / "plan.html").write_text(page(effect.run, effect.job), encoding="utf-8")
    show_plan(PlanView("set default", plan, log))
    show_effect(printer.console, effect)
    return effect


def _changed(folder: Folder) -> Folder:
    """The folder with the rule switched off."""
    line = f"trigger: {CHANGED}\n"
    return replace(
        folder, rules=[replace(each, text=each.text.replace(line, f"{line}mode: off\n")) for each in folder.rules]
    )


def _recomputed(environment: Environment, books: Books, printer: StepPrinter) -> Check:
    [(user, _)] = Counter(decision.user_id for decision in books.decisions).most_common(1)
    printer.say(f"[bold]ebbtide explain --user {user} --replay[/]")
    rules = read_past_rules(environment.kafka)
    timeline = recompute(partition_history.read_history(environment.kafka, user), rules)
    show(printer.console, timeline, rules, around(timeline, 2))
    same = bool(timeline.compared) and not timeline.differs
    found = f"{timeline.compared} decisions of {user}, {len(timeline.differs)} differ"
    return Check("one user's timeline is recomputed as it was decided", same, found)
