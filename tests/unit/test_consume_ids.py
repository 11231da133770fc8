"""What a topic is, besides its name: two ids that differ tell of a change, and nothing else does."""

import concurrent.futures
from collections.abc import Collection

from connector.consume_ids import Answer, TopicIds, is_mark


class Cluster:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open: dict[str, Answer] = {}

    def __call__(self, topics: Collection[str]) -> dict[str, Answer]:
        self.asked.append(list(topics))
        self.open = {topic: concurrent.futures.Future() for topic in topics}
        return dict(self.open)

    def answer(self, **ids: str) -> None:
        for topic, told in ids.items():
            self.open[topic].set_result(told)


def test_nothing_is_asked_where_nothing_is_read_and_each_topic_once() -> None:
    cluster = Cluster()
    ids = TopicIds(cluster)
    ids.ask([])
    ids.ask(["b", "a", "b"])
    assert cluster.asked == [["a", "b"]]


def test_a_change_is_told_once_and_only_between_two_answers() -> None:
    cluster = Cluster()
    ids = TopicIds(cluster)
    ids.ask(["a"])
    assert ids.changes() == set()  # no answer yet
    cluster.answer(a="here/1")
    assert ids.changes() == set()
    for told, changed in (("here/1", set()), ("", set()), ("here/2", {"a"}), ("here/2", set())):
        ids.ask(["a"])
        cluster.answer(a=told)
        assert ids.changes() == changed
        assert ids.changes() == set()


def test_an_answer_that_was_settled_before_is_told_all_the_same() -> None:
    cluster = Cluster()
    ids = TopicIds(cluster)
    for told in ("here/1", "here/2"):
        ids.ask(["a"])
        cluster.answer(a=told)
        ids.settle(1.0)
    assert ids.mark("a") == "topic=here/2"
    assert ids.changes() == {"a"}


def test_what_was_forgotten_has_not_changed_and_its_late_answer_is_nobodys() -> None:
    cluster = Cluster()
    ids = TopicIds(cluster)
    for told in ("here/1", "here/2"):
        ids.ask(["a"])
        cluster.answer(a=told)
        ids.settle()
    ids.ask(["a"])
    ids.forget(["a", "never known"])
    cluster.answer(a="here/3")
    assert ids.changes() == set()
    assert ids.mark("a") == ""


def test_an_offset_is_strange_only_with_another_id_of_this_cluster() -> None:
    cluster = Cluster()
    ids = TopicIds(cluster)
    assert not ids.strange("a", "topic=here/1")  # nobody told yet what it is
    ids.ask(["a"])
    cluster.answer(a="here/2")
    ids.settle()
    assert ids.strange("a", "topic=here/1")
    assert not any(ids.strange("a", mark) for mark in ("topic=here/2", "topic=there/1", "here/1", "", None))
    assert [is_mark(text) for text in ("topic=here/1", "here/1", "", None)] == [True, False, False, False]
