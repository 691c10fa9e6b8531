"""The pages of a process as a client reads them."""

from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def get(port: int, page: str) -> tuple[int, str] | None:
    """The status and the text of a page; None if nothing answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def samples(port: int) -> list[Sample]:
    """Every sample of the metrics page."""
    answer = get(port, "/metrics")
    assert answer is not None, f"nothing answers on port {port}"
    return [sample for family in text_string_to_metric_families(answer[1]) for sample in family.samples]
