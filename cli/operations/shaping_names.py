"""Whether a shaping file has the provider or source that a person names, and whether mails went to the site."""

from pathlib import Path

from schemas.wording import closest, nearest

LOOK_S = 2
"""How long a hint may take."""


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


def site_hint(ledger_url: str, file: Path | None, scope: str) -> str | None:
    """What a person should know of a `site/NAME` that looks misspelt; None if it does not, or if nobody can tell.

    Mails that nobody has sent yet may go to it, so it is no error.
    """
    kind, _, name = scope.partition("/")
    known = _sites(ledger_url, file) if kind == "site" else set()
    if not known or name in known:
        return None
    close = closest(name, known)
    find = f"did you mean `{close}`?" if close else "`ebbtide senders resolve DOMAIN` prints the name of a site"
    return f"no mail has gone to a site {name!r} yet; {find}"


def _sites(ledger_url: str, file: Path | None) -> set[str]:
    """The sites that mails of the ledger went to, and those of the shaping file; those that can be read."""
    import psycopg

    from schemas.errors import UserError
    from senders.shaping.loader import load

    found: set[str] = set()
    try:
        with psycopg.connect(ledger_url, connect_timeout=LOOK_S, options=f"-c statement_timeout={LOOK_S}s") as ledger:
            rows = ledger.execute("SELECT DISTINCT path::json ->> 'site' FROM ledger_paths")
            found |= {site for (site,) in rows if site}
        if file is not None:
            found |= set(load(file).document.site)
    except (psycopg.Error, UserError):
        return found
    return found
