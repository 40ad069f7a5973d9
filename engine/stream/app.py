"""The Faust app: group membership, assignment and the agent. Nothing of it is trusted with state.

Faust's acks, tables, `take`, typed serializers and transactions are not used (they lose events);
its web server is off. See docs/decisions/0002-faust-record-batches.md.
"""

from collections.abc import Callable
from typing import Any

import faust
from faust.types import TP
from yarl import URL

from engine.kafka_client import ssl_context
from engine.settings import Settings
from engine.stream.batches import BatchScheduler, RecordBatch
from engine.stream.consumer import Positions, StoreConsumer, StoreTransport

FETCH_BYTES_MAX = 1 << 20
POLL_RECORDS_MAX = 8_000


class TriplineApp(faust.App):
    """A Faust app on `StoreTransport`. `positions` is what its consumer asks where to go on."""

    positions: Positions

    def _create_directories(self) -> None:
        """None: they are for tables, and would appear wherever the worker is started."""

    def _new_transport(self) -> Any:
        return StoreTransport(self.conf.broker_consumer, self)

    @property
    def store_consumer(self) -> StoreConsumer:
        """The consumer, which knows how to seek a shard."""
        consumer = self.consumer
        assert isinstance(consumer, StoreConsumer)
        return consumer


def make_app(
    settings: Settings,
    topic: str,
    positions: Positions,
    dispatch: Callable[[TP, RecordBatch], None],
) -> TriplineApp:
    """One plain agent on the log. `dispatch` must not wait: actors bound their own queues."""
    BatchScheduler.records_max = settings.batch_records_max
    brokers = settings.kafka_servers.split(",")
    app = TriplineApp(
        f"{settings.group}.worker",
        broker=[URL(f"kafka://{server}") for server in brokers],
        broker_credentials=_credentials(settings),
        ConsumerScheduler=BatchScheduler,
        autodiscover=False,
        store=URL("memory://"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        stream_buffer_maxsize=64,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=60.0,
        broker_max_poll_records=POLL_RECORDS_MAX,
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        consumer_auto_offset_reset="earliest",
        consumer_connections_max_idle_ms=540_000,
    )
    app.positions = positions
    source = app.topic(
        topic,
        key_type=None,
        value_type=None,
        key_serializer="raw",
        value_serializer="raw",
        acks=False,
    )

    async def intake(stream: Any) -> None:
        async for batch in stream:
            dispatch(TP(topic, batch.records[0].partition), batch)

    app.agent(source, name="intake")(intake)
    return app


def _credentials(settings: Settings) -> Any:
    context = ssl_context(settings)
    if settings.kafka_protocol.startswith("SASL"):
        password = settings.kafka_password
        return faust.SASLCredentials(
            username=settings.kafka_user,
            password=password.get_secret_value() if password else None,
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
