"""Old rules and new ones over one history, on a terminal: sends, users, losses, and users to look at."""

from collections.abc import Iterable, Iterator

from rich.console import Console

from cli.backtest.run import moment
from cli.columns import aligned
from triggers.cases.set_comparison import ChangeKind, SetComparison, UserChange
from triggers.cases.user_replay import ReplayedSend

_SHOWN_SENDS = 5
"""Changed sends that are shown of a user."""
_CHANGE = {
    ChangeKind.MORE: "get more",
    ChangeKind.FEWER: "get fewer",
    ChangeKind.OTHER: "get as many, but others or at other times",
    ChangeKind.SAME: "get the same",
}


def show_comparison(console: Console, compared: SetComparison) -> None:
    """Prints sends by rule, users who get more or fewer, losses by reason, and users to look at."""
    console.print("Sends by rule, old and new")
    rows = [(f"{old:,}", f"{new:,}", f"{new - old:+,}", rule) for rule, old, new in compared.sends()]
    before, after = sum(compared.old.sends.values()), sum(compared.new.sends.values())
    rows.append((f"{before:,}", f"{after:,}", f"{after - before:+,}", "all"))
    print_lines(console, aligned([("old", "new", "change", "rule"), *rows], right=(0, 1, 2)))
    console.print("Users")
    print_lines(console, aligned(list(_users(compared)), right=(0,)))
    losses = [each for each in compared.losses() if each[3] != each[4]]
    if losses:
        console.print("Decisions that were no sends and whose number changes")
        lost = [(f"{old:,}", f"{new:,}", outcome, reason, rule) for rule, outcome, reason, old, new in losses]
        print_lines(console, aligned([("old", "new", "outcome", "reason", "rule"), *lost], right=(0, 1)))
    for change, lines in samples(compared):
        console.print(f"Users to look at: {change}")
        print_lines(console, lines)


def samples(compared: SetComparison) -> Iterator[tuple[str, list[str]]]:
    """Users to look at, by what changes for them: that in words, and lines about them."""
    for kind in (ChangeKind.MORE, ChangeKind.FEWER, ChangeKind.OTHER):
        if changes := compared.sample.get(kind):
            yield _CHANGE[kind], [line for change in changes for line in _change_lines(change)]


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Prints lines as they are, and an empty one."""
    for each in lines:
        console.print(each, markup=False, soft_wrap=True)
    console.print()


def _users(compared: SetComparison) -> Iterator[tuple[str, str]]:
    yield f"{compared.old.reached:,}", "reached by the old rules"
    yield f"{compared.new.reached:,}", "reached by the new rules"
    for kind in ChangeKind:
        yield f"{compared.users[kind]:,}", _CHANGE[kind]
    yield f"{compared.gained:,}", "get something for the first time"
    yield f"{compared.lost:,}", "get nothing any more"


def _change_lines(change: UserChange) -> Iterator[str]:
    yield f"  {change.user_id}"
    old, new = set(change.old), set(change.new)
    changed = sorted([(each, "-") for each in old - new] + [(each, "+") for each in new - old], key=_by_time)
    for sent, sign in changed[:_SHOWN_SENDS]:
        yield f"    {sign} {moment(sent.at_ms)[:19]}  {sent.trigger}, {sent.step}"
    if len(changed) > _SHOWN_SENDS:
        yield f"    and {len(changed) - _SHOWN_SENDS} more"


def _by_time(change: tuple[ReplayedSend, str]) -> tuple[int, str, str, str]:
    sent, sign = change
    return sent.at_ms, sent.trigger, sent.step, sign
