"""What a provider's receipts say of a block: which source's mails it took before, meanwhile and afterwards. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cli.demo.books import Check
from infra.local.sink_receipts import Receipt


@dataclass(frozen=True, slots=True)
class Blocking:
    """Who blocks whom. Sources are addresses, as the provider sees them."""

    domain: str
    blocked: str
    other: str
    connections: int
    """How many mails of a source are on their way at most, and so how many a block can meet at once."""
    suspended_s: float
    """For how long the source rests after each refusal."""


@dataclass(frozen=True, slots=True)
class BlockPhases:
    """Mails taken, by source. The block lasts from the first refusal to the first mail that is taken after the last."""

    before: Counter[str] = field(default_factory=Counter)
    meanwhile: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    refused: Sequence[Receipt] = ()
    """What was on its way when the block began."""
    probes: Sequence[Sequence[Receipt]] = ()
    """What was refused after each suspension."""
    taken: Sequence[Receipt] = ()

    def taken_later(self, refused: Receipt) -> Receipt | None:
        """The receipt of the mail that was refused here, when it was taken; None if it was not."""
        return next((each for each in self.taken if each.rcpt_to == refused.rcpt_to and each.at > refused.at), None)


def block_phases(receipts: Iterable[Receipt], blocking: Blocking) -> BlockPhases:
    """The phases, as far as they have come."""
    own = [each for each in receipts if each.rcpt_to.endswith(f"@{blocking.domain}")]
    taken = [each for each in own if each.kept]
    refused = [each for each in own if each.what == "rcpt" and each.source == blocking.blocked]
    if not refused:
        return BlockPhases(before=_by_source(taken), taken=taken)
    began, ended = refused[0].at, refused[-1].at
    back = (each.at for each in taken if each.source == blocking.blocked and each.at > ended)
    returned = next(back, float("inf"))
    first, *probes = _bursts(refused, blocking.suspended_s / 2)
    return BlockPhases(
        _by_source(each for each in taken if each.at < began),
        _by_source(each for each in taken if began <= each.at < returned),
        _by_source(each for each in taken if each.at >= returned),
        first,
        probes,
        taken,
    )


def _by_source(taken: Iterable[Receipt]) -> Counter[str]:
    return Counter(each.source for each in taken)


def _bursts(refused: Sequence[Receipt], apart_s: float) -> list[list[Receipt]]:
    """The refusals in groups: those of a group follow each other within `apart_s`."""
    found = [[refused[0]]]
    for before, each in pairwise(refused):
        if each.at - before.at < apart_s:
            found[-1].append(each)
        else:
            found.append([each])
    return found


def check_block(phases: BlockPhases, blocking: Blocking) -> list[Check]:
    """What must hold of a block, its diversion and the return."""
    refused = [*phases.refused, *(each for probe in phases.probes for each in probe)]
    lost = [each for each in refused if phases.taken_later(each) is None]
    slipped, diverted = phases.meanwhile[blocking.blocked], phases.meanwhile[blocking.other]
    returned = phases.after[blocking.blocked]
    return [
        Check(
            "the block meets only mails on their way; the other source takes over",
            # a mail whose recipient was accepted just before the block is still taken
            0 < len(phases.refused) <= blocking.connections and slipped <= blocking.connections and diverted > 0,
            f"{len(phases.refused):,} refused, {diverted:,} mails by the other",
        ),
        Check(
            "after it, one mail at a time tries again",
            bool(phases.probes) and all(len(probe) == 1 for probe in phases.probes),
            f"{len(phases.probes):,} in vain, {sum(map(len, phases.probes)):,} refused",
        ),
        Check("the blocked source comes back", returned > 0, f"{returned:,} mails by it since then"),
        Check("each refused mail is taken later", not lost, f"{len(refused) - len(lost):,} of {len(refused):,}"),
    ]
