"""A plan for people and programs: as text, as JSON, and as Markdown for a comment on a pull request."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cli.manifests.changes import SIGNS, RuleChange, summary
from cli.manifests.edits import KeyEdit
from cli.manifests.history import RuleLog
from cli.manifests.plan_text import moment
from cli.manifests.publication import PublicationPlan
from cli.manifests.running import TouchedOccurrences

if TYPE_CHECKING:
    from cli.manifests.plan_effect import PlanEffect

MAX_EDITS = 30
"""The most values of one change that are shown to people; --json has all."""
_FENCE = re.compile("`+")


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a plan changes, compared with what runs, and which running occurrences it touches."""

    what: str
    """What would be published, as in `set shop`."""
    plan: PublicationPlan
    log: RuleLog
    touched: Sequence[TouchedOccurrences] | None = None
    """None if nobody looked."""
    effect: "PlanEffect | None" = None

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each line, with the kind of change that it belongs to; empty for those of no change."""
        yield f"{self.what}, compared with {self.since}:", ""
        for change in self.plan.changes:
            yield f"  {SIGNS[change.what]} {change.kind:<9}{change.name:<28} {change.detail}".rstrip(), change.what
            edits = [edit for edit in change.edits if edit.path != "mode"]  # the line above has it
            for edit in edits[:MAX_EDITS]:
                yield f"      {edit_words(edit)}", ""
            if len(edits) > MAX_EDITS:
                yield f"      and {len(edits) - MAX_EDITS} more; --json lists them", ""
            for each in self._touched(change):
                yield f"      {each}; look at {', '.join(each.running.sample)}", ""
        if not self.plan.same:
            yield summary(self.plan.changes), ""

    def _touched(self, change: RuleChange) -> list[TouchedOccurrences]:
        if change.kind != "trigger":
            return []
        return [each for each in self.touched or () if each.trigger == change.name]

    @property
    def since(self) -> str:
        """What it is compared with."""
        current = self.log.current
        if current is None:
            return "nothing: no manifest was published yet"
        by = f" by {current.applied_by}" if current.applied_by else ""
        return f"manifest {current.number} of {moment(current.applied_at)}{by}"

    def markdown(self) -> Iterator[str]:
        """The lines of a comment on a pull request."""
        yield f"### Ebbtide: {self.what}, {summary(self.plan.changes)}"
        yield ""
        yield f"Compared with {_inline(self.since)}."
        for change in self.plan.changes:
            yield ""
            detail = f": {_inline(change.detail)}" if change.detail else ""
            yield f"**{change.what}** {change.kind} `{change.name}`{detail}"
            for each in self._touched(change):
                yield f"<br>{each}; look at {', '.join(map(_code, each.running.sample))}"
            if change.edits:
                yield ""
                yield from _fenced([line for edit in change.edits[:MAX_EDITS] for line in _diff_lines(edit)])
        if self.effect is not None:
            from cli.manifests.effect_text import markdown

            yield from markdown(self.effect)

    def as_json(self, published: int | None = None) -> dict[str, Any]:
        """The plan as JSON values, with the number of the manifest if it was published."""
        return {
            "current": self.plan.number or None,
            "changes": [
                {**change.as_json(), "edits": [asdict(edit) for edit in change.edits]} for change in self.plan.changes
            ],
            "removes": self.plan.removes,
            "same": self.plan.same,
            "published": published,
            **({} if self.effect is None else {"effect": self.effect.as_json()}),
            **({} if self.touched is None else {"running": [asdict(each) for each in self.touched]}),
        }


def edit_words(edit: KeyEdit) -> str:
    """One value before and after, on one line."""
    if edit.before is None:
        return f"{edit.path}: + {edit.after}"
    return f"{edit.path}: - {edit.before}" if edit.after is None else f"{edit.path}: {edit.before} → {edit.after}"


def _diff_lines(edit: KeyEdit) -> Iterator[str]:
    """The same as lines of a diff, which GitHub colours."""
    for sign, value in (("-", edit.before), ("+", edit.after)):
        if value is not None:
            yield f"{sign} {edit.path}: {value}"


def _fenced(lines: Sequence[str]) -> list[str]:
    """A block of a diff, in a fence longer than any in it: no rule ends the block."""
    fence = "`" * max(3, _longest_run(lines) + 1)
    return [f"{fence}diff", *lines, fence]


def _code(text: str) -> str:
    """A code span around a text of anybody, such as the id of a user: outside one, GitHub links each URL and tells each
    `@name`, whatever is escaped."""
    fence = "`" * (_longest_run([text]) + 1)
    return f"{fence} {text} {fence}"


def _longest_run(lines: Sequence[str]) -> int:
    """How many backticks stand side by side at most."""
    return max((len(each) for line in lines for each in _FENCE.findall(line)), default=0)


def _inline(text: str) -> str:
    """Text in which what authors of rules wrote is no markup."""
    return re.sub(r"([\\<>\[\]*_|@#])", r"\\\1", text)
