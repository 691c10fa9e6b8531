"""Whether a shaping file has the provider or source that a person names."""

from pathlib import Path

from schemas.wording import nearest


def unknown_name(file: Path | None, scope: str) -> str | None:
    """What is wrong with a scope such as `provider/yahoo`; None if the file has it, or says nothing about the kind.

    Raises UserError if the file cannot be read. Sites are in no file: the DNS makes them.
    """
    from senders.shaping.loader import load
    from senders.shaping.pools import sources_of

    kind, _, name = scope.partition("/")
    if file is None or kind not in ("provider", "source"):
        return None
    document = load(file).document
    known = list(document.provider) if kind == "provider" else sources_of(document)
    if name in known:
        return None
    return f"{file}: no {kind} is called {name!r}; {nearest(name, known) or 'it has none'}"
