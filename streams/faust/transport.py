"""Faust's transport on confluent-kafka. What is behind its slots is in streams/runtime, which does not know Faust.

Where private names of Faust 0.15.3 are relied on, tests/unit/streams/faust/test_faust_contract.py asserts them.
"""

from typing import Any

import confluent_kafka
from faust.transport import base

from streams.faust.consumer import Consumer
from streams.faust.core import RuntimeCore
from streams.faust.producer import Producer, TransactionManager


class Transport(base.Transport):
    """Faust's transport, with the parts of `runtime` behind it."""

    Consumer = Consumer
    Producer = Producer
    TransactionManager = TransactionManager
    default_port = 9092
    driver_version = f"confluent-kafka={confluent_kafka.__version__}"

    def __init__(self, runtime: RuntimeCore, app: Any, **kwargs: Any) -> None:
        super().__init__([], app, **kwargs)
        self.runtime = runtime
