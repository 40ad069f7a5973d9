"""`quix_app.py SERVERS TOPIC COUNT state|changelog DIR`: Quix Streams with a state per user.

Per user a last-seen time and a pending cart, as in the other stateful peers. Prints `RESULT`.
"""

import os
import sys
import time

from quixstreams import Application

servers, topic_name, count, mode, directory = (*sys.argv[1:3], int(sys.argv[3]), *sys.argv[4:6])
app = Application(
    broker_address=servers,
    consumer_group=f"peer-quix-{os.getpid()}",
    auto_offset_reset="earliest",
    state_dir=directory,
    loglevel="WARNING",
    use_changelog_topics=mode == "changelog",
    commit_interval=1.0,
)
source = app.topic(topic_name, value_deserializer="bytes", key_deserializer="bytes")
seen, began = 0, (0.0, 0.0)


def decide(value, state):
    import orjson

    event = orjson.loads(value or b"{}")
    now = time.monotonic()
    if now - (state.get("seen") or 0) > 60:
        state.set("seen", now)
    name = event.get("event")
    if name == "Product Added" and event["properties"]["price"] >= 100:
        if not state.get("cart"):
            state.set("cart", [now, event["properties"]["product_id"]])
    elif name == "Order Completed" and state.get("cart"):
        state.delete("cart")
    return value


def tick(value):
    global seen, began
    if not seen:
        began = (time.monotonic(), time.process_time())
    seen += 1
    if seen >= count:
        wall_s, cpu_s = time.monotonic() - began[0], time.process_time() - began[1]
        print(f"RESULT {seen / wall_s} {seen / cpu_s}", flush=True)
        os._exit(0)
    return value


frame = app.dataframe(source)
frame = frame.apply(decide, stateful=True).update(tick)
app.run(frame)
