"""The dashboards in infra/dashboards: what they show of the pipeline, of delivery and of the programme's results."""

from pathlib import Path

import orjson

from cli.pages.grafana import Dashboard, Panel, PromQuery, SqlQuery, model

FOLDER = Path("infra/dashboards")
_ANSWERS = "ebbtide_senders_mail_answers_total"
_ACCEPTED = _ANSWERS + '{answer="accepted"}'


def _rate(metric: str, *by: str, window: str = "5m") -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}[{window}]))" if by else f"sum(rate({metric}[{window}]))"


def _quantile(share: float, metric: str, *by: str) -> str:
    return f"histogram_quantile({share}, sum by ({', '.join(['le', *by])}) (rate({metric}_bucket[5m])))"


def _ready(*kinds: str) -> Panel:
    queries = [PromQuery(f"sum(ebbtide_{kind}_ready)", kind) for kind in kinds]
    return Panel("Workers that are ready", queries, kind="stat")


PIPELINE = Dashboard(
    "pipeline",
    "Ebbtide: pipeline",
    [
        (
            "Is it well?",
            [
                _ready("streams", "senders", "bounces", "web"),
                Panel(
                    "Records behind",
                    [PromQuery("sum(ebbtide_streams_lag_records)", "stream workers")],
                    meaning="Records of the inputs that are not yet applied.",
                ),
                Panel(
                    "Clock behind the time of day",
                    [PromQuery("max(ebbtide_streams_clock_lag_seconds)", "slowest partition")],
                    "s",
                    meaning="Timers are late by as much.",
                ),
            ],
        ),
        (
            "HTTP",
            [
                Panel("Items of calls", [PromQuery(_rate("ebbtide_web_events_total", "result"), "{{result}}")], "cps"),
                Panel("Answers", [PromQuery(_rate("ebbtide_web_requests_total", "status"), "{{status}}")], "reqps"),
                Panel(
                    "Acknowledged by Kafka",
                    [
                        PromQuery(_quantile(0.5, "ebbtide_web_acknowledge_seconds"), "median"),
                        PromQuery(_quantile(0.99, "ebbtide_web_acknowledge_seconds"), "p99"),
                    ],
                    "s",
                ),
            ],
        ),
        (
            "Stream workers",
            [
                Panel(
                    "Records applied",
                    [PromQuery(_rate("ebbtide_streams_records_applied_total", "topic"), "{{topic}}")],
                    "cps",
                ),
                Panel(
                    "Decisions",
                    [
                        PromQuery(
                            _rate("ebbtide_streams_decisions_total", "outcome", "reason"), "{{outcome}} {{reason}}"
                        )
                    ],
                    "cps",
                ),
                Panel(
                    "Checkpoints, p99", [PromQuery(_quantile(0.99, "ebbtide_streams_checkpoint_seconds"), "p99")], "s"
                ),
                Panel("Users with state", [PromQuery("sum(ebbtide_streams_users)", "users")]),
                Panel("State", [PromQuery("sum(ebbtide_streams_state_bytes)", "keys and values")], "bytes"),
                Panel(
                    "What went wrong",
                    [
                        PromQuery(_rate("ebbtide_streams_dead_letters_total", "cause"), "dead letter: {{cause}}"),
                        PromQuery(_rate("ebbtide_streams_rule_problems_total", "rule", "place"), "{{rule}} {{place}}"),
                        PromQuery(_rate("ebbtide_streams_checkpoint_failures_total"), "failed checkpoints"),
                    ],
                    "cps",
                ),
            ],
        ),
    ],
)

DELIVERY = Dashboard(
    "delivery",
    "Ebbtide: delivery",
    [
        (
            "Is it well?",
            [
                _ready("senders", "bounces"),
                Panel(
                    "Servers that do not answer",
                    [PromQuery("max by (server) (ebbtide_senders_server_away)", "{{server}}")],
                ),
                Panel(
                    "Recipients view behind",
                    [PromQuery("max(ebbtide_senders_recipients_view_age_seconds)", "oldest partition")],
                    "s",
                    meaning="Marketing waits above EBBTIDE_CONSENT_STALE_S.",
                ),
            ],
        ),
        (
            "Mails",
            [
                Panel(
                    "Mail transactions by provider",
                    [PromQuery(_rate(_ANSWERS, "provider", "answer"), "{{provider}} {{answer}}")],
                    "cps",
                ),
                Panel(
                    "Accepted share",
                    [PromQuery(f"{_rate(_ACCEPTED, 'provider')} / {_rate(_ANSWERS, 'provider')}", "{{provider}}")],
                    "percentunit",
                ),
                Panel(
                    "Bounces and complaints",
                    [
                        PromQuery(
                            _rate("ebbtide_senders_mail_reports_total", "provider", "kind"), "{{provider}} {{kind}}"
                        )
                    ],
                    "cps",
                ),
                Panel(
                    "Decision to first attempt, p99",
                    [PromQuery(_quantile(0.99, "ebbtide_senders_first_attempt_seconds", "purpose"), "{{purpose}}")],
                    "s",
                ),
                Panel(
                    "Decision to acceptance, p99",
                    [PromQuery(_quantile(0.99, "ebbtide_senders_accepted_seconds", "provider"), "{{provider}}")],
                    "s",
                ),
                Panel("Mail transactions now", [PromQuery("sum(ebbtide_senders_mails_in_flight)", "mails")]),
            ],
        ),
        (
            "Queue",
            [
                Panel(
                    "Commands",
                    [
                        PromQuery("sum(ebbtide_senders_commands_due)", "due"),
                        PromQuery("sum(ebbtide_senders_commands_waiting)", "waiting"),
                        PromQuery("sum(ebbtide_senders_commands_in_doubt)", "in doubt"),
                    ],
                ),
                Panel("Oldest due command", [PromQuery("max(ebbtide_senders_oldest_due_age_seconds)", "age")], "s"),
                Panel(
                    "Why commands wait",
                    [PromQuery(_rate("ebbtide_senders_commands_postponed_total", "reason"), "{{reason}}")],
                    "cps",
                ),
                Panel(
                    "Settled",
                    [
                        PromQuery(
                            _rate("ebbtide_senders_commands_settled_total", "state", "reason"), "{{state}} {{reason}}"
                        )
                    ],
                    "cps",
                ),
                Panel("Outcomes to publish", [PromQuery("sum(ebbtide_senders_outbox_rows)", "rows")]),
                Panel(
                    "Dead letters",
                    [PromQuery(_rate("ebbtide_senders_dead_letters_total", "cause"), "{{cause}}")],
                    "cps",
                ),
            ],
        ),
        (
            "Bounce listeners",
            [
                Panel("Mails", [PromQuery(_rate("ebbtide_bounces_mails_total", "kind"), "{{kind}}")], "cps"),
                Panel(
                    "Classes of bounces",
                    [PromQuery(_rate("ebbtide_bounces_mails_total", "bounce_class"), "{{bounce_class}}")],
                    "cps",
                ),
                Panel("Refused", [PromQuery(_rate("ebbtide_bounces_refused_total", "reason"), "{{reason}}")], "cps"),
            ],
        ),
    ],
)


def _by_day(columns: str, view: str, by: str = "") -> SqlQuery:
    """Sums of a view by day, and by one more column as the name of the series."""
    name = f", {by} AS metric" if by else ""
    grouped = "1, 2" if by else "1"
    return SqlQuery(
        f"SELECT day AS time{name}, {columns} FROM analytics.{view} "  # noqa: S608  # of names in this module alone
        f"WHERE $__timeFilter(day) GROUP BY {grouped} ORDER BY 1"
    )


PROGRAMME = Dashboard(
    "programme",
    "Ebbtide: results of the programme",
    [
        (
            "Mails",
            [
                Panel("Sent", [_by_day("sum(sends) AS sends", "sends", "trigger")]),
                Panel(
                    "What became of them",
                    [
                        _by_day(
                            "sum(accepted) AS accepted, sum(opened) AS opened, sum(clicked) AS clicked, "
                            "sum(converted) AS converted",
                            "results",
                        )
                    ],
                    meaning="By the day of the send. Known machines are left out of opens and clicks.",
                ),
                Panel(
                    "Why events led to no mail",
                    [
                        _by_day(
                            "sum(held_out) AS held_out, sum(capped) AS capped, sum(quiet) AS quiet, "
                            "sum(expired) AS expired, sum(no_consent) AS no_consent, sum(withheld) AS other",
                            "funnel",
                        )
                    ],
                ),
            ],
        ),
        (
            "Rates",
            [
                Panel(
                    "Clicked, of accepted",
                    [_by_day("sum(clicked)::float / nullif(sum(accepted), 0) AS clicked", "results", "trigger")],
                    "percentunit",
                ),
                Panel(
                    "Converted, of accepted",
                    [_by_day("sum(converted)::float / nullif(sum(accepted), 0) AS converted", "results", "trigger")],
                    "percentunit",
                ),
                Panel(
                    "Unsubscribed and complained, of accepted",
                    [
                        _by_day(
                            "sum(unsubscribed)::float / nullif(sum(accepted), 0) AS unsubscribed, "
                            "sum(complained)::float / nullif(sum(accepted), 0) AS complained",
                            "results",
                        )
                    ],
                    "percentunit",
                ),
            ],
        ),
        (
            "Receivers",
            [
                Panel("Accepted by provider", [_by_day("sum(accepted) AS accepted", "deliverability", "provider")]),
                Panel(
                    "Bounced, of accepted",
                    [
                        _by_day(
                            "sum(bounced)::float / nullif(sum(accepted), 0) AS bounced", "deliverability", "provider"
                        )
                    ],
                    "percentunit",
                ),
                Panel(
                    "Triggers",
                    [
                        SqlQuery(
                            "SELECT trigger, sum(accepted) AS accepted, sum(clicked) AS clicked, "
                            "sum(converted) AS converted, sum(unsubscribed) AS unsubscribed FROM analytics.costs "
                            "WHERE $__timeFilter(day) GROUP BY 1 ORDER BY 2 DESC",
                            is_series=False,
                        )
                    ],
                    kind="table",
                ),
            ],
        ),
    ],
    since="now-30d",
)
DASHBOARDS = (PIPELINE, DELIVERY, PROGRAMME)


def files() -> dict[str, bytes]:
    """The JSON of each dashboard, by its file's name."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {f"{each.name}.json": orjson.dumps(model(each), option=option) for each in DASHBOARDS}


def write(root: Path) -> list[Path]:
    """Writes the dashboards into a checkout, and returns their files."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_bytes(text)
    return [folder / name for name in files()]


def stale(root: Path) -> list[Path]:
    """The files of a checkout that are not as they would be written."""
    found = {root / FOLDER / name: text for name, text in files().items()}
    return [path for path, text in found.items() if not path.exists() or path.read_bytes() != text]
