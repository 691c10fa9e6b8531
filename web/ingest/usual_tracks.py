"""Reads a `track` call of a known user as SDKs send it, faster than the careful reading, to which it leaves the
rest. Both give the same record.

Ids are not looked at one by one: `plain_event` has the bounds of `Event` and says no to the whole. The careful reading
then tells why.
"""

from datetime import UTC, datetime

from schemas.plain import plain_event
from web.ingest.ids import NOBODY
from web.ingest.items import Item
from web.ingest.moments import CallClock
from web.ingest.names import known_names
from web.ingest.own_members import may_have_own_members
from web.ingest.reading import EventRecord
from web.ingest.records import Draft, correct, correction_of, encode_draft, joined, with_members
from web.ingest.rules import ReadingRules


def usual_track(item: Item, source: str, clock: CallClock, rules: ReadingRules) -> EventRecord | None:
    """The event of a `track` call if it is a usual one; else None."""
    user, visitor, message_id, text = item.user_id, item.anonymous_id, item.message_id, item.timestamp
    name = known_names.get(item.event)
    if (
        name is None
        or not (user.__class__ is str and user not in NOBODY and user[0] != "@")
        or not (visitor is None or (visitor.__class__ is str and visitor not in NOBODY and visitor[0] != "@"))
        or not (message_id.__class__ is str and message_id)
        or text is None
        or item.sent_at is not None
        or not clock.is_right
        or may_have_own_members(item.context)
    ):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is not UTC or time > clock.latest:
        return None
    draft = Draft(f"{source}#{message_id}", name.type, user, time, visitor, item.properties, item.context, source)
    notes = name.note
    if rules.catalogue is not None and (correction := correction_of(draft, rules.catalogue)) is not None:
        if correction.refusal is not None:
            return None
        notes = joined(notes, correct(draft, correction))
    if notes:
        draft.context = with_members(draft.context, notes, "context")
    value = encode_draft(draft)
    if len(value) > rules.item_bytes or plain_event(value) is None:
        return None
    return EventRecord(user.encode(), value)
