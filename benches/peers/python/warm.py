"""What a team writes in Python, well: confluent-kafka in batches, orjson, and redis-py pipelines over hiredis.

Of the keys of a batch only the last change is written. A position is committed after the pipeline that holds it was
answered without an error, about once a second. See ../peers.toml for what it is told.
"""

import os
import signal
import time

import orjson
import redis
from confluent_kafka import Consumer, KafkaException

BATCH_RECORDS = 2_000
COMMIT_EVERY_S = 1.0


def change(record, prefix):
    """The key of a record's row, and its row as JSON; None where the row is gone."""
    value = record.value()
    event = orjson.loads(value) if value is not None else {"op": "d"}
    if event["op"] == "d":
        return f"{prefix}{orjson.loads(record.key())['id']}", None
    after = event["after"]
    return f"{prefix}{after['id']}", orjson.dumps(after)


def main():
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BROKERS"],
            "group.id": os.environ["GROUP"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    cache = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]))
    prefix, ttl_ms = os.environ["KEY_PREFIX"], int(os.environ["TTL_MS"])
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    consumer.subscribe([os.environ["TOPIC"]])
    committed_at, moved = time.monotonic(), False
    while running:
        records = consumer.consume(BATCH_RECORDS, timeout=0.05)
        changes = {}
        for record in records:
            if record.error():
                raise KafkaException(record.error())
            key, row = change(record, prefix)
            changes[key] = row
        if changes:
            pipeline = cache.pipeline(transaction=False)
            for key, row in changes.items():
                if row is None:
                    pipeline.unlink(key)
                else:
                    pipeline.set(key, row, px=ttl_ms)
            pipeline.execute()
            moved = True
        if moved and time.monotonic() - committed_at > COMMIT_EVERY_S:
            consumer.commit(asynchronous=True)
            committed_at, moved = time.monotonic(), False
    if moved:
        consumer.commit(asynchronous=False)
    consumer.close()


main()
