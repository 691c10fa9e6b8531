"""Endpoints: where webhooks go. Product teams declare them in rule files; a manifest carries those in force."""

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from schemas.types import Fact, Line, Name

WEBHOOK = "webhook"
"""The channel of commands that call an endpoint. Their `template` is the endpoint's name."""
Method = Literal["post", "put", "patch"]
METHODS: tuple[str, ...] = get_args(Method)
MAX_URL = 2_000
MAX_HEADERS = 20
MAX_HEADER_VALUE = 1_000
MAX_SECRETS = 4
"""Signatures of one request: two while a secret is exchanged, and some for receivers that are slow to."""
MAX_TIMEOUT_MS = 60_000
MAX_RETRIES = 50
HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}"
"""A token (RFC 9110, 5.6.2)."""
RATE = r"[1-9][0-9]{0,5}/(?:s|min|h)"
"""The most requests in a period, over all workers."""
_OURS = frozenset(
    {
        *("host", "content-type", "content-length", "content-encoding", "user-agent", "accept-encoding"),
        *("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect", "date"),
        *("proxy-authorization", "proxy-connection"),
    }
)
"""Headers that the request has by itself, or that speak of the connection (RFC 9110, 7.6.1)."""


def url_problem(text: str) -> str | None:
    """Why webhooks cannot go to a URL; None if they can, as far as the text says."""
    if len(text) > MAX_URL or not re.fullmatch(r"[!-~]+", text):
        return f"a URL is at most {MAX_URL:,} characters of ASCII without blanks"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "this is no URL"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "a URL begins with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "a URL has no user and no password: put them into a header, from a named secret"
    return "a URL has no fragment" if "#" in text else None


def _checked_url(text: str) -> str:
    if (problem := url_problem(text)) is not None:
        raise ValueError(problem)
    return text


def is_ours(header: str) -> bool:
    """Whether the request itself says what is in this header."""
    return header.lower() in _OURS or header.lower().startswith("webhook-")


def _checked_header(name: str) -> str:
    if is_ours(name):
        raise ValueError("the request has this header by itself")
    return name


HeaderName = Annotated[str, StringConstraints(pattern=f"^{HEADER_NAME}$"), AfterValidator(_checked_header)]
HeaderValue = Annotated[Line, Field(max_length=MAX_HEADER_VALUE)]


class Endpoint(Fact):
    """Where webhooks go, as its document says. It names secrets; only delivery knows their values."""

    name: Name
    url: Annotated[str, AfterValidator(_checked_url)]
    method: Method = "post"
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=MAX_HEADERS)] = Field(default_factory=dict)
    secret_headers: Annotated[dict[HeaderName, Name], Field(max_length=MAX_HEADERS)] = Field(default_factory=dict)
    """Headers whose whole value is a secret, by the secret's name."""
    secrets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_SECRETS)]
    """The secrets that sign: a request has a signature by each."""
    timeout_ms: Annotated[int, Field(gt=0, le=MAX_TIMEOUT_MS)]
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)]
    rate: Annotated[str, StringConstraints(pattern=f"^{RATE}$")] | None = None

    @property
    def host(self) -> str:
        """The host of the URL, in small letters, an IPv6 address without brackets."""
        return (urlsplit(self.url).hostname or "").lower()

    @property
    def secret_names(self) -> list[str]:
        """All secrets that a request needs."""
        return list(dict.fromkeys([*self.secrets, *self.secret_headers.values()]))
