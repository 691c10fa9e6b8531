"""Origins of pages, as browsers write them in the header `Origin`."""

from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(text: str) -> str:
    """The origin as browsers write it: in lower case, the host as A-labels, without a default port.

    Raises ValueError that says what to write.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else ""
    except ValueError:  # a UnicodeError is one too
        raise ValueError(_wrong(text)) from None
    beyond = (
        not text.strip().isprintable()
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or parts.username is not None
    )
    if parts.scheme not in _DEFAULT_PORTS or not host or beyond or not _is_plain(host):
        raise ValueError(_wrong(text))
    ours = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{ours}"


def _is_plain(host: str) -> bool:
    return all(label and label.replace("-", "").replace("_", "").isalnum() for label in host.split("."))


def _wrong(text: str) -> str:
    shown = "".join(each if each.isprintable() else " " for each in text)[:60]
    return f"`{shown}` is not the origin of a page; write its scheme and host only, as https://shop.example"
