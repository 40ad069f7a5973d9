"""`faust_agent.py SERVERS TOPIC COUNT stock|batches worker -l warn`: Faust reading and decoding.

`stock` is a plain agent, one message at a time, without state. `batches` is the same agent fed with
record batches through `ConsumerScheduler`, decoding each record. Prints `RESULT wall cpu`.
"""

import os
import sys
import time

import faust
import orjson
from faust.transport.utils import DefaultSchedulingStrategy

servers, topic_name, count, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
del sys.argv[1:5]
CHUNK = 500


class Chunk:
    """What Faust reads of a message."""

    def __init__(self, records):
        last = records[-1]
        for name in ("topic", "partition", "offset", "timestamp", "timestamp_type"):
            setattr(self, name, getattr(last, name))
        self.headers, self.key, self.value, self.checksum = (), None, records, None
        self.serialized_key_size = self.serialized_value_size = 0


class Batches(DefaultSchedulingStrategy):
    def iterate(self, records):
        for tp, found in records.items():
            for start in range(0, len(found), CHUNK):
                yield tp, Chunk(found[start : start + CHUNK])


options = {"ConsumerScheduler": Batches} if mode == "batches" else {}
app = faust.App(
    f"peer-{mode}-{os.getpid()}",
    broker=[f"kafka://{server}" for server in servers.split(",")],
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    broker_max_poll_records=5000,
    consumer_max_fetch_size=4 << 20,
    stream_wait_empty=False,
    **options,
)
source = app.topic(topic_name, key_serializer="raw", value_serializer="raw")
seen, began = 0, (0.0, 0.0)


@app.agent(source)
async def read(stream):
    global seen, began
    async for value in stream:
        if not seen:
            began = (time.monotonic(), time.process_time())
        if mode == "batches":
            for record in value:
                orjson.loads(record.value or b"{}")
            seen += len(value)
        else:
            seen += 1
        if seen >= count:
            wall_s, cpu_s = time.monotonic() - began[0], time.process_time() - began[1]
            # `faust worker` turns sys.stdout into log lines.
            print(f"RESULT {seen / wall_s} {seen / cpu_s}", file=sys.__stdout__, flush=True)
            os._exit(0)


app.main()
