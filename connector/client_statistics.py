"""What is read from the client's statistics (STATISTICS.md of librdkafka 2.16)."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from connector.model import TopicPartition


class Statistics(NamedTuple):
    """One look at the client.

    `connected`: some broker can be talked to. `joined`: the group's coordinator has answered; with KIP-848 nothing more
    is told of a member without partitions, whose `join_state` stays `init`.
    `lags` counts records between the committed offset and the end, of the partitions where that is known.
    """

    connected: bool
    joined: bool
    lags: Mapping[TopicPartition, int]


def read(text: str) -> Statistics:
    """Read the JSON that the client gives to its statistics callback."""
    told = orjson.loads(text)
    group = told.get("cgrp", {})
    return Statistics(
        any(broker["state"] == "UP" for broker in told["brokers"].values()),
        group.get("state") == "up",
        {
            TopicPartition(topic["topic"], one["partition"]): one["consumer_lag"]
            for topic in told["topics"].values()
            for one in topic["partitions"].values()
            if one["consumer_lag"] >= 0  # -1 until it is known, and for partitions of other members
        },
    )
