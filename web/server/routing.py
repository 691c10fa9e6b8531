"""Which handler a request is for, and under which name it is counted."""

from web.http import Answer, Handler, Request
from web.ingest.paths import call_at
from web.profiles.user_page import PATH as USERS

INGEST = ("/v1/", "/beacon/", "/sourceConfig")
_PAGES = {"o": "open", "c": "click", "u": "unsubscribe", "p": "preferences", "v": "confirm"}


def routed(ingest: Handler, users: Handler, pages: Handler) -> Handler:
    """A handler that gives each request to the one whose path it has; `pages` has all paths that are no other's."""

    async def handle(request: Request) -> Answer:
        if not request.path.startswith(INGEST):
            return await pages(request)
        return await (users if request.path.startswith(USERS) else ingest)(request)

    return handle


def call_name(path: str) -> str:
    """What metrics call a path. There are few such names, whatever is asked for."""
    if (call := call_at(path)) is not None:
        return call
    if path.startswith(INGEST):
        return "users" if path.startswith(USERS) else "documents"
    return _PAGES.get(path[1:].partition("/")[0], "other")
