"""`GET /v1/users/ID`: who may read it, and what it shows."""

from typing import Any

import orjson
import pytest

from schemas.profiles import Consent
from web.http import Answer, Request
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import ProfileState, merge, microseconds, of_patch
from web.profiles.store import ProfileStore, StoreAway
from web.profiles.user_page import user_page

SERVER, BROWSER = (WriteKey("k", kind, "shop") for kind in (KeyClass.SERVER, KeyClass.BROWSER))
CONSENT = Consent.model_validate(
    {"granted": True, "time": "2026-11-29T10:00:00Z", "method": "form", "text_version": "1"}
)
AT_US = microseconds(CONSENT.time)


class StoreOfOne(ProfileStore):
    """A store with one user, or one whose server is away."""

    def __init__(self, state: ProfileState | None) -> None:
        self.state = state

    async def read(self, user_id: str) -> ProfileState | None:
        if self.state is None:
            raise StoreAway
        return self.state if user_id == "ann/1 ü" else None

    async def visitors(self, user_id: str, most: int) -> list[str]:
        return [f"visitor of {user_id}"][:most]


async def ask(
    path: str = "/v1/users/ann/1 ü",
    key: WriteKey | None = SERVER,
    method: str = "GET",
    store: ProfileStore | None = None,
) -> Answer:
    state = merge(
        of_patch(ProfilePatch("ann", AT_US, "shop", {"address": "a@b.example"}, {"plan": None}, {"news": CONSENT})),
        of_patch(ProfilePatch("ann", AT_US + 1, "page", {"locale": "de"}, {"city": "Rome"})),
    )
    page = user_page(store or StoreOfOne(state), lambda _: key)
    return await page(Request(method, path, "", {}, b"", AT_US))


async def test_each_value_has_its_time_and_its_source() -> None:
    answer = await ask()
    later = {"time": "2026-11-29T10:00:00.000001Z", "source": "page"}
    first: dict[str, Any] = {"time": "2026-11-29T10:00:00Z", "source": "shop"}
    assert answer.status == 200
    assert orjson.loads(answer.body) == {
        "user_id": "ann/1 ü",
        "address": {"value": "a@b.example", **first},
        "locale": {"value": "de", **later},
        "attributes": {"plan": {"value": None, **first}, "city": {"value": "Rome", **later}},
        "consent": {"news": {"granted": True, "method": "form", "text_version": "1", **first}},
        "anonymous_ids": ["visitor of ann/1 ü"],
    }


@pytest.mark.parametrize(("key", "status"), [(None, 401), (BROWSER, 403)])
async def test_only_a_server_key_may_read_it(key: WriteKey | None, status: int) -> None:
    answer = await ask(key=key)
    assert answer.status == status
    assert b"a@b.example" not in answer.body


@pytest.mark.parametrize("user", ["", "bob", "\0", "ann%2F1 ü", "ann/1"])
async def test_an_unknown_user_is_not_found(user: str) -> None:
    assert (await ask(f"/v1/users/{user}")).status == 404


async def test_other_methods_are_refused() -> None:
    answer = await ask(method="POST")
    assert (answer.status, dict(answer.headers)["Allow"]) == (405, "GET, HEAD")


async def test_a_store_that_is_away_is_answered_with_503() -> None:
    answer = await ask(store=StoreOfOne(None))
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "2")
