#!/usr/bin/env python3
"""A consumer of the gateway's batches that drops those that come again.

    pip install paho-mqtt          # 2.0 or later
    examples/consumer.py [HOST [PORT [TOPIC]]]

Prints each record as a line of JSON on standard output, and each batch that was dropped on standard error.

A batch that comes again has the same id and the same bytes, so its id is enough. The ids of the last
REMEMBERED_MAX batches are remembered, the oldest is forgotten first. A batch that comes again after more
others than that is taken twice. A gateway sends again what was not acknowledged (output.window_batches, 16,
and as many again from a spool after a kill), so the limit is far away; it bounds the memory.

What is sent again comes in its old order and before anything new. So each sensor's records stay in order
when the second copy of a batch is dropped.

A batch is acknowledged to the broker after its records were stored. If this program is killed in between, the
batch comes again and is stored twice, because the ids are in memory only: where that matters, store the
records and the batch's id in one transaction, with the id as a unique key.
"""

import json
import sys
from collections import OrderedDict

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# Batches whose ids are remembered; some 100 bytes each.
REMEMBERED_MAX = 10_000
# Batches that the broker may send before the first of them is acknowledged.
UNACKNOWLEDGED_MAX = 64
# Seconds that the broker keeps the session, and what waits in it, while we are away.
SESSION_SECONDS = 86_400


class Seen:
    """The ids of the last batches."""

    def __init__(self, ids_max):
        self.ids_max = ids_max
        self.ids = OrderedDict()

    def has(self, batch):
        return batch in self.ids

    def remember(self, batch):
        self.ids[batch] = None
        if len(self.ids) > self.ids_max:
            self.ids.popitem(last=False)


def contents(batch, message):
    """The id and the records. A bare array has its id beside it; None: it cannot be told."""
    if isinstance(batch, dict):
        return batch["batch"], batch["records"]
    beside = getattr(message.properties, "UserProperty", [])
    return dict(beside).get("batch"), list(batch)


def store(records):
    """Here a database would be written, and flushed."""
    for record in records:
        print(json.dumps(record, ensure_ascii=False))
    sys.stdout.flush()


def main(host="localhost", port="1883", topic="gateway/batches"):
    seen = Seen(REMEMBERED_MAX)

    def connected(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"the broker refuses the connection: {reason}", file=sys.stderr)
        else:
            client.subscribe(topic, qos=1)

    def received(client, _userdata, message):
        try:
            batch = json.loads(message.payload)
            name, records = contents(batch, message)
        except (ValueError, KeyError, TypeError) as error:
            # It is acknowledged all the same: it would come again for ever.
            print(f"no batch on {message.topic!r}: {error!r}", file=sys.stderr)
            client.ack(message.mid, message.qos)
            return
        if name is not None and seen.has(name):
            print(f"dropped {name}: it came again", file=sys.stderr)
        else:
            store(records)
            if name is not None:
                seen.remember(name)
        client.ack(message.mid, message.qos)

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id="consumer-py",
        protocol=mqtt.MQTTv5,
        manual_ack=True,
    )
    client.on_connect, client.on_message = connected, received
    wishes = Properties(PacketTypes.CONNECT)
    wishes.SessionExpiryInterval = SESSION_SECONDS
    wishes.ReceiveMaximum = UNACKNOWLEDGED_MAX
    client.connect(host, int(port), keepalive=30, clean_start=False, properties=wishes)
    try:
        client.loop_forever()
    except KeyboardInterrupt:
        client.disconnect()


if __name__ == "__main__":
    main(*sys.argv[1:])
