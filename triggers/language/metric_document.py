"""The document `metric`."""

from triggers.language import values
from triggers.language.document_reader import DocumentReader
from triggers.language.level_sources import read_measures, read_window
from triggers.language.yaml_tree import Node
from triggers.measures.shapes import Rolling
from triggers.rules.rule import Metric

_ROOTS = ("event", "user", "now")
"""A metric is not made of scores, metrics or segments: that could have no beginning."""


def read_metric(document: DocumentReader, node: Node) -> Metric:
    """The document of one metric."""
    mapping = document.mapping(node, "metric", "metric", "EVENT", later=("same",))
    pattern = document.pattern_keys(mapping, _ROOTS)
    name = mapping.required("metric", lambda n: values.identifier(n, "a metric's name"), "")
    window = mapping.required("within", lambda n: read_window(n, ever=True), Rolling(1))
    return Metric(name, pattern, window, *read_measures(document, mapping, _ROOTS, pattern.types))
