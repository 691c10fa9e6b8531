"""The way of a mail transaction, as its outcome in the ledger keeps it. No address of a recipient.

Bytes count: a row of the ledger is to have no more than 400, and most are of mails that were taken.
"""

import json

from senders.channels.channel import MailPath
from senders.shaping.document import SmtpState
from senders.shaping.lane_board import LaneBegin


def path_text(begin: LaneBegin, path: MailPath | None, answered: SmtpState | None) -> str:
    """JSON with what is known; the site only if it is not the host itself."""
    known = {
        "source": begin.lane.source,
        "domain": begin.mail.domain,
        "site": None if path is not None and path.host == begin.lane.site else begin.lane.site,
        "provider": begin.lane.provider,
        "host": path and path.host,
        "address": path and path.address,
        "from": path and path.source,
        "tls": path and path.tls,
        "answered": answered,
    }
    return json.dumps({name: value for name, value in known.items() if value}, separators=(",", ":"))
