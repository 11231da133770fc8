"""The dead-letter topics read: all of them for a look, or as the one member of the group that remembers a replay.

The member joins by subscription, so that two replays cannot have one partition at once, and the group's offsets with
their metadata are the memory (`connector.letters.replayed`).
"""

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from connector.consume_ids import TopicIds, is_mark, topic_ids
from connector.consume_sample import ASK, CannotSample, Quiet, Sample, place_of, record_of
from connector.kafka_properties import client_config
from connector.letters.letter import CannotReplay
from connector.letters.replayed import METADATA_BYTES, Replayed
from connector.model import Record, TopicPartition
from connector.settings import KafkaSettings, Settings

_TURN: Final = 0.2
_IDS: Final = 2.0
"""Seconds that brokers may take to tell what a topic is; where they do not, nothing has changed."""
_JOIN: Final = 60.0
"""Seconds that joining the group may take; a member that was killed is missed after its session, 45 s by default."""
_DRAIN: Final = 10.0
_COMMITS: Final = 6
"""Tries of one commit, half a second apart: a coordinator that moves is back by then."""
_ENDS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""What ends a replay; whatever else is wrong the client mends by itself, and the offsets wait."""
_CONNECTION: Final = (
    "bootstrap.",
    "client.id",
    "security.",
    "sasl.",
    "ssl.",
    "https.",
    "oauth_cb",
    "logger",
    "socket.",
)
"""Beginnings of the properties that an admin client needs too."""


def _cluster(settings: Settings) -> KafkaSettings:
    """The cluster of the dead letters, with the group that remembers what was replayed."""
    cluster = settings.dead_letter_cluster
    return KafkaSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        client_id=cluster.client_id,
        auth=cluster.auth,
        properties=cluster.properties,
        group_id=f"{settings.kafka.group_id}-replay",
    )


def everything(settings: Settings, topics: Iterable[str], seconds: float, notes: list[str]) -> Iterator[Record]:
    """Every record of these topics, joining no group.

    Raises:
        CannotReplay: no broker answers, or none lets us read.
    """
    sample = Sample(_cluster(settings), topics, None, seconds)
    try:
        yield from sample
    except CannotSample as error:
        raise CannotReplay(str(error)) from None
    notes += sample.notes


def memory(settings: Settings, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Replayed]:
    """What the group remembers of these partitions, asked without joining it.

    Raises:
        CannotReplay: no broker answers.
    """
    tps = list(tps)
    client = confluent_kafka.Consumer({**client_config(_cluster(settings)), "logger": Quiet()})
    try:
        return _remembered(client, tps, lambda: _ids(settings, {tp.topic for tp in tps}))
    except KafkaException as error:
        raise CannotReplay(_said(error.args[0])) from None
    finally:
        client.close()


def _ids(settings: Settings, topics: Iterable[str]) -> TopicIds:
    """What these topics are now: what is remembered of one that was deleted and made anew says nothing."""
    ids = topic_ids(_cluster(settings))
    ids.ask(topics)
    ids.settle(_IDS)
    return ids


def _remembered(
    client: confluent_kafka.Consumer, tps: list[TopicPartition], ids: Callable[[], TopicIds]
) -> dict[TopicPartition, Replayed]:
    found: dict[TopicPartition, Replayed] = {}
    places = client.committed([Place(*tp) for tp in tps], timeout=ASK * 2) if tps else []
    now = ids() if any(is_mark(place.metadata) for place in places) else None
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
        tp, metadata = TopicPartition(place.topic, place.partition), place.metadata or ""
        mark, _, runs = metadata.partition(" ") if is_mark(metadata) else ("", "", metadata)
        known = place.offset >= 0 and not (now is not None and now.strange(tp.topic, mark))
        found[tp] = Replayed.decode(place.offset, runs) if known else Replayed(0)
    return found


def _said(error: KafkaError) -> str:
    return f"{error.name()}: {error.str()}"


class Letters:
    """The one member that replays: it owns every partition of the topics, or nothing is replayed.

    Invariant: all calls to the client are made in one thread. What is committed is what `Replayed` says, in the epoch
    in which the partitions were ours; once one of them is taken from us, `take` raises.
    """

    def __init__(self, settings: Settings, topics: Iterable[str], *, again: bool = False) -> None:
        """`again` reads from the beginning, also what is remembered as replayed."""
        self.replayed: dict[TopicPartition, Replayed] = {}
        self.ended = False
        self.scattered = False  # whether what is remembered above the offsets grows towards what a commit can carry
        self.drain: Callable[[], Awaitable[None]] = _nothing_to_drain
        self._settings = settings
        self._ids: TopicIds
        self._topics = sorted(topics)
        self._config: dict[str, Any] = {
            **client_config(_cluster(settings)),
            "session.timeout.ms": 10_000,  # how long a replay that was killed keeps the next one waiting
            "enable.partition.eof": True,  # how a partition says that it has no more
            "logger": Quiet(),
        }
        self._client: Any = None  # a confluent_kafka.Consumer, once we join
        self._loop: asyncio.AbstractEventLoop
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "letters")
        self._again = again
        self._lows: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._remembered: dict[TopicPartition, tuple[int, str]] = {}  # as committed last
        self._left: set[TopicPartition] = set()
        self._ours = False
        self._gone = ""
        self._paused = True

    async def _call(self, step: Callable[..., Any], *args: Any) -> Any:
        try:
            return await self._loop.run_in_executor(self._thread, step, *args)
        except KafkaException as error:
            raise CannotReplay(_said(error.args[0])) from None

    # the thread's side

    def _join(self) -> None:
        self._alone()
        client = self._client = confluent_kafka.Consumer(self._config)
        known = client.list_topics(timeout=ASK).topics
        for name in self._topics:
            topic = known.get(name)
            if topic is None or topic.error is not None:
                raise CannotReplay(f"there is no topic {name} that we may see: create it, or grant Describe and Read")
            for number in topic.partitions:
                tp = TopicPartition(name, number)
                low, high = client.get_watermark_offsets(Place(*tp), timeout=ASK)
                self._lows[tp], self._ends[tp] = low, high
                self.replayed[tp] = Replayed(low)
        self._left = set(self._ends)
        self._ids = _ids(self._settings, self._topics)
        client.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _alone(self) -> None:
        """Look for another replay first: joining would take partitions from it."""
        admin = AdminClient({name: value for name, value in self._config.items() if name.startswith(_CONNECTION)})
        try:
            found = admin.list_groups(self._config["group.id"], timeout=ASK)
        except KafkaException:
            return  # who may not look finds out by joining
        if any(group.members for group in found):
            raise CannotReplay(
                "another replay of this group runs, or was killed some seconds ago: wait for its end, or stop it"
            )

    def _assigned(self, client: confluent_kafka.Consumer, places: list[Place]) -> None:
        mine = {TopicPartition(place.topic, place.partition) for place in places}
        if not self._ours and mine != set(self._ends):
            self._gone = "another replay of this group is running: wait for its end, or stop it"
            return
        if not self._ours:
            for tp, known in _remembered(client, sorted(mine), lambda: self._ids).items():
                if known.base <= self._ends[tp]:  # else it is of another topic, and the brokers know no ids
                    self._remembered[tp] = known.base, self._metadata(tp.topic, known)
                    known.expire(self._lows[tp])
                    self.replayed[tp] = known
            self._ours = True
        starts = self._lows if self._again else {tp: known.base for tp, known in self.replayed.items()}
        client.incremental_assign([Place(*tp, starts[tp]) for tp in mine])
        client.pause(places)  # until records are asked for
        self._paused = True

    def _revoked(self, client: confluent_kafka.Consumer, places: list[Place]) -> None:
        if self._ours and not self._gone:
            self._gone = "another replay has joined the group and takes over: what was acknowledged is remembered"
            drained = asyncio.run_coroutine_threadsafe(self._drained(), self._loop)
            try:
                _commit(client, drained.result(_DRAIN + 1))
            except (TimeoutError, KafkaException):
                self._gone = "another replay has joined the group: some of the last letters may be replayed twice"

    def _lost(self, client: confluent_kafka.Consumer, places: list[Place]) -> None:
        if self._ours and not self._gone:
            self._gone = "the group took the partitions away; some of the last letters may be replayed twice"

    async def _drained(self) -> dict[TopicPartition, tuple[int, str]]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                await self.drain()
        return self._news()

    def _news(self) -> dict[TopicPartition, tuple[int, str]]:
        now = {tp: (known.base, self._metadata(tp.topic, known)) for tp, known in self.replayed.items()}
        return {tp: at for tp, at in now.items() if self._remembered.get(tp) != at}

    def _metadata(self, topic: str, known: Replayed) -> str:
        return f"{self._ids.mark(topic)} {known.encode()}".strip()

    def _poll(self, count: int) -> list[Record]:
        if self._paused != (count == 0):
            self._paused = count == 0
            places = [Place(*tp) for tp in self._left]
            (self._client.pause if self._paused else self._client.resume)(places)
        found = []
        for message in self._client.consume(max(count, 1), _TURN):
            tp, error = place_of(message), message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._left.discard(tp)
                elif error.fatal() or error.code() in _ENDS:
                    raise KafkaException(error)
                continue
            record = record_of(tp, message)
            if record.offset >= self._ends[tp]:  # it came after we began
                self._left.discard(tp)
                continue
            if record.offset == self._ends[tp] - 1:
                self._left.discard(tp)
            found.append(record)
        return found

    def _commit(self, news: Mapping[TopicPartition, tuple[int, str]]) -> bool:
        if not self._ours or self._gone:
            return False
        for _ in range(_COMMITS - 1):
            try:
                _commit(self._client, news)
            except KafkaException:
                time.sleep(0.5)
            else:
                return True
        _commit(self._client, news)
        return True

    # the loop's side

    async def joined(self) -> None:
        """Join the group and read its memory.

        Raises:
            CannotReplay: no broker answers, a topic is not there, or another replay is running.
        """
        self._loop = asyncio.get_running_loop()
        await self._call(self._join)
        deadline = self._loop.time() + _JOIN
        while not self._ours:
            if self._loop.time() > deadline:
                raise CannotReplay(f"the group did not let us in within {_JOIN:g} s")
            await self.take(0)

    async def take(self, count: int) -> list[Record]:
        """Up to `count` records in the order of their partitions; 0 only stays in the group for a moment.

        Raises:
            CannotReplay: the partitions are no longer ours.
        """
        records: list[Record] = await self._call(self._poll, count)
        if self._gone:
            raise CannotReplay(self._gone)
        self.ended = self._ours and not self._left
        return records

    async def remember(self) -> None:
        """Commit what was replayed so far.

        Raises:
            CannotReplay: Kafka does not take it.
        """
        news = self._news()
        if news and await self._call(self._commit, news):
            before = {tp: len(metadata) for tp, (_, metadata) in self._remembered.items()}
            self.scattered = any(
                len(metadata) > max(METADATA_BYTES // 2, before.get(tp, 0)) for tp, (_, metadata) in news.items()
            )
            self._remembered |= news

    async def leave(self) -> None:
        """Leave the group."""
        self._gone = self._gone or "this replay has ended"
        if self._client is not None:
            await self._call(self._client.close)
        self._thread.shutdown(wait=False)


def _commit(client: confluent_kafka.Consumer, news: Mapping[TopicPartition, tuple[int, str]]) -> None:
    if news:
        places = [Place(*tp, offset, metadata) for tp, (offset, metadata) in news.items()]
        for place in client.commit(offsets=places, asynchronous=False) or ():
            if place.error is not None:
                raise KafkaException(place.error)


async def _nothing_to_drain() -> None:
    return None


@asynccontextmanager
async def member(settings: Settings, topics: Iterable[str], *, again: bool = False) -> AsyncIterator[Letters]:
    """The one member that replays these topics, for the length of a block."""
    letters = Letters(settings, topics, again=again)
    try:
        await letters.joined()
        yield letters
    finally:
        await letters.leave()
