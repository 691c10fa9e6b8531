"""The endpoints in force, each with the secrets that it names, as far as delivery has them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from schemas.endpoints import Endpoint
from senders.channels.http.channel import CallSettings
from senders.channels.http.signatures import signing_key


@dataclass(frozen=True, slots=True)
class KnownEndpoint:
    """An endpoint as it is published. `call` is None while a secret is missing; `lacks` says which."""

    endpoint: Endpoint
    call: CallSettings | None
    lacks: str = ""


class EndpointBook:
    """The endpoints of the current manifest. One thread writes; any may read."""

    def __init__(self, secrets: Mapping[str, str] | None = None, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called, in the thread that writes, after each change."""
        self._secrets = _Secrets(secrets or {})
        self._changed = changed
        self._known: Mapping[str, KnownEndpoint] = {}

    def put(self, endpoints: Iterable[Endpoint]) -> None:
        """These are published now, and no others."""
        self._known = {each.name: self._secrets.known(each) for each in endpoints}
        self._changed()

    def get(self, name: str) -> KnownEndpoint | None:
        """The endpoint of this name; None if none is published."""
        return self._known.get(name)

    @property
    def all(self) -> Mapping[str, KnownEndpoint]:
        """The endpoints by name."""
        return self._known

    def problems(self) -> list[str]:
        """What a person should look at: endpoints that cannot be called."""
        return [
            f"endpoint {name} cannot be called: {known.lacks} (EBBTIDE_WEBHOOK_SECRETS)"
            for name, known in sorted(self._known.items())
            if known.lacks
        ]


@dataclass(frozen=True, slots=True)
class _Secrets:
    values: Mapping[str, str] = field(repr=False)

    def known(self, endpoint: Endpoint) -> KnownEndpoint:
        """The endpoint with its secrets; without a call if one is missing, or cannot sign or stand in a header."""
        for name in endpoint.secret_names:
            if name not in self.values:
                return KnownEndpoint(endpoint, None, f"the secret {name} is missing")
        headers = endpoint.headers | {header: self.values[name] for header, name in endpoint.secret_headers.items()}
        for header, name in endpoint.secret_headers.items():
            if not (headers[header].isascii() and headers[header].isprintable()):
                return KnownEndpoint(endpoint, None, f"the secret {name} is no line of ASCII")
        try:
            keys = [signing_key(self.values[name]) for name in endpoint.secrets]
        except ValueError as error:
            return KnownEndpoint(endpoint, None, f"of {', '.join(endpoint.secrets)}: {error}")
        return KnownEndpoint(endpoint, CallSettings(endpoint, keys, headers))
