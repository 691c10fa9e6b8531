"""The command line `ebbtide`: the groups of commands and their names."""

import signal
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from cli.analytics import history_command, query_command
from cli.backtest import backtest_command
from cli.backup import backup_commands
from cli.demo.command import demo
from cli.errors import one_line, refuse
from cli.lake import export_commands
from cli.lookback import compare_command, explain_commands
from cli.manifests import apply_commands, endpoint_commands, manifest_commands, plan_commands
from cli.manifests.plan_exit import PlanCommand
from cli.operations import (
    analytics_commands,
    audit_commands,
    bounce_commands,
    budget_commands,
    consent_commands,
    dead_letter_commands,
    delivery_set_commands,
    delivery_switch_commands,
    import_commands,
    key_commands,
    publish_commands,
    run_commands,
    server_commands,
    settle_commands,
    shaping_commands,
    sink_commands,
    suppression_commands,
    switch_commands,
    trace_commands,
    worker_commands,
)
from cli.options import console, print_json
from cli.privacy import privacy_commands
from cli.rules import eval_command, rule_commands

app = typer.Typer(
    name="ebbtide",
    help="""Behavioural email triggers on an event stream.

Examples: `ebbtide demo`, `ebbtide new hello --like welcome-journey --in mine`, `ebbtide check mine`""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(run_commands.app, name="run")
app.add_typer(worker_commands.streams_app, name="streams")
app.add_typer(worker_commands.senders_app, name="senders")
app.add_typer(worker_commands.web_app, name="web")
app.add_typer(worker_commands.profiles_app, name="profiles")
for name, command in (
    delivery_switch_commands.COMMANDS
    | delivery_set_commands.COMMANDS
    | settle_commands.COMMANDS
    | shaping_commands.COMMANDS
    | bounce_commands.COMMANDS
    | trace_commands.COMMANDS
).items():
    worker_commands.senders_app.command(name)(command)
app.add_typer(publish_commands.app, name="publish")
app.add_typer(dead_letter_commands.app, name="dead-letters")
app.add_typer(sink_commands.app, name="sink")
app.add_typer(suppression_commands.app, name="suppressions")
app.add_typer(endpoint_commands.app, name="endpoints")
app.add_typer(key_commands.app, name="keys")
app.add_typer(privacy_commands.app, name="privacy")
app.add_typer(consent_commands.app, name="consent")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(analytics_commands.app, name="analytics")
analytics_commands.app.command("histories")(history_command.histories)
for panel, commands in (
    (server_commands.PANEL, server_commands.COMMANDS),
    (rule_commands.PANEL, rule_commands.COMMANDS),
    (rule_commands.PANEL, {"backtest": backtest_command.backtest}),
    (rule_commands.PANEL, {"eval": eval_command.evaluate}),
    (rule_commands.PANEL, apply_commands.COMMANDS),
    (rule_commands.PANEL, compare_command.COMMANDS),
    (switch_commands.PANEL, switch_commands.COMMANDS),
    (import_commands.PANEL, import_commands.COMMANDS),
    (query_command.PANEL, {"query": query_command.query}),
    (export_commands.PANEL, export_commands.COMMANDS),
    (backup_commands.PANEL, backup_commands.COMMANDS),
    ("Try it", {"demo": demo}),
):
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
for name, command in plan_commands.COMMANDS.items():
    app.command(name, cls=PlanCommand, rich_help_panel=rule_commands.PANEL)(command)
app.add_typer(budget_commands.app, name="budgets", rich_help_panel=budget_commands.PANEL)
app.add_typer(explain_commands.explain_app, name="explain", rich_help_panel=rule_commands.PANEL)
app.add_typer(manifest_commands.rules_app, name="rules", rich_help_panel=rule_commands.PANEL)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the versions of Ebbtide and its zone data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Behavioural email triggers on an event stream."""
    if as_json and not version:
        raise typer.BadParameter(
            "use it with --version; for a command, put it after the command's name", param_hint="--json"
        )
    if not version:
        return
    if context.invoked_subcommand is not None:
        raise typer.BadParameter("cannot be combined with a command", param_hint="--version")
    from cli.versions import versions

    found = versions()
    if as_json:
        print_json(found)
    else:
        console.print("\n".join(f"{name} {number}" for name, number in found.items()), highlight=False)


command_line = get_command(app)
"""What runs. Typer would make it anew at each call of `app`, from the signatures of all commands."""


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds the stack, which stops everything that was started


def main() -> None:
    """The console script. Exit status: 0 done, 1 a check failed, 2 an error, 130 interrupted."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        command_line()
    except Exception as error:
        if (line := one_line(error)) is None:
            raise  # a defect keeps its trace
        refuse(error, line)


if __name__ == "__main__":
    main()
