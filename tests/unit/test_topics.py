"""Which topics are subscribed to."""

import re

import pytest

from connector.topics import Topics


def test_a_pattern_takes_only_names_that_it_matches_whole() -> None:
    topics = Topics([r"^shop\.returns"])
    assert topics.resolve(["shop.returns", "shop.returns2", "xshop.returns", "shopxreturns"]) == ("shop.returns",)


def test_patterns_speak_python() -> None:
    topics = Topics([r"^(?:a|b)-\d+", r"^c\w*(?<!x)"])
    assert topics.resolve(["a-1", "b-22", "c", "cx", "d-1"]) == ("a-1", "b-22", "c")


def test_a_name_is_subscribed_whether_it_is_there_or_not() -> None:
    assert Topics(["a.b"]).resolve(["axb"]) == ("a.b",)


def test_a_pattern_never_takes_the_topics_of_kafka_itself() -> None:
    topics = Topics(["^.*", "__consumer_offsets"])
    assert topics.resolve(["__transaction_state", "t"]) == ("__consumer_offsets", "t")


def test_a_topic_of_several_routes_is_subscribed_once() -> None:
    assert Topics(["t", "^t", "t"]).resolve(["t"]) == ("t",)


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(re.error):
        Topics(["^("])
