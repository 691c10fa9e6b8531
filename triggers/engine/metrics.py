"""Metrics: adds events to the windows that count them."""

from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine.evaluation import Evaluation
from triggers.measures.windows import MAX_AMOUNT, WindowState, value_text
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route, StoredMetric
from triggers.rules.state import window_to_add


def feed(evaluation: Evaluation, route: Route, event: StoredEvent, context: Context) -> list[str]:
    """Adds the event to every metric that counts it; returns their names as `metric/NAME`."""
    fed = []
    for counted in route.metrics:
        found = measured(evaluation, counted, f"metric/{counted.metric.name}", context)
        if found is not None:
            name = f"metric/{counted.metric.name}"
            for what in counted.tally.add(kept(evaluation, counted), event.time_ms, *found):
                evaluation.forgot(name, what)
            fed.append(name)
    return fed


def kept(evaluation: Evaluation, counted: StoredMetric) -> WindowState:
    """The state's window to add to; created if nothing was counted yet."""
    return window_to_add(evaluation.state.windows, counted.key)


def measured(evaluation: Evaluation, counted: StoredMetric, owner: str, context: Context) -> tuple[float, str] | None:
    """The amount and the value that the window stores for an event; None if it does not count the event.

    An event whose `sum` or `distinct` fails is not counted, and the failure is a problem.
    """
    metric = counted.metric
    if metric.pattern.where is not None and not evaluation.holds(owner, "where", metric.pattern.where, context):
        return None
    place = "sum"
    try:
        amount = metric.sum.number(context) if metric.sum is not None else 0.0
        if abs(amount) > MAX_AMOUNT:
            raise EvaluationError(f"an amount beyond {MAX_AMOUNT:g}: {metric.sum and metric.sum.text!r}")
        place = "distinct"
        return amount, value_text(metric.distinct.value(context)) if metric.distinct is not None else ""
    except EvaluationError as error:
        evaluation.problem(owner, place, error)
        return None
