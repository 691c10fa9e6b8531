"""How a line of waiting commands is named on a worker's page."""

import pytest

from senders.queue.lines import BEFORE_ALL, line_id, line_of, line_with


@pytest.mark.parametrize("line", [0, BEFORE_ALL, line_of("default mx.d.example")])
def test_a_line_is_found_by_the_name_that_it_has_on_a_page(line: int) -> None:
    assert line_with(line_id(line)) == line


@pytest.mark.parametrize("id_", ["0" * 32, "line", "line x", "line ", "line 1.5", "line " + "9" * 5000, "line ٣"])
def test_other_names_are_of_no_line(id_: str) -> None:
    assert line_with(id_) is None
