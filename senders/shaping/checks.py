"""What is wrong with a shaping file that fits the models: unknown names, overlaps, and rules without effect."""

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.wording import nearest, quoted
from senders.shaping.document import HostMatch, WayTable
from senders.shaping.file import BY_HOST, ShapingFile, one_form
from senders.shaping.findings import ShapingFinding
from senders.shaping.keys import DEFAULTS, LaneKeys
from senders.shaping.shadowing import shadowed_rules
from senders.shaping.toml_positions import TomlPath


def findings(file: ShapingFile) -> Iterator[ShapingFinding]:
    """Every finding, in no order."""
    checks = (_twice, _overlaps, _redundant, _sources, _pools, _providers, _retries, _rule_keys)
    for check in checks:
        yield from check(file)
    for rule, by in shadowed_rules(file.document):
        message = f"the rule changes nothing: the one of line {file.place(by)[0]} acts on every such reply, no later"
        yield _found(file, rule, message, "remove it, or make its pattern or action differ", warning=True)


def _found(
    file: ShapingFile, path: TomlPath, message: str, hint: str = "", *, warning: bool = False, value: bool = False
) -> ShapingFinding:
    line, column = file.place(path, of_value=value)
    return ShapingFinding(file.name, line, column, "warning" if warning else "error", message, hint)


def _twice(file: ShapingFile) -> Iterator[ShapingFinding]:
    """Two spellings of one domain are two tables in the file, and one in the document."""
    for table in BY_HOST:
        seen: dict[str, str] = {}
        for name in file.data.get(table, {}):
            first = seen.setdefault(one_form(name), name)
            if first != name:
                position = file.positions.of((table, name))
                line, column = file.positions.line_and_column(position.key)
                message = f"{quoted(name)} is the same as {quoted(first)}"
                yield ShapingFinding(file.name, line, column, "error", message, "write one table")


def _ways(file: ShapingFile) -> Iterator[tuple[str, TomlPath, str, str]]:
    """Each way to recognise a host: its provider, path, kind and text."""
    for provider, table in file.document.provider.items():
        for number, match in enumerate(table.match):
            path = ("provider", provider, "match", number)
            kind = next(iter(match.model_fields_set))
            yield provider, path, "domain" if kind == "domain_suffix" else "host", str(getattr(match, kind))


def _wider(text: str) -> Iterator[str]:
    """The text itself, and the suffixes that contain all that it matches, the widest last."""
    yield text
    start = text.find(".", 1)
    while start > 0:
        yield text[start:]
        start = text.find(".", start + 1)


def _overlaps(file: ShapingFile) -> Iterator[ShapingFinding]:
    known: dict[tuple[str, str], tuple[str, TomlPath]] = {}
    for provider, path, kind, text in _ways(file):
        known.setdefault((kind, text), (provider, path))
    for provider, path, kind, text in _ways(file):
        for wider in _wider(text):
            other = known.get((kind, wider))
            if other is not None and other[0] != provider:
                message = f"the providers `{other[0]}` and `{provider}` overlap: {quoted(text)} is in {quoted(wider)}"
                hint = f"of line {file.place(other[1])[0]}; each host is of one provider"
                yield _found(file, path, message, hint)


def _redundant(file: ShapingFile) -> Iterator[ShapingFinding]:
    for provider, table in file.document.provider.items():
        texts = [_text(match) for match in table.match]
        for number, text in enumerate(texts):
            others = {*texts[:number], *(other for other in texts[number + 1 :] if other != text)}
            covered = next((wider for wider in _wider(text[1]) if (text[0], wider) in others), None)
            if covered is not None:
                message = f"{quoted(text[1])} adds nothing to {quoted(covered)}"
                yield _found(file, ("provider", provider, "match", number), message, warning=True)


def _text(match: HostMatch) -> tuple[str, str]:
    kind = next(iter(match.model_fields_set))
    return "domain" if kind == "domain_suffix" else "host", str(getattr(match, kind))


def _unknown(file: ShapingFile, path: TomlPath, what: str, name: str, known: Iterable[str]) -> ShapingFinding:
    hint = nearest(name, known) or f"write [{what}.{name}]"
    return _found(file, path, f"no {what} is called {quoted(name)}", hint, value=isinstance(path[-1], int))


def _sources(file: ShapingFile) -> Iterator[ShapingFinding]:
    document, known = file.document, file.document.source
    used = {source for pool in document.pool.values() for source in pool.sources}
    tables: list[tuple[TomlPath, dict[str, Any]]] = [
        *((("provider", name), dict(table.sources)) for name, table in document.provider.items()),
        *((("site", name), dict(table.sources)) for name, table in document.site.items()),
        *((("domain", name), dict(table.sources)) for name, table in document.domain.items()),
    ]
    for path, sources in tables:
        for name in sources:
            if name not in known:
                yield _unknown(file, (*path, "sources", name), "source", name, known)
    for name in known:
        if document.pool and name not in used:
            yield _found(file, ("source", name), f"no pool has the source `{name}`: it sends nothing", warning=True)


def _pools(file: ShapingFile) -> Iterator[ShapingFinding]:
    document = file.document
    of_purpose: dict[str, str] = {}
    rest = ""
    for name, pool in document.pool.items():
        for number, source in enumerate(pool.sources):
            path: TomlPath = ("pool", name, "sources", number)
            if source not in document.source:
                yield _unknown(file, path, "source", source, document.source)
            elif source in pool.sources[:number]:
                message = f"`{source}` stands in the pool twice"
                yield _found(file, path, message, "its `weight` gives it a greater share", value=True)
        for number, purpose in enumerate(pool.purposes):
            other = of_purpose.setdefault(purpose, name)
            if other != name:
                message = f"the purpose `{purpose}` has the pool `{other}` already"
                yield _found(file, ("pool", name, "purposes", number), message, value=True)
        if not pool.purposes and rest:
            yield _found(
                file, ("pool", name), f"the pool `{rest}` takes all other purposes already", "name its purposes"
            )
        rest = rest or ("" if pool.purposes else name)
    if document.pool and not rest:
        last = list(document.pool)[-1]
        message = "no pool takes the purposes that none names: their mails wait"
        yield _found(file, ("pool", last), message, "leave out `purposes` in one pool", warning=True)


def _providers(file: ShapingFile) -> Iterator[ShapingFinding]:
    document = file.document
    for kind in ("trigger", "purpose", "from_domain"):
        for name, table in getattr(document, kind).items():
            for provider in table.provider:
                if provider not in document.provider:
                    yield _unknown(file, (kind, name, "provider", provider), "provider", provider, document.provider)


def _tables(file: ShapingFile) -> Iterator[tuple[TomlPath, LaneKeys]]:
    document = file.document
    yield ("default",), document.default
    groups: tuple[tuple[str, dict[str, Any]], ...] = (
        ("provider", dict(document.provider)),
        ("site", dict(document.site)),
        ("domain", dict(document.domain)),
    )
    for kind, tables in groups:
        for name, table in tables.items():
            yield (kind, name), table
            for source, within in table.sources.items():
                yield (kind, name, "sources", source), within


def _retries(file: ShapingFile) -> Iterator[ShapingFinding]:
    base = file.document.default
    for path, table in _tables(file):
        first = table.retry_interval or base.retry_interval or DEFAULTS.retry_interval
        longest = table.max_retry_interval or base.max_retry_interval or DEFAULTS.max_retry_interval
        written = {"retry_interval", "max_retry_interval"} & table.model_fields_set
        if first and longest and written and longest < first:
            message = "`max_retry_interval` is shorter than `retry_interval`"
            yield _found(file, (*path, min(written)), message, value=True)


def _rule_keys(file: ShapingFile) -> Iterator[ShapingFinding]:
    """Keys that only a provider has, set by the rule of another table."""
    for path, table in _tables(file):
        if path[0] == "provider" or not isinstance(table, WayTable):
            continue
        for number, rule in enumerate(table.automation):
            for action in rule.action:
                for key in action.set.model_fields_set if action.set else ():
                    if key.startswith("provider_"):
                        where = (*path, "automation", number)
                        yield _found(file, where, f"`{key}` can be set only by a rule of a provider")
