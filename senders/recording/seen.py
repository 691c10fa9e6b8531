"""What can happen to a mail, a bit each: the column `seen` of the table `mails`. A bit keeps its meaning for ever."""

from collections.abc import Mapping
from enum import IntFlag


class Seen(IntFlag):
    """What happened to a mail at some time. What readers did is apart by who did it."""

    ACCEPTED = 1
    DEFERRED = 1 << 1
    REFUSED = 1 << 2
    EXPIRED = 1 << 3
    SUPPRESSED = 1 << 4
    FAILED = 1 << 5
    IN_DOUBT = 1 << 6
    BOUNCED = 1 << 7
    COMPLAINED = 1 << 8
    UNSUBSCRIBED = 1 << 9
    OPENED_BY_PERSON = 1 << 10
    OPENED_BY_UNKNOWN = 1 << 11
    OPENED_BY_PROXY = 1 << 12
    OPENED_BY_MACHINE = 1 << 13
    CLICKED_BY_PERSON = 1 << 14
    CLICKED_BY_UNKNOWN = 1 << 15
    CLICKED_BY_PROXY = 1 << 16
    CLICKED_BY_MACHINE = 1 << 17
    CONVERTED = 1 << 18


_DIRECT_OPENS = Seen.OPENED_BY_PERSON | Seen.OPENED_BY_UNKNOWN
_CLICKS = Seen.CLICKED_BY_PERSON | Seen.CLICKED_BY_UNKNOWN | Seen.CLICKED_BY_PROXY

COUNTS: Mapping[str, Seen] = {
    "accepted": Seen.ACCEPTED,
    "deferred": Seen.DEFERRED,
    "refused": Seen.REFUSED,
    "expired": Seen.EXPIRED,
    "suppressed": Seen.SUPPRESSED,
    "failed": Seen.FAILED,
    "in_doubt": Seen.IN_DOUBT,
    "bounced": Seen.BOUNCED,
    "complained": Seen.COMPLAINED,
    "unsubscribed": Seen.UNSUBSCRIBED,
    "opened": _DIRECT_OPENS | Seen.OPENED_BY_PROXY,
    "opened_by_people": Seen.OPENED_BY_PERSON,
    "opened_without_proxies": _DIRECT_OPENS,
    "opened_by_machines": Seen.OPENED_BY_MACHINE,
    "clicked": _CLICKS,
    "clicked_by_people": Seen.CLICKED_BY_PERSON,
    "clicked_by_machines": Seen.CLICKED_BY_MACHINE,
    "converted": Seen.CONVERTED,
}
"""The counts of `rollup_mails`: a mail counts if any of these happened to it."""

OF_DELIVERY: Mapping[str, Seen] = {
    name: Seen[name.upper()]
    for name in ("accepted", "deferred", "refused", "expired", "suppressed", "failed", "in_doubt")
}
"""By the kind of delivery's answer."""
OF_ENGAGEMENT: Mapping[str, Seen] = {name: Seen[name.upper()] for name in ("bounced", "complained", "unsubscribed")}
"""By the kind of what a receiver or reader did, whoever it was. Opens and clicks are apart by that."""
