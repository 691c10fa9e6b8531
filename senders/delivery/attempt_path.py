"""The way of a mail transaction, as its outcome in the ledger keeps it. No address of a recipient."""

from senders.channels.channel import MailPath
from senders.queue.attempt_paths import AttemptPath, PathBook
from senders.shaping.document import SmtpState
from senders.shaping.lane_decider import LaneBegin


def attempt_path(
    book: PathBook, now_s: float, begin: LaneBegin, path: MailPath | None, answered: SmtpState | None
) -> AttemptPath:
    """What is known of the way. The site is None where it has the name of the host."""
    host, address, ours, tls = (None,) * 4 if path is None else (path.host, path.address, path.source, path.tls)
    return book.path(
        now_s,
        source=begin.lane.source,
        domain=begin.mail.domain,
        site=None if host == begin.lane.site else begin.lane.site,
        provider=begin.lane.provider,
        host=host,
        address=address,
        tls=tls,
        answered=answered,
        **{"from": ours},
    )
