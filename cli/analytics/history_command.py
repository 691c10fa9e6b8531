"""`ebbtide analytics histories`: computes what needs everybody's history, to be run each night."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.analytics.days import midnight
from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json


def histories(
    since: Annotated[
        str, typer.Option("--from", metavar="DAY", help="The first day of paths; default: 35 days ago.")
    ] = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Compute the paths to conversions, and who was first met when by which trigger, for `ebbtide query`.

    Run it each night. It may run at any time, beside the recorder, and again: it replaces what it computed before. The
    paths of the last 35 days are computed anew, since a path is lost only after 30; after a rebuild or an import, give
    --from a day before the first row.

    Example: `ebbtide analytics histories --from 2026-03-01`
    """
    import psycopg

    from cli.analytics import histories as computing
    from infra.postgres.migrate import CONNECT_S, require_migrated

    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight(since, "--from") if since else today - computing.LOOKBACK - timedelta(days=5)
    url = Environment.of(instance).database_url
    with psycopg.connect(url, connect_timeout=CONNECT_S) as connection, require_migrated():
        paths = computing.compute_paths(connection, first, today + timedelta(days=1), now)
        subjects = computing.compute_subjects(connection)
    if as_json:
        print_json({"since": first.date().isoformat(), "paths": paths, "subjects": subjects})
        return
    console.print(f"computed: {paths} paths from {first.date()} on, {subjects} rows of subjects", soft_wrap=True)
