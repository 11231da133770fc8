"""The same match and the same map in hand-written Python, jmespath and cel-expr-python."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import jmespath
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from jmespath import functions

from connector.mapping import Names

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Rival(NamedTuple):
    """How someone else decides whether a record matches, and makes the event."""

    name: str
    match: Callable[[Names], bool]
    map: Callable[[Names], Any]


def _match(names: Names) -> bool:
    value = names.value
    return (
        (names.headers.get("event-type") or "").startswith("order.")
        and value["status"] in ("PAID", "SHIPPED")
        and value["amountCents"] >= 1000
        and value["test"] is not True
        and value["id"].startswith("o-")
    )


def _map(names: Names) -> Any:
    value = names.value
    customer, total = value["customer"], value["total"]
    return {
        "Source": f"com.acme.{value['channel']}",
        "DetailType": "Order Paid" if value["status"] == "PAID" else "Order " + value["status"],
        "Time": EPOCH + timedelta(milliseconds=value["createdAt"]),
        "Resources": [f"arn:aws:shop:::order/{value['id']}"],
        "EventBusName": "orders",
        "TraceHeader": names.headers.get("trace", "none"),
        "Detail": {
            "orderId": value["id"],
            "customer": {
                "id": customer["id"],
                "tier": customer.get("tier", "standard"),
                "place": f"{value['address']['city']}, {customer['country']}",
            },
            "total": float(total["amount"]),
            "currency": total["currency"],
            "items": [{"sku": i["sku"], "price": float(i["price"])} for i in value["items"] if i["qty"] > 0],
            "tags": value["tags"],
            "origin": f"{names.topic}/{names.partition}/{names.offset}",
        },
    }


def _record(names: Names) -> dict[str, Any]:
    return {
        "topic": names.topic,
        "partition": names.partition,
        "offset": names.offset,
        "headers": names.headers,
        "value": names.value,
    }


class _Functions(functions.Functions):  # type: ignore[misc]  # jmespath ships no types
    """What jmespath needs besides: a time, and a choice."""

    @functions.signature({"types": ["number"]})  # type: ignore[untyped-decorator]  # likewise
    def _func_millis(self, value: float) -> datetime:
        return EPOCH + timedelta(milliseconds=value)


def _jmespath() -> Rival:
    options = jmespath.Options(custom_functions=_Functions())
    condition = jmespath.compile(
        "starts_with(headers.\"event-type\", 'order.') && contains(['PAID', 'SHIPPED'], value.status)"
        " && value.amountCents >= `1000` && value.test != `true` && starts_with(value.id, 'o-')"
    )
    whole = jmespath.compile(
        "{Source: join('', ['com.acme.', value.channel]),"
        " DetailType: (value.status == 'PAID' && 'Order Paid') || join(' ', ['Order', value.status]),"
        " Time: millis(value.createdAt), Resources: [join('', ['arn:aws:shop:::order/', value.id])],"
        " EventBusName: 'orders', TraceHeader: headers.trace || 'none',"
        " Detail: {orderId: value.id, customer: {id: value.customer.id, tier: value.customer.tier || 'standard',"
        " place: join(', ', [value.address.city, value.customer.country])},"
        " total: to_number(value.total.amount), currency: value.total.currency,"
        " items: value.items[?qty > `0`].{sku: sku, price: to_number(price)}, tags: value.tags,"
        " origin: join('/', [topic, to_string(partition), to_string(offset)])}}"
    )

    def match(names: Names) -> bool:
        return bool(condition.search(_record(names), options=options))

    return Rival("jmespath", match, lambda names: whole.search(_record(names), options=options))


def _google() -> Rival:
    kind = cel.Type
    millis = cel.Overload(
        id="millis",
        return_type=kind.TIMESTAMP,
        parameters=[kind.INT],
        impl=lambda value: EPOCH + timedelta(milliseconds=value),
    )
    env = cel.NewEnv(
        variables={
            "topic": kind.STRING,
            "partition": kind.INT,
            "offset": kind.INT,
            "headers": kind.Map(kind.STRING, kind.STRING),
            "value": kind.DYN,
        },
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
        functions=[cel.FunctionDecl("millis", [millis])],
    )
    condition = env.compile(
        'headers["event-type"].startsWith("order.") && value.status in ["PAID", "SHIPPED"]'
        ' && value.amountCents >= 1000 && value.test != true && value.id.startsWith("o-")'
    )
    whole = env.compile(
        '{"Source": dyn("com.acme." + value.channel),'
        ' "DetailType": value.status == "PAID" ? "Order Paid" : "Order " + value.status,'
        ' "Time": millis(value.createdAt), "Resources": ["arn:aws:shop:::order/" + value.id],'
        ' "EventBusName": "orders", "TraceHeader": headers.?trace.orValue("none"),'
        ' "Detail": {"orderId": dyn(value.id), "customer": {"id": value.customer.id,'
        ' "tier": value.customer.?tier.orValue("standard"), "place": value.address.city + ", "'
        " + value.customer.country},"
        ' "total": double(value.total.amount), "currency": value.total.currency,'
        ' "items": value.items.filter(i, i.qty > 0).map(i, {"sku": i.sku, "price": double(i.price)}),'
        ' "tags": value.tags, "origin": topic + "/" + string(partition) + "/" + string(offset)}}'
    )

    def run(expression: Any, names: Names) -> Any:
        return expression.eval(data=_record(names)).plain_value()

    return Rival("cel-expr-python", lambda names: bool(run(condition, names)), lambda names: run(whole, names))


def rivals() -> list[Rival]:
    """All of them, the floor first."""
    return [Rival("hand-written Python", _match, _map), _jmespath(), _google()]
