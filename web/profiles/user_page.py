"""`GET /v1/users/ID`: what is known of a user, each value with its time and its source. Only for server keys."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from web.http import Answer, Handler, Request, failure
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.profile_state import ProfileState, Stamp, moment
from web.profiles.store import ProfileStore, StoreAway

PATH = "/v1/users/"
MOST_VISITORS = 100
RETRY_AFTER_S = 2


def user_page(store: ProfileStore, key_of: Callable[[Request], WriteKey | None]) -> Handler:
    """The handler of this path. `key_of` finds the valid key of a request."""

    async def handle(request: Request) -> Answer:
        key = key_of(request)
        if key is None:
            return _problem(401, "no valid write key", ("WWW-Authenticate", 'Basic realm="ebbtide"'))
        if key.key_class is not KeyClass.SERVER:
            return _problem(403, "this needs a server key")
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "only GET is allowed here", ("Allow", "GET, HEAD"))
        return await _answer(store, request.path.removeprefix(PATH))

    return handle


async def _answer(store: ProfileStore, user_id: str) -> Answer:
    if not user_id or "\0" in user_id:
        return _problem(404, "no such user")
    try:
        state = await store.read(user_id)
        visitors = await store.visitors(user_id, MOST_VISITORS)
    except StoreAway:
        return _problem(503, "the store of profiles does not answer", ("Retry-After", str(RETRY_AFTER_S)))
    if state is None:
        return _problem(404, "no such user")
    return _json(200, described(user_id, state, visitors))


def described(user_id: str, state: ProfileState, visitors: list[str]) -> Mapping[str, Any]:
    """The profile with where each value came from. A value that was taken away is null."""
    consent = {
        purpose: {
            "granted": state.grants(stamp),
            "time": moment(stamp.time_us),
            "method": stamp.method,
            "text_version": stamp.text_version,
            "source": stamp.source,
        }
        for purpose, stamp in state.consent.items()
        if stamp.refused or state.grants(stamp)
    }
    return {
        "user_id": user_id,
        **{name: _described(stamp) for name, stamp in state.values.items()},
        "attributes": {name: _described(stamp) for name, stamp in state.attributes.items()},
        "consent": consent,
        "anonymous_ids": visitors,
    }


def _described(stamp: Stamp) -> Mapping[str, Any]:
    return {"value": stamp.value, "time": moment(stamp.time_us), "source": stamp.source}


def _problem(status: int, reason: str, *headers: tuple[str, str]) -> Answer:
    return failure(status, "", reason, (("cache-control", "no-store"), *headers))


def _json(status: int, content: Mapping[str, Any], *headers: tuple[str, str]) -> Answer:
    kept = (("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers)
    return Answer(status, kept, orjson.dumps(content))
