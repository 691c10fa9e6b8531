"""`ebbtide rules`: the current rules, their history, and rollback."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.columns import aligned
from cli.environment import Environment
from cli.manifests.plan_text import By, DryRun, Yes, confirm_plan, moment, print_published, set_name
from cli.options import AsJson, Instance, console, login, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from cli.manifests.changes import ManifestItem

OneSet = Annotated[str | None, typer.Option("--set", help="Only this set.", show_default=False, callback=set_name)]


class NoSuchRule(UserError):
    """No current rule or template has the name."""


rules_app = typer.Typer(invoke_without_command=True)


@rules_app.callback()
def rules(
    context: typer.Context,
    name: OneSet = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the current rules and templates: set, owner, mode, and when and by whom each was published.

    Example: `ebbtide rules`, `ebbtide rules history`, `ebbtide rules show win-back`, `ebbtide rules rollback 7`
    """
    if context.invoked_subcommand is not None:
        return
    from cli.manifests.changes import items
    from cli.manifests.history import read_rules
    from cli.operations.control import switches

    kafka = Environment.of(instance).kafka
    log = read_rules(kafka)
    if name is not None:
        log.require_set(name, log.files())
    paused = {switch.scope for switch in switches(kafka) if switch.paused}
    found = [each for each in items(log, log.files()).values() if name in (None, each.set)]
    found.sort(key=lambda each: (each.set, each.kind != "trigger", each.kind, each.name))
    if as_json:
        print_json(
            {
                "manifest": log.number or None,
                "rules": [{**_item_json(each), "paused": _paused(each, paused)} for each in found],
            }
        )
        return
    rows = [_row(each, _paused(each, paused)) for each in found]
    _print_rows(("set", "kind", "name", "owner", "mode", "since", "at", "by"), rows)
    console.print(f"manifest {log.number} is current" if log.number else "nothing was applied yet", soft_wrap=True)


@rules_app.command("history")
def history(
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="List at most this many.")] = 20,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the manifests that are kept, newest last: when and by whom each was published, and what it changed.

    A replaced manifest is kept for at least 7 days.

    Example: `ebbtide rules history`
    """
    from cli.manifests.changes import manifest_changes, summary
    from cli.manifests.history import read_rules

    log = read_rules(Environment.of(instance).kafka)
    rows, known = [], list[dict[str, Any]]()
    for manifest, found, whole in manifest_changes(log):
        changed = summary(found) if found is not None else "the oldest kept" if whole else "texts no longer kept"
        changed += f"; restores manifest {manifest.restores}" if manifest.restores is not None else ""
        rows.append((str(manifest.number), moment(manifest.applied_at), manifest.applied_by, changed))
        listed = None if found is None else [each.as_json() for each in found]
        details = {"by": manifest.applied_by, "restores": manifest.restores, "changes": listed}
        known.append({"manifest": manifest.number, "at": manifest.applied_at.isoformat(), **details})
    if as_json:
        print_json(known[-last:])
        return
    _print_rows(("manifest", "at", "by", "what it changed"), rows[-last:])
    console.print("`ebbtide rules rollback NUMBER` restores one of them" if rows else "nothing was applied yet")


@rules_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name, or KIND/NAME as in template/welcome.", show_default=False)],
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Print the current text of a rule or template.

    Example: `ebbtide rules show win-back`
    """
    from cli.manifests.changes import items
    from cli.manifests.history import read_rules
    from schemas.wording import nearest

    log = read_rules(Environment.of(instance).kafka)
    known = items(log, log.files())
    found = [each for key, each in sorted(known.items()) if name in (each.name, "/".join(key))]
    if not found:
        hint = nearest(name, {each.name for each in known.values()}) or "`ebbtide apply` publishes rules"
        raise NoSuchRule(f"no current rule or template is named {name!r}; {hint}")
    if as_json:
        print_json([{**_item_json(each), "text": each.text} for each in found])
        return
    for each in found:
        where = f"set {each.set}, {each.file.path}:{each.line}, since manifest {each.file.since}"
        console.print(f"# {each.kind} {each.name}: {where}", style="dim", markup=False, soft_wrap=True)
        sys.stdout.write(each.text if each.text.endswith("\n") else each.text + "\n")


@rules_app.command("rollback")
def rollback(
    number: Annotated[int, typer.Argument(help="The manifest to restore.", min=1, show_default=False)],
    name: OneSet = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    instance: Instance = "main",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make an earlier manifest's rules and templates current again, under a new number.

    It shows what changes, and asks before it removes anything. `ebbtide rules history` lists the numbers.

    Exits with 1 if you answer no, with 2 if --yes is missing or the manifest is no longer kept.

    Example: `ebbtide rules rollback 7 --set shop`
    """
    from cli.manifests.history import read_rules
    from cli.manifests.publication import audit_manifest, plan_rollback, publish

    environment = Environment.of(instance)
    kafka = environment.kafka
    log = read_rules(kafka)
    if name is not None:
        log.require_set(name, [*log.files(), *log.files(log.manifest(number))])
    plan = plan_rollback(log, number, name)
    plan.load()
    command = f"ebbtide rules rollback {number}" + (f" --set {name}" if name else "")
    what = f"rollback to manifest {number}" + (f", set {name}" if name else "")
    if not confirm_plan(plan, log, what, command, yes=yes, dry_run=dry_run, as_json=as_json):
        return
    manifest = publish(kafka, lambda now: plan_rollback(now, number, name), by or login(), log.number)
    audit_manifest(environment, manifest)
    print_published(plan, log, manifest.number, as_json)


def _row(item: "ManifestItem", paused: list[str]) -> tuple[str, ...]:
    mode = f"{item.mode}, paused {' and '.join(paused)}" if paused else item.mode
    since = str(item.file.since), moment(item.file.at), item.file.by
    return item.set, item.kind, item.name, item.value("owner"), mode, *since


def _paused(item: "ManifestItem", paused: set[str]) -> list[str]:
    """The paused scopes that cover a trigger."""
    if item.kind != "trigger":
        return []
    return [each for each in ("global", f"trigger/{item.name}", f"purpose/{item.value('purpose')}") if each in paused]


def _item_json(item: "ManifestItem") -> dict[str, Any]:
    about = {"set": item.set, "kind": item.kind, "name": item.name, "owner": item.value("owner"), "mode": item.mode}
    since = {"since": item.file.since, "at": item.file.at.isoformat(), "by": item.file.by}
    return {**about, **since, "path": item.file.path, "line": item.line}


def _print_rows(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        for number, line in enumerate(aligned([heads, *rows])):
            console.print(line, style="bold" if number == 0 else None, markup=False, soft_wrap=True)
