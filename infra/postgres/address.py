"""Connection URLs of PostgreSQL, with one host or several: whether one can be read, and what may be shown of it."""

from collections.abc import Mapping
from itertools import zip_longest

import psycopg
from psycopg.conninfo import conninfo_to_dict


def require_url(url: str) -> str:
    """The URL; raises ValueError if it cannot be read. The message does not repeat it, since it may have a password."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        raise ValueError("not a URL such as postgresql://user@host:5432/ebbtide or postgresql://a,b/ebbtide") from None
    if _has_split_password(url, parts):
        raise ValueError("a part has an @ that ends no user: in a password, write %2F for /, and %40 for @")
    return url


def _has_split_password(url: str, parts: Mapping[str, str]) -> bool:
    """Whether libpq takes the end of a password for a host or a database, which messages show."""
    hosts, database = parts.get("host", "").split(","), parts.get("dbname", "")
    in_host = any("@" in host and not host.startswith(("@", "/")) for host in hosts)  # but for names of sockets
    return in_host or ("@" in database and f"/{database}" in url)


def shown(url: str) -> str:
    """The hosts with their ports, and the database: everything else may be secret."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    hosts = (parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = (parts.get("port") or "5432").split(",")
    places = zip_longest(hosts, ports, fillvalue=ports[0])  # one port counts for all hosts
    return ",".join(f"{host}:{port or 5432}" for host, port in places) + f"/{parts.get('dbname', '')}"
