"""One order, the route that takes it, and the event that every candidate of the benchmark must make of it."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from connector.mapping import Names

TEXT: Final = orjson.dumps(
    {
        "id": "o-20261121-000917",
        "channel": "web",
        "status": "PAID",
        "createdAt": 1_769_860_800_250,
        "amountCents": 12950,
        "test": False,
        "total": {"amount": "129.50", "currency": "NOK"},
        "customer": {"id": "c-4711", "name": "Åse Nordmann", "email": "ase@example.com", "country": "NO"},
        "address": {"street": "Storgata 1", "city": "Oslo", "zip": "0155"},
        "items": [
            {"sku": "AB-100", "name": "Wool hat", "qty": 2, "price": "39.75"},
            {"sku": "AB-200", "name": "Mittens", "qty": 0, "price": "19.00"},
            {"sku": "XY-300", "name": "Rain coat", "qty": 1, "price": "50.00"},
        ],
        "tags": ["new", "gift"],
        "source": {"campaign": "winter", "device": "phone", "session": "9f0c2c1e-7d55-4f0c-b6f0-3d1d4b0a55e2"},
    }
)

VALUE: Final[Any] = orjson.loads(TEXT)
HEADERS: Final[dict[str, str | None]] = {"event-type": "order.paid", "trace": "1-5759e988"}
NAMES: Final = Names("shop.orders.v1", 3, 120_717, 1_769_860_801_000, "o-20261121-000917", HEADERS, VALUE)

MATCH: Final = {
    "headers": {"event-type": [{"prefix": "order."}]},
    "value": {
        "status": ["PAID", "SHIPPED"],
        "amountCents": [{"numeric": [">=", 1000]}],
        "test": [{"anything-but": True}],
        "id": [{"prefix": "o-"}],
    },
}
OTHERS: Final = [
    {
        "headers": {"event-type": [{"prefix": "order."}]},
        "value": {"status": [f"STATE-{number}", "LOST"], "amountCents": [{"numeric": [">=", number]}]},
    }
    for number in range(50)
]
"""Fifty patterns of one topic that look at the same fields and do not match."""

MAP: Final = {
    "Source": "com.acme.${value.channel}",
    "DetailType": '${value.status == "PAID" ? "Order Paid" : "Order " + value.status}',
    "Time": "${millis(value.createdAt)}",
    "Resources": ["arn:aws:shop:::order/${value.id}"],
    "EventBusName": "orders",
    "TraceHeader": '${headers.?trace.orValue("none")}',
    "Detail": {
        "orderId": "${value.id}",
        "customer": {
            "id": "${value.customer.id}",
            "tier": '${value.customer.?tier.orValue("standard")}',
            "place": "${value.address.city}, ${value.customer.country}",
        },
        "total": "${double(value.total.amount)}",
        "currency": "${value.total.currency}",
        "items": '${value.items.filter(i, i.qty > 0).map(i, {"sku": i.sku, "price": double(i.price)})}',
        "tags": "${value.tags}",
        "origin": "${topic}/${partition}/${offset}",
    },
}
LEAVES: Final = 15

EVENT: Final = {
    "Source": "com.acme.web",
    "DetailType": "Order Paid",
    "Time": datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC),
    "Resources": ["arn:aws:shop:::order/o-20261121-000917"],
    "EventBusName": "orders",
    "TraceHeader": "1-5759e988",
    "Detail": {
        "orderId": "o-20261121-000917",
        "customer": {"id": "c-4711", "tier": "standard", "place": "Oslo, NO"},
        "total": 129.5,
        "currency": "NOK",
        "items": [{"sku": "AB-100", "price": 39.75}, {"sku": "XY-300", "price": 50.0}],
        "tags": ["new", "gift"],
        "origin": "shop.orders.v1/3/120717",
    },
}
