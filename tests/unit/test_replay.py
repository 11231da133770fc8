"""A replay counts a letter as replayed when all that it owes was acknowledged, and leaves it otherwise."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import pytest

from connector.letters.letter import CannotReplay, Letter, NoLetter, Selection, read
from connector.letters.replay import OPEN, Replay, Result, ThroughRoutes, look
from connector.letters.replayed import Replayed
from connector.mapping.problem import Position
from connector.model import Ack, Event, Record, TopicPartition, Verdict
from connector.publish import Pace
from connector.route import compile_routes
from connector.targets.dead_letter import Cause, headers_of
from tests.flow.virtual import run
from tests.flow.world import FAKE, FakeTarget, config

DEAD: Final = TopicPartition("dead", 0)
REFUSED: Final = Ack(Verdict.REJECTED, "Refused", "the service says no")
ROUTES: Final[list[dict[str, Any]]] = [
    {"name": "r", "topics": ["t1"], "targets": ["t"], "map": {"value": "${value}"}},
    {"name": "lines", "topics": ["t1"], "targets": ["t", "u"], "each": "${value.lines}", "map": {"value": "${item}"}},
]


def letter(
    at: int, value: bytes = b'{"lines": []}', route: str = "r", index: str = "", target: str = "t", **cause: Any
) -> Record:
    """A letter at an offset of the dead-letter topic, of the record at the same offset of `t1`."""
    origin = Record(TopicPartition("t1", 0), at, 0, b"k", value, (("own", b"1"),))
    event = Event(origin, route, "dead_letters", {}, f"t1-0-{at}/{route}{index}")
    words = {"stage": "TASK_PUT", "code": "Old", "message": "m", "attempts": 1, "at_ms": 5, **cause}
    return Record(DEAD, at, 0, b"k", value, headers_of(event, Cause(target=target, **words), "g"))


class FakeMember:
    """The dead-letter topic in memory, and what was committed of it."""

    def __init__(self, *records: Record) -> None:
        self.replayed = {DEAD: Replayed(0)}
        self.drain: Callable[[], Awaitable[None]]
        self.scattered = False
        self.commits: list[tuple[int, str]] = []
        self.most = 0
        self.holds(*records)

    def holds(self, *records: Record) -> None:
        """Begin again with these records."""
        self.records = list(records)
        self.ended = False

    async def take(self, count: int) -> list[Record]:
        await asyncio.sleep(0.2)
        self.most = max(self.most, count)
        taken, self.records = self.records[:count], self.records[count:]
        self.ended = not self.records
        return taken

    async def remember(self) -> None:
        self.commits.append((self.replayed[DEAD].base, self.replayed[DEAD].encode()))

    def done(self) -> list[int]:
        """What would be known after a kill: what was committed last."""
        memory = Replayed.decode(*self.commits[-1])
        return [at for at in range(50) if at in memory]


class Scene:
    """A replay over two targets with a will of their own."""

    def __init__(self, member: FakeMember, selection: Selection | None = None, **more: Any) -> None:
        routes = more.pop("routes", ROUTES)
        settings = config(routes=routes, targets={"t": {"type": "fake"}, "u": {"type": "fake"}})
        compiled, problems = compile_routes(settings, lambda path: Position("test.yaml", 1, 1), {"fake": FAKE})
        assert compiled is not None, problems
        self.targets = {"t": FakeTarget(Random(0)), "u": FakeTarget(Random(1))}
        self.way = ThroughRoutes(compiled, dict(self.targets))
        self.member = member
        self.selection = selection or Selection()
        self.more = more
        self.replay: Replay

    async def run(self) -> Result:
        self.replay = Replay(
            self.way,
            self.member,
            "g",
            self.selection,
            paces=dict.fromkeys(self.targets, Pace()),
            skips=lambda route: self.more.get("skips", False),
            clock=asyncio.get_running_loop().time,
            random=Random(0),
            rate=self.more.get("rate"),
            again=self.more.get("again", False),
        )
        return await self.replay.run()

    @property
    def sent(self) -> list[str]:
        """Who took what."""
        return [f"{name}:{event.id}" for name, target in self.targets.items() for event in target.took]


def test_a_letter_owes_its_own_event_to_its_own_target_and_nothing_else() -> None:
    value = b'{"lines": [1, 2, 3]}'
    scene = Scene(FakeMember(letter(0, value, "lines", "/1", "u")))
    assert run(scene.run()).replayed == 1
    assert scene.sent == ["u:t1-0-0/lines/1"]


def test_a_letter_without_a_target_owes_its_event_to_every_target_of_its_route() -> None:
    scene = Scene(FakeMember(letter(0, b'{"lines": [1, 2]}', "lines", target="", stage="TRANSFORMATION")))
    assert run(scene.run()).replayed == 1
    assert sorted(scene.sent) == ["t:t1-0-0/lines/0", "t:t1-0-0/lines/1", "u:t1-0-0/lines/0", "u:t1-0-0/lines/1"]


def test_what_is_refused_again_is_left_and_what_follows_is_remembered() -> None:
    member = FakeMember(*(letter(at) for at in range(4)))
    scene = Scene(member)
    scene.targets["t"].judge = lambda event: REFUSED if event.record.offset in (0, 2) else Ack(Verdict.DELIVERED)
    result = run(scene.run())
    assert (result.replayed, dict(result.left)) == (2, {("r", "Refused"): 2})
    assert member.done() == [1, 3]


def test_nothing_is_remembered_before_its_acknowledgement() -> None:
    member = FakeMember(*(letter(at) for at in range(3)))
    scene = Scene(member)
    scene.targets["t"].pause = lambda: 5.0
    result = run(scene.run())
    assert result.replayed == 3
    assert member.commits[0] == (0, "")  # some seconds in, while the call is out
    assert member.done() == [0, 1, 2]


def test_a_letter_of_several_events_is_left_when_one_of_them_is_refused() -> None:
    scene = Scene(FakeMember(letter(0, b'{"lines": [1, 2]}', "lines", target="t", stage="TRANSFORMATION")))
    scene.targets["t"].judge = lambda event: REFUSED if event.id.endswith("/1") else Ack(Verdict.DELIVERED)
    result = run(scene.run())
    assert (result.replayed, dict(result.left)) == (0, {("lines", "Refused"): 1})


def test_what_the_config_lets_go_counts_as_done() -> None:
    member = FakeMember(letter(0))
    scene = Scene(member, skips=True)
    scene.targets["t"].judge = lambda event: REFUSED
    assert run(scene.run()).left == {}
    assert member.done() == [0]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (letter(0, b"not JSON", stage="VALUE_CONVERTER"), "NotJSON"),
        (letter(0, route="gone"), "NoRoute"),
        (letter(0, b"{}", route="lines", stage="TRANSFORMATION"), "MissingField"),
        (letter(0, b'{"lines": []}', route="lines"), "NotTaken"),
        (letter(0, b'"unpublishable"'), "Unpublishable"),
    ],
)
def test_what_cannot_be_made_now_is_left_with_the_reason(record: Record, code: str) -> None:
    scene = Scene(FakeMember(record))
    result = run(scene.run())
    assert [found for _, found in result.left] == [code]
    assert scene.sent == []
    dry = look([record], lambda tp: Replayed(0), scene.way, "g", Selection())
    assert (dry.left, dry.reasons) == (result.left, result.reasons)


def test_only_what_is_selected_is_sent_and_the_rest_waits_for_its_own_run() -> None:
    records = [letter(0), letter(1, code="Other"), letter(2, at_ms=9), letter(3, target="u")]
    member = FakeMember(*records)
    result = run(Scene(member, Selection(codes=frozenset({"Old"}), targets=frozenset({"t"}), until_ms=9)).run())
    assert (result.replayed, result.others, member.done()) == (1, 3, [0])
    member.holds(*records)
    result = run(Scene(member, Selection(since_ms=9)).run())
    assert (result.replayed, member.done()) == (1, [0, 2])
    member.holds(*records)
    result = run(Scene(member).run())
    assert (result.replayed, result.before, len(result.left)) == (1, 2, 1)  # u takes nothing of route r
    assert member.done() == [0, 1, 2]


def test_the_rate_is_kept_and_room_is_bounded() -> None:
    async def timed() -> tuple[float, Result]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await scene.run()
        return loop.time() - began, result

    scene = Scene(FakeMember(*(letter(at) for at in range(100))), rate=10.0)
    took, result = run(timed())
    assert result.replayed == 100
    assert 8.0 < took < 12.0
    scene = Scene(FakeMember(*(letter(at) for at in range(1000))))
    assert run(timed())[1].replayed == 1000
    assert scene.member.most <= OPEN


def test_a_stop_while_a_target_holds_ends_in_time_and_says_what_was_under_way() -> None:
    async def stopped() -> Result:
        replay = asyncio.ensure_future(scene.run())
        await asyncio.sleep(30.0)
        assert scene.replay.held == ["t holds: AccessDenied"]
        scene.replay.stop()
        return await asyncio.wait_for(replay, 15.0)

    member = FakeMember(letter(0), letter(1))
    scene = Scene(member)
    scene.targets["t"].judge = lambda event: Ack(Verdict.HOLD, "AccessDenied")
    result = run(stopped())
    assert (result.replayed, result.unfinished, member.done()) == (0, 2, [])


def test_a_memory_that_no_commit_could_carry_stops_the_run() -> None:
    member = FakeMember(*(letter(at) for at in range(5)))
    member.scattered = True
    scene = Scene(member, rate=1.0)
    result = run(scene.run())
    assert "Kafka's commits can carry no longer list" in result.stopped
    assert result.replayed < 5


def test_partitions_that_are_taken_away_end_the_run_in_words_with_what_was_done() -> None:
    class Loses(FakeMember):
        async def take(self, count: int) -> list[Record]:
            if len(self.commits) >= 1:
                raise CannotReplay("another replay has joined")
            return await super().take(min(count, 2))

    member = Loses(*(letter(at) for at in range(100)))
    result = run(Scene(member).run())
    assert result.stopped == "another replay has joined"
    assert 0 < result.replayed < 100


def test_a_letter_read_back_is_the_record_that_it_was_under_its_first_id() -> None:
    found = read(letter(3, route="lines", index="/7"), "g")
    assert isinstance(found, Letter)
    assert (found.origin.tp, found.origin.offset) == (TopicPartition("t1", 0), 3)
    assert found.origin.headers == (("own", b"1"), ("__connector.errors.id", b"t1-0-3/lines/7"))
    assert (found.route, found.target, found.id, found.at_ms) == ("lines", "t", "t1-0-3/lines/7", 5)


def test_a_record_that_was_buried_by_somebody_else_or_for_its_size_is_no_letter() -> None:
    assert isinstance(read(letter(0), "another group"), NoLetter)
    assert isinstance(read(Record(DEAD, 0, 0, None, b"", ()), "g"), NoLetter)
    reference = letter(0)
    bare = Record(DEAD, 0, 0, None, None, (*reference.headers, ("__connector.errors.reference", b"t1/0/0")))
    found = read(bare, "g")
    assert isinstance(found, NoLetter)
    assert "its bytes are at t1/0/0" in found.reason
