"""Connection URLs of PostgreSQL, with one host or several: whether one can be read, and what may be shown of it."""

from itertools import zip_longest

import psycopg
from psycopg.conninfo import conninfo_to_dict


def require_url(url: str) -> str:
    """The URL; raises ValueError if it cannot be read. The message does not repeat it, since it may have a password."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ValueError("not a URL such as postgresql://user@host:5432/ebbtide or postgresql://a,b/ebbtide") from None
    return url


def shown(url: str) -> str:
    """The hosts with their ports, and the database: everything else may be secret."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    hosts = (parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = (parts.get("port") or "5432").split(",")
    places = zip_longest(hosts, ports, fillvalue=ports[0])  # one port counts for all hosts
    return ",".join(f"{host}:{port or 5432}" for host, port in places) + f"/{parts.get('dbname', '')}"
