"""Reads Segment's calls: `track`, `page`, `screen` and `group` are events, `identify` a patch and a link, `alias` one.

A browser key is public. It writes events, of named users too, as every page does; and at `identify` it says that the
visitor of its own anonymous id is a user from now on, which gives that user no more than events. It sets no trait of
anybody, since visitors and users share one space of ids, and it cannot alias.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from web.ingest.ids import event_id, id_text, person_id
from web.ingest.items import UNREADABLE, Item, batch_of, item_of
from web.ingest.moments import CallClock, microseconds
from web.ingest.names import event_name
from web.ingest.own_members import without_own_members
from web.ingest.paths import CallKind
from web.ingest.reading import CallProblem, ItemRefusal, Reading, Refused
from web.ingest.records import (
    ABSENT,
    Draft,
    finished,
    is_given,
    joined,
    require_no_user,
    require_size,
    with_context_of_batch,
    with_members,
)
from web.ingest.rules import ReadingRules
from web.ingest.traits import consent_of, refusals_of, traits_of, values_of
from web.ingest.usual_tracks import usual_track
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch


def read_segment(
    call: CallKind, body: bytes, key: WriteKey, rules: ReadingRules, received_us: int
) -> Reading | CallProblem:
    """What one call holds; a problem if it is a batch whose items cannot be told apart."""
    if call is not CallKind.BATCH:
        return _ItemReader(key, rules, CallClock(received_us, None)).read([body], call)
    batch = batch_of(body)
    if isinstance(batch, CallProblem):
        return batch
    return _ItemReader(key, rules, CallClock(received_us, batch.sent_at)).read(batch.batch, None, batch.context)


class _ItemReader:
    """Reads the items of one call."""

    def __init__(self, key: WriteKey, rules: ReadingRules, clock: CallClock) -> None:
        self._reading = Reading()
        self._key = key
        self._source = key.source
        self._is_browser = key.key_class is KeyClass.BROWSER
        self._rules = rules
        self._clock = clock
        self._index = 0

    def read(self, items: Sequence[Item | Raw | bytes], call: str | None, context: Raw = ABSENT) -> Reading:
        """What the items hold; `call` is None if the `type` of each says what it is. The context is that of all."""
        source, clock, rules, keep = self._source, self._clock, self._rules, self._reading.events.append
        has_context = is_given(context)
        for index, sent in enumerate(items):
            try:
                item = sent if isinstance(sent, Item) else item_of(sent)
                kind = call or item.type
                if has_context:
                    item.context = with_context_of_batch(context, item.context)
                if kind == "track" and (usual := usual_track(item, source, clock, rules)) is not None:
                    keep(usual)
                else:
                    self._index = index
                    self._read(item, kind)
            except Refused as refused:
                self._reading.refused.append(ItemRefusal(index, refused.field, refused.reason))
        return self._reading

    def _read(self, item: Item, call: str | None) -> None:
        if call == "track":
            name = event_name(item.event, "event")
            self._add_event(item, name.type, item.properties, name.note)
        elif call in _VIEWS:
            self._add_event(item, _VIEWS[call], _with_texts(item.properties, name=item.name, category=item.category))
        elif call == "group":
            group = id_text(item.group_id, "groupId")
            self._add_event(item, "group_joined", _with_texts(item.traits, "traits", group_id=group), field="traits")
        elif call == "identify":
            self._identify(item)
        elif call == "alias":
            self._alias(item)
        else:
            raise Refused("type", "is missing" if call is None else "is no call that Ebbtide knows")

    def _add_event(
        self, item: Item, event_type: str, properties: Raw, note: bytes = b"", field: str = "properties"
    ) -> None:
        user, visitor = _ids(item)
        if user is None and visitor is None:
            require_no_user(event_type, self._rules, self._key, *_NOBODY)
        time, original = self._time_of(item)
        context = without_own_members(item.context)
        draft = Draft(self._id_of(item), event_type, user or visitor, time, visitor, properties, context, self._source)
        notes = joined(note, original) if original else note
        self._reading.events.append(finished(draft, notes, self._rules, user is None and visitor is not None, field))

    def _id_of(self, item: Item) -> str:
        message_id = id_text(item.message_id, "messageId")
        return self._rules.make_id() if message_id is None else event_id(self._source, message_id)

    def _identify(self, item: Item) -> None:
        user, visitor = _person(item)
        try:
            self._set(item, user, visitor)
        except Refused:
            self._keep_refusals(item, user or visitor or "")
            raise

    def _set(self, item: Item, user: str | None, visitor: str | None) -> None:
        time, _ = self._time_of(item)
        require_size(self._rules.item_bytes, item.traits, item.context)
        traits = _all_traits(item)
        patch = None if self._is_browser or not traits else self._patch(user or visitor or "", time, traits)
        if user is not None and visitor is not None and user != visitor:
            self._add_link(visitor, user, time)
        if patch is not None:
            self._add_patch(patch)
        elif traits:
            raise Refused("traits", "a browser key sets no traits; send them with a server key")

    def _keep_refusals(self, item: Item, user_id: str) -> None:
        """Keep what a refused call says against mails: a wrong trait beside a no must not undo it."""
        received = self._clock.received
        consent = {} if self._is_browser else refusals_of(_sent_traits(item), received)
        if consent:
            self._add_patch(ProfilePatch(user_id, microseconds(received), self._source, consent=consent))

    def _add_patch(self, patch: ProfilePatch) -> None:
        self._reading.patches.append(patch)
        self._reading.places[id(patch)] = self._index

    def _patch(self, user_id: str, time: datetime, traits: dict[str, Any]) -> ProfilePatch:
        values = values_of(traits)
        consent = consent_of(traits, self._clock.received)
        return ProfilePatch(user_id, microseconds(time), self._source, values, attributes=traits, consent=consent)

    def _alias(self, item: Item) -> None:
        if self._is_browser:
            raise Refused("type", "a browser key makes no alias; send it with a server key")
        user, previous = person_id(item.user_id, "userId"), person_id(item.previous_id, "previousId")
        if user is None or previous is None:
            raise Refused("userId" if user is None else "previousId", "is missing")
        if user == previous:
            raise Refused("previousId", "is the userId itself")
        self._add_link(previous, user, self._time_of(item)[0])

    def _add_link(self, anonymous_id: str, user_id: str, time: datetime) -> None:
        link = IdentityLink(anonymous_id, user_id, microseconds(time), by_server=not self._is_browser)
        self._reading.links.append(link)
        self._reading.places[id(link)] = self._index

    def _time_of(self, item: Item) -> tuple[datetime, bytes]:
        if item.timestamp is not None:
            return self._clock.time_of(item.timestamp, "timestamp", item.sent_at)
        return self._clock.time_of(item.original_timestamp, "originalTimestamp", item.sent_at)


_VIEWS = {"page": "page_viewed", "screen": "screen_viewed"}


_NOBODY = "userId", "is missing, and so is anonymousId"


def _person(item: Item) -> tuple[str | None, str | None]:
    """The ids of the user and of the visitor. Raises Refused if there is neither."""
    user, visitor = _ids(item)
    if user is None and visitor is None:
        raise Refused(*_NOBODY)
    return user, visitor


def _ids(item: Item) -> tuple[str | None, str | None]:
    return person_id(item.user_id, "userId"), person_id(item.anonymous_id, "anonymousId")


def _with_texts(raw: Raw, field: str = "properties", **texts: str | None) -> Raw:
    """An object as it was sent, with those of the texts that there are."""
    given = {name: text for name, text in texts.items() if text is not None}
    return with_members(raw, orjson.dumps(given)[1:-1], field) if given else raw


class _Context(Struct, gc=False):
    traits: Raw = ABSENT


_decode_context = Decoder(_Context | None).decode


def _all_traits(item: Item) -> dict[str, Any]:
    """The traits of `identify`. RudderStack's SDKs put them into the context; of two with a name, the call's counts."""
    if not bytes(item.context):
        return traits_of(item.traits, "traits")
    try:
        inside = _traits_in(item.context)
    except UNREADABLE:
        raise Refused("context", "must be an object") from None
    return traits_of(inside, "context.traits") | traits_of(item.traits, "traits")


def _traits_in(context: Raw) -> Raw:
    found = _decode_context(context)
    return found.traits if found is not None else ABSENT


def _sent_traits(item: Item) -> list[Raw]:
    """The same as they were sent, as far as they can be found."""
    try:
        return [_traits_in(item.context) if bytes(item.context) else ABSENT, item.traits]
    except UNREADABLE:
        return [item.traits]
