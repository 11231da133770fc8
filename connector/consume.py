"""The Kafka edge: one thread owns the client, and everything between it and the loop is handed over in order."""

import asyncio
import concurrent.futures
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, Protocol, overload

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from connector.client_statistics import read
from connector.consume_ids import TopicIds, is_mark, topic_ids
from connector.edge import ConsumerFailed, Drained, Handover, Partitions, fault
from connector.kafka_properties import client_config
from connector.model import Record, TopicPartition
from connector.offsets import RETRY, Offsets
from connector.room import Credit, Owned, Room
from connector.settings import KafkaSettings, Settings
from connector.topics import Topics
from connector.trouble import Connection, Troubles

__all__ = ["Client", "Consumer", "ConsumerFailed", "Credit", "Drained", "Partitions"]

POLL: Final = 0.1  # seconds; every call of the client is on one thread, so a longer one would delay the commands
BREATH: Final = 0.02  # seconds to wait for a command while there is no room
ASK: Final = 5.0  # seconds that one question to the brokers may take
GRACE: Final = 1.0  # seconds beyond the drain deadline that the thread waits for the loop's answer
LOOK: Final = 1.0  # seconds between two looks at the positions of partitions that bring nothing
REFRESH: Final = 60.0  # seconds between two looks at the cluster's topics
REFRESH_SOON: Final = 1.0  # seconds after a look that failed; doubles up to REFRESH
TOGETHER: Final = 1000  # partitions of which the brokers are asked in one question
STALLED: Final = 60.0  # seconds without a confirmed commit, while something could be, until intake stops
STATISTICS: Final = 5.0  # seconds between two statistics

_RESET: Final = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
_UNREADABLE: Final = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.INVALID_MSG,
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
}
"""The client goes on behind what it cannot read; a position beyond it would commit records that nobody saw."""
_REFUSED: Final = {KafkaError._AUTHENTICATION, KafkaError._SSL}
_NOT_A_MEMBER: Final = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError._FATAL,
}
"""Refusals of a commit that no retry inside a revoke can mend."""


class Client(Protocol):
    """The part of confluent_kafka.Consumer that is used here; times in seconds."""

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None: ...
    def poll(self, timeout: float) -> Message | None: ...
    def consume(self, num_messages: int, timeout: float) -> list[Message]: ...
    def incremental_assign(self, partitions: list[Place]) -> None: ...
    def pause(self, partitions: list[Place]) -> None: ...
    def resume(self, partitions: list[Place]) -> None: ...
    def incremental_unassign(self, partitions: list[Place]) -> None: ...
    def position(self, partitions: list[Place]) -> list[Place]: ...
    def committed(self, partitions: list[Place], timeout: float) -> list[Place]: ...
    def offsets_for_times(self, partitions: list[Place], timeout: float) -> list[Place]: ...
    def get_watermark_offsets(self, partition: Place, timeout: float) -> tuple[int, int]: ...
    def list_topics(self, *, timeout: float) -> Any: ...
    @overload
    def commit(self, *, offsets: list[Place], asynchronous: Literal[True]) -> None: ...
    @overload
    def commit(self, *, offsets: list[Place], asynchronous: Literal[False]) -> list[Place]: ...
    def unsubscribe(self) -> None: ...
    def close(self) -> None: ...


class Consumer:
    """The consumer thread, and the commands that the loop may give it.

    Invariant: only the thread calls the client, and no callback of ours lets an exception into it, because the client
    then drops what it had popped. Records reach the loop in poll order before any later word about their partition. A
    commit is sent only for a partition that is ours, in the epoch that the loop names. After any fault nothing more is
    committed and the client is not closed: what was not committed is read again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        partitions: Partitions,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        client: Callable[[dict[str, Any]], Client] = confluent_kafka.Consumer,
        ids: Callable[[KafkaSettings], TopicIds] = topic_ids,
        pause: Callable[[float], None] = time.sleep,
        statistics: float = STATISTICS,
        refresh: float = REFRESH,
    ) -> None:
        """`client` makes one from its properties, `ids` tells what topics are; `pause` waits inside a revoke.

        `statistics` and `refresh` in seconds.
        """
        self._handover = Handover(loop)
        self._post = self._handover.post
        self.finished = self._handover.finished
        """Done when the thread has left the group; ConsumerFailed when it could not go on."""
        self.turned_at = clock()
        """When the thread last turned, in seconds of the clock."""
        self.callback_until: float | None = None
        """While the thread is inside a bounded callback: when that ends at the latest."""
        self._kafka = settings.kafka
        self._drain_timeout = settings.drain_timeout
        self._partitions = partitions
        self._clock = clock
        self._make_client = client
        self._make_ids = ids
        self._pause = pause
        self._statistics = statistics
        self._refresh = refresh
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._client: Client
        self._ids: TopicIds
        self._topics = Topics(topic for route in settings.routes for topic in route.topics)
        self._troubles = Troubles(partial(self._post, partitions.trouble), partial(self._post, partitions.recovered))
        self._connection = Connection(self._troubles)
        self._room = Room()
        self._offsets = Offsets()
        self._epoch = 0
        self._subscribed: tuple[str, ...] = ()
        self._refresh_at = self._look_at = self._ids_at = clock()
        self._refresh_pause = REFRESH_SOON
        # Partitions that were there at our first look, while it is open whether this is the group's first start.
        self._first: frozenset[TopicPartition] | None = None
        self._resets: dict[TopicPartition, int | None] = {}
        self._together = TOGETHER
        self._joined = self._stopped = self._leaving = self._left = False
        self._log = structlog.get_logger("connector.consume")

    # commands, from the loop

    def start(self) -> None:
        """Start the thread; it makes the client and joins the group."""
        self._thread.start()

    def grant(self, credit: Credit) -> None:
        """Let the thread take records up to these totals."""
        self._queue.put(partial(self._room.grant, credit))

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Commit (offset, epoch) by partition; the answer comes by `committed`, refusals are tried again."""
        self._queue.put(lambda: self._offsets.want(offsets, self._ours, self._clock()))

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on, names and patterns; what is no longer among them is revoked as usual."""
        self._queue.put(partial(self._read, Topics(topics)))

    def stop_taking(self) -> None:
        """Pause everything, also what is assigned later, and keep polling."""
        self._queue.put(partial(setattr, self, "_stopped", True))

    def close(self) -> None:
        """Leave the group as soon as every commit is confirmed. Nothing is drained any more."""
        self._queue.put(partial(setattr, self, "_leaving", True))

    @property
    def stalled(self) -> bool:
        """Whether intake stands still because no commit was confirmed for STALLED seconds while something could be."""
        since = self._offsets.since
        return since is not None and self._clock() - since >= STALLED

    def _inside(self, step: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback of the client: what it raises ends the thread after the poll, never leaves the callback."""

        def callback(*args: Any) -> None:
            try:
                if self._handover.failure is None:
                    step(*args)
            except BaseException as error:  # noqa: BLE001 - the client would drop the records it had popped
                self._handover.fail(_failure(error))
            finally:
                self.callback_until = None

        return callback

    # the thread

    def _run(self) -> None:
        try:
            self._client = self._make_client(self._properties())
            self._ids = self._make_ids(self._kafka)
            while not self._left:
                self._turn(self._client)
        except BaseException as error:  # noqa: BLE001 - whatever it is ends the thread, and is told by `finished`
            self._abandon()
            self._handover.fail(_failure(error))
        self._handover.end()

    def _abandon(self) -> None:
        """Keep the client from ever being destroyed, not even when the process ends.

        What is neither closed nor referenced is closed by its destructor, and after a fault that may never return: the
        garbage collector would hang whichever thread it runs in, and the process would not end.
        """
        if hasattr(self, "_client"):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._client))

    def _properties(self) -> dict[str, Any]:
        return {
            **client_config(self._kafka, partial(self._connection.broke, "MSK_TOKEN")),
            "statistics.interval.ms": int(self._statistics * 1000),
            "error_cb": self._inside(self._on_error),
            "stats_cb": self._inside(self._on_statistics),
            "on_commit": self._inside(self._on_commit),
            "logger": _LIBRARY,
        }

    def _turn(self, client: Client) -> None:
        self.turned_at = now = self._clock()
        self._serve()
        self._handover.check()
        if not self._stopped and not self._leaving:
            self._look_for_topics(client, now)
            self._look_at_ids(now)
            self._reset(client)
        self._send(client, now)
        self._gate(client, now)
        if fit := self._room.fit():
            found = self._take(client, fit)
            self._handover.check()
            self._hand_over(client, found)
            self._look_at_positions(client, now)
        else:
            self._serve(BREATH)
        if self._leaving and not self._offsets.busy:
            # A cooperative member that owns nothing would leave without a word (librdkafka 2.16), and no rebalance
            # could end before its session did.
            client.unsubscribe()
            client.close()
            self._handover.check()
            self._left = True

    def _serve(self, wait: float = 0.0) -> None:
        try:
            if wait:
                self._queue.get(timeout=wait)()
            while True:
                self._queue.get_nowait()()
        except queue.Empty:
            return

    def _ours(self, tp: TopicPartition, epoch: int) -> bool:
        mine = self._room.owned.get(tp)
        return mine is not None and mine.epoch == epoch

    # topics

    def _read(self, topics: Topics) -> None:
        self._topics = topics
        self._refresh_at = self._clock()

    def _look_for_topics(self, client: Client, now: float) -> None:
        if now < self._refresh_at:
            return
        there: dict[str, Any] = {}
        first_latest = self._kafka.auto_offset_reset == "latest" and not self._subscribed and not self._joined
        missing = [name for name in self._subscribed if _missing(name) in self._troubles]
        if self._topics.patterns or first_latest or missing:
            try:
                known = client.list_topics(timeout=ASK).topics
            except KafkaException as error:
                self._troubles.say(
                    "METADATA", f"cannot list the cluster's topics: {self._connection.words(error.args[0].str())}"
                )
                self._refresh_at = now + self._refresh_pause
                self._refresh_pause = min(self._refresh_pause * 2, self._refresh)
                return
            there = {name: topic for name, topic in known.items() if topic.error is None}
        self._troubles.clear("METADATA", *map(_missing, there))
        self._refresh_at, self._refresh_pause = now + self._refresh, REFRESH_SOON
        wanted = self._topics.resolve(there)
        if not wanted:
            self._troubles.say("NO_TOPICS", f"no topic of the cluster matches {self._topics}")
            if self._subscribed and not self._topics.resolve(self._subscribed):
                client.unsubscribe()  # a reload took away all that was read
                self._subscribed = ()
            return
        self._troubles.clear("NO_TOPICS")
        if first_latest:
            self._first = frozenset(
                TopicPartition(name, partition)
                for name in wanted
                if name in there
                for partition in there[name].partitions
            )
        if wanted != self._subscribed:
            self._subscribed = wanted
            client.subscribe(
                list(wanted),
                on_assign=self._inside(self._on_assign),
                on_revoke=self._inside(self._on_revoke),
                on_lost=self._inside(self._on_lost),
            )

    def _look_at_ids(self, now: float) -> None:
        """Begin a topic that was made anew at its first record."""
        if now >= self._ids_at:
            self._ids_at = now + self._refresh
            self._ids.ask(tp.topic for tp in self._room.owned)
        if changed := self._ids.changes():
            for tp, mine in self._room.owned.items():
                if tp.topic in changed and not mine.held and not self._refuses(tp):
                    self._restart(tp, mine, 0)
                    self._resets[tp] = None

    def _refuses(self, tp: TopicPartition) -> bool:
        """Hold a partition of a topic made anew, where the config wants no reset."""
        if refuses := self._kafka.auto_offset_reset == "error":
            mend = "delete the group's offsets of the topic, or set kafka.auto_offset_reset"
            self._hold(tp, "TOPIC_MADE_ANEW", f"{tp} is of a topic made anew, and its offset of the old one; {mend}")
        return refuses

    def _restart(self, tp: TopicPartition, mine: Owned, offset: int) -> None:
        self._epoch += 1
        mine.restart(self._epoch)
        self._post(self._partitions.restarted, self._epoch, tp, offset)

    # taking

    def _gate(self, client: Client, now: float) -> None:
        if stalled := self.stalled:
            self._troubles.say("COMMIT_STALLED", f"no commit was confirmed for {STALLED:g} s: nothing more is taken")
        else:
            self._troubles.clear("COMMIT_STALLED")
        stop, go = self._room.turn(now, self._stopped or self._leaving or stalled)
        if stop:
            client.pause(_places(stop))
        if go:
            client.resume(_places(go))

    def _take(self, client: Client, fit: int) -> list[tuple[Message, int]]:
        """Return what came, each with the epoch before the call that popped it.

        A rebalance may happen inside a call. Then a record that was popped before it must not pass for one of the new
        assignment: it would be opened ahead of records that are still to come.
        """
        epoch = self._epoch
        first = client.poll(POLL)
        if first is None:
            return []
        found = [(first, epoch)]
        if fit > 1 and self._handover.failure is None:
            epoch = self._epoch
            found += [(message, epoch) for message in client.consume(fit - 1, 0)]
        return found

    def _hand_over(self, client: Client, found: Iterable[tuple[Message, int]]) -> None:
        records: list[Record] = []
        for message, epoch in found:
            error = message.error()
            if error is not None:
                self._on_message_error(message, error)
                continue
            tp = _place_of(message)
            mine = self._room.owned.get(tp)
            if mine is None or mine.assigned > epoch or mine.held or tp in self._resets:
                continue  # not committed either: who owns it next reads it
            try:
                record = _record(tp, message)
            except UnicodeDecodeError:
                self._hold(tp, "HEADERS", f"the name of a header of {tp}@{message.offset()} is not UTF-8")
                continue
            if record.offset <= mine.last or record.offset < mine.told:
                self._flush(records, {})
                records = []
                self._restart(tp, mine, record.offset)
            mine.saw(record.offset, message.leader_epoch())
            records.append(record)
        if records:
            tps = {record.tp for record in records}
            for topic in {tp.topic for tp in tps}:
                self._troubles.clear(*self._troubles.about(topic))
            self._flush(records, self._positions(client, tps))

    def _flush(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> None:
        owned = self._room.owned
        records = [record for record in records if record.tp in owned]
        for record in records:
            self._room.took(record.tp, record.size)
        epochs = {tp: owned[tp].epoch for tp in {*positions, *(record.tp for record in records)}}
        if epochs:
            self._post(self._partitions.taken, epochs, records, positions)

    def _positions(self, client: Client, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """How far the client has come, where that is news. Every record before it was handed over by now."""
        owned = self._room.owned
        asked = [tp for tp in tps if tp in owned and not owned[tp].held and tp not in self._resets]
        news = {}
        for place in client.position(_places(asked)) if asked else ():
            tp = TopicPartition(place.topic, place.partition)
            if place.error is None and place.offset > owned[tp].told:
                news[tp] = owned[tp].told = place.offset
        return news

    def _look_at_positions(self, client: Client, now: float) -> None:
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._flush((), self._positions(client, self._room.owned))

    # what a message may say instead of being one

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        code, topic, partition = error.code(), message.topic() or "", message.partition()
        if error.fatal() or code == KafkaError._FATAL:
            raise ConsumerFailed(_name(error), error.str())
        if code == KafkaError._MAX_POLL_EXCEEDED:
            self._let_go(list(self._room.owned))  # the group has given them away, whether `on_lost` comes or not
            return
        tp = TopicPartition(topic, -1 if partition is None else partition)
        mine = self._room.owned.get(tp)
        if code in _RESET or code in _UNREADABLE:
            if mine is not None and not mine.held:
                self._stray(tp, message.offset(), error)
        elif code != KafkaError._PARTITION_EOF:
            self._troubles.say(f"{_name(error)} {topic or self._kafka.group_id}", error.str())

    def _stray(self, tp: TopicPartition, offset: int | None, error: KafkaError) -> None:
        at = "" if offset is None else f" at offset {offset}"
        if error.code() in _UNREADABLE:
            self._hold(tp, _name(error), f"{tp} cannot be read{at}: {error.str()}")
        elif self._kafka.auto_offset_reset == "error":
            mend = "commit an offset for the group, or set kafka.auto_offset_reset"
            self._hold(tp, _name(error), f"{tp} has no offset to go on from{at}: {error.str()}; {mend}")
        else:
            self._resets[tp] = offset

    def _hold(self, tp: TopicPartition, code: str, reason: str) -> None:
        self._room.hold(tp, reason)
        self._troubles.say(f"{code} {tp}", reason)

    def _reset(self, client: Client) -> None:
        """Begin each partition that has no usable offset at its earliest record: rather again than never.

        Many are asked for together, because each question waits behind a fetch that is under way, and when a group is
        new there may be thousands. One broker that is away fails them all, so then fewer are asked for together.
        """
        asked = list(islice(self._resets, self._together))
        if not asked:
            return
        try:
            # A number, for the client takes half a second to look up OFFSET_BEGINNING for a paused partition.
            told = client.offsets_for_times([Place(*tp, OFFSET_BEGINNING) for tp in asked], timeout=ASK)
        except KafkaException as error:
            for tp in asked:
                self._troubles.say(f"RESET {tp}", self._connection.words(error.args[0].str()))
                self._resets[tp] = self._resets.pop(tp)  # behind those that were not asked for
            self._together = max(1, len(asked) // 2)
            return
        self._together = min(2 * self._together, TOGETHER)
        begun = []
        for place in told:
            tp = _key(place)
            if place.error is not None or place.offset < 0:  # -1 is the end in `assign`, and would skip all that waits
                reason = "no offset was told for its earliest record" if place.error is None else place.error.str()
                self._troubles.say(f"RESET {tp}", self._connection.words(reason))
                continue
            begun.append(Place(*tp, place.offset))
        if not begun:
            return
        # The client has given them up and refuses to seek in them: they have to be assigned anew.
        same = _places(map(_key, begun))
        client.incremental_unassign(same)
        client.incremental_assign(begun)
        client.pause(same)
        for place in begun:  # told when it is so, and not before
            tp = _key(place)
            self._room.pause(tp)
            if (was := self._resets.pop(tp)) is not None:
                self._say_reset(tp, was, place.offset)
            self._troubles.clear(f"RESET {tp}")

    def _say_reset(self, tp: TopicPartition, was: int, now: int) -> None:
        self._post(self._partitions.gone, tp, max(0, now - was))
        what = f"{now - was} records are gone" if now > was else "the topic was recreated or truncated"
        self._troubles.say(f"OFFSET_GONE {tp}", f"{tp} has no offset {was} any more: {what}; going on at {now}")
        self._troubles.clear(f"OFFSET_GONE {tp}")

    # commits

    def _send(self, client: Client, now: float) -> None:
        offsets = self._offsets.depart(self._ours, now)
        if not offsets:
            return
        try:
            client.commit(offsets=self._commit_places(offsets, self._room.owned), asynchronous=True)
        except KafkaException as error:
            self._landed(dict.fromkeys(offsets, error.args[0]))

    def _commit_places(
        self, offsets: Mapping[TopicPartition, int], owned: Mapping[TopicPartition, Owned]
    ) -> list[Place]:
        marks = {tp: self._ids.mark(tp.topic) for tp in offsets}
        return [_commit_place(tp, at, owned[tp].leader_epoch(at), marks[tp]) for tp, at in offsets.items()]

    def _on_commit(self, error: KafkaError | None, places: Sequence[Place]) -> None:
        self._landed(_refused(error, places))

    def _landed(self, refused: Mapping[TopicPartition, KafkaError]) -> None:
        for error in refused.values():
            if error.fatal():
                raise ConsumerFailed(_name(error), error.str())
        done, again = self._offsets.land(refused, self._ours, self._clock())
        for tp, offset in done.items():
            self._room.owned[tp].confirm(offset)
        if done:
            self._post(self._partitions.committed, done, "")
        if again:
            self._post(self._partitions.committed, again, _name(next(refused[tp] for tp in again)))

    def _commit_now(
        self,
        client: Client,
        offsets: Mapping[TopicPartition, int],
        gone: Mapping[TopicPartition, Owned],
        deadline: float,
    ) -> bool:
        """Commit inside a rebalance, where nothing can move on before the callback returns: try until the deadline.

        Return whether all was taken.
        """
        left = {tp: offset for tp, offset in offsets.items() if tp in gone and offset != gone[tp].confirmed}
        while left and self._handover.failure is None:
            try:
                refused = _refused(None, client.commit(offsets=self._commit_places(left, gone), asynchronous=False))
            except KafkaException as error:
                refused = dict.fromkeys(left, error.args[0])
            done = {tp: offset for tp, offset in left.items() if tp not in refused}
            if done:
                self._post(self._partitions.committed, done, "")
            left = {tp: offset for tp, offset in left.items() if tp in refused}
            if left:
                last = next(refused[tp] for tp in left)
                if last.fatal() or last.code() in _NOT_A_MEMBER or self._clock() + RETRY >= deadline:
                    self._post(self._partitions.committed, left, _name(last))
                    return False
                self._pause(RETRY)
        return not left

    # rebalances, inside poll() or consume()

    def _on_assign(self, client: Client, places: list[Place]) -> None:
        starts = self._starts(client, places) if places and self._first is not None else {}
        tps = [_key(place) for place in places]
        self._ids.forget({tp.topic for tp in tps} - {tp.topic for tp in self._room.owned})
        self._ids.ask(tp.topic for tp in tps)
        anew = self._made_anew(client, tps) if places and not starts else []
        places = [Place(*tp, starts.get(tp, at.offset)) for tp, at in zip(tps, places, strict=True)]
        client.incremental_assign(places)
        self._epoch += 1
        self._troubles.clear(*self._troubles.about(self._kafka.group_id))
        for tp in tps:
            self._resets.pop(tp, None)
            self._room.assign(tp, self._epoch)
            self._troubles.clear(*self._troubles.about(tp.topic), *self._troubles.about(str(tp)))
        if places:
            client.pause(places)  # after the assignment, or it does nothing; an old flag may stand, so it is set anew
        for tp in anew:
            if not self._refuses(tp):
                self._log.error("a topic was made anew since its offset was committed: begun again", partition=str(tp))
                self._resets[tp] = None
        if starts:
            deadline = self._clock() + self._drain_timeout
            if not self._commit_now(client, starts, {tp: Owned(self._epoch) for tp in starts}, deadline):
                raise ConsumerFailed("FIRST_START", "the positions where the group starts could not be committed")
        self._joined = True
        self._post(self._partitions.assigned, self._epoch, tps)

    def _made_anew(self, client: Client, tps: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The partitions whose committed offset counts in a topic that is no more."""
        self.callback_until = self._clock() + 2 * ASK + GRACE
        try:
            stored = client.committed(_places(tps), timeout=ASK)
        except KafkaException as error:
            self._log.warning("cannot ask whether topics were made anew", reason=error.args[0].str())
            return []
        marks = {_key(at): at.metadata for at in stored if at.offset >= 0 and is_mark(at.metadata)}
        if marks:
            self._ids.settle(ASK)
        return [tp for tp, mark in marks.items() if self._ids.strange(tp.topic, mark)]

    def _starts(self, client: Client, places: Sequence[Place]) -> dict[TopicPartition, int]:
        """Where `auto_offset_reset: latest` begins: at the end, on the group's first start and never again.

        It is the first start when the group has no offset on any partition of its topics. Then the ends of all of them
        are committed at once, those of other members too, so that whatever comes later finds an offset or begins at the
        earliest record.
        """
        first, self._first = self._first or frozenset(), None
        self.callback_until = self._clock() + ASK * (len(first) + 2)
        if not first or any(place.offset >= 0 for place in client.committed(_places(first), timeout=ASK)):
            return {}
        ends = {tp: client.get_watermark_offsets(Place(*tp), timeout=ASK)[1] for tp in sorted(first)}
        # another member may have been quicker meanwhile: what it committed stands
        return ends | {_key(at): at.offset for at in client.committed(_places(first), timeout=ASK) if at.offset >= 0}

    def _on_revoke(self, client: Client, places: Sequence[Place]) -> None:
        now = self._clock()
        gone = self._remove(map(_key, places))
        if not gone or self._leaving:
            return  # while leaving, everything that may be committed is
        deadline = self.callback_until = now + self._drain_timeout + GRACE
        done: Drained = concurrent.futures.Future()
        self._post(self._partitions.drain, list(gone), now + self._drain_timeout, done)
        try:
            offsets = done.result(self._drain_timeout + GRACE)
        except (TimeoutError, concurrent.futures.CancelledError):
            return  # the loop may still answer for them; what it has not answered for is not committed
        self._commit_now(client, offsets, gone, deadline)

    def _on_lost(self, client: Client, places: Sequence[Place]) -> None:
        self._let_go(map(_key, places))

    def _let_go(self, tps: Iterable[TopicPartition]) -> None:
        if gone := self._remove(tps):
            self._post(self._partitions.lost, list(gone))

    def _remove(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Owned]:
        gone = self._room.remove(tps)
        self._offsets.forget(gone, self._clock())
        for tp in gone:
            self._resets.pop(tp, None)
            self._troubles.clear(*self._troubles.about(str(tp)))
        return gone

    # what the client says of itself

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise ConsumerFailed(_name(error), error.str())
        if error.code() == KafkaError._TRANSPORT:
            self._connection.slipped(
                error.str()
            )  # one broker of many may be away; _ALL_BROKERS_DOWN follows if all are
        else:
            self._connection.broke(_name(error), error.str())

    def _on_statistics(self, text: str) -> None:
        told = read(text)
        self._connection.look(told.connected)
        if lags := {tp: lag for tp, lag in told.lags.items() if tp in self._room.owned}:
            self._post(self._partitions.lag, lags)
        if told.joined and not self._joined and self._kafka.group_protocol == "consumer":
            self._joined = True  # with KIP-848 a member without partitions shows nowhere else
            self._post(self._partitions.assigned, self._epoch, ())


class _Library:
    """Takes librdkafka's own log lines. They repeat themselves; what matters in them comes as a trouble, once."""

    def __init__(self) -> None:
        self._log = logging.getLogger("librdkafka")

    def log(self, level: int, text: str, *args: object) -> None:
        self._log.debug(text, *args)


_LIBRARY: Final = _Library()


def _failure(error: BaseException) -> ConsumerFailed:
    if isinstance(error, ConsumerFailed):
        return error
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        failure = ConsumerFailed(_name(error.args[0]), error.args[0].str())
        failure.__cause__ = error
        return failure
    return fault(error)


def _name(error: KafkaError) -> str:
    return str(error.name())


def _missing(topic: str) -> str:
    return f"UNKNOWN_TOPIC_OR_PART {topic}"


def _key(place: Place) -> TopicPartition:
    return TopicPartition(place.topic, place.partition)


def _places(tps: Iterable[TopicPartition]) -> list[Place]:
    return [Place(*tp) for tp in tps]


def _commit_place(tp: TopicPartition, offset: int, leader_epoch: int | None, mark: str) -> Place:
    more: dict[str, Any] = {} if leader_epoch is None else {"leader_epoch": leader_epoch}
    return Place(*tp, offset, mark, **more) if mark else Place(*tp, offset, **more)


def _refused(error: KafkaError | None, places: Iterable[Place]) -> dict[TopicPartition, KafkaError]:
    """What a commit's answer refuses, by partition: a partition's own error, else the whole answer's."""
    found = {_key(place): place.error or error for place in places}
    return {tp: wrong for tp, wrong in found.items() if wrong is not None}


def _place_of(message: Message) -> TopicPartition:
    topic, partition = message.topic(), message.partition()
    assert topic is not None  # noqa: S101 - a message without error has both
    assert partition is not None  # noqa: S101 - likewise
    return TopicPartition(topic, partition)


def _record(tp: TopicPartition, message: Message) -> Record:
    offset = message.offset()
    headers: Any = message.headers() or ()  # a list of pairs, whatever the stubs allow
    assert offset is not None  # noqa: S101 - likewise
    kind, timestamp = message.timestamp()
    return Record(
        tp,
        offset,
        -1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        message.key(),
        message.value(),
        tuple((name, value) for name, value in headers),
    )


async def ask_kafka(
    settings: Settings, client: Callable[[dict[str, Any]], Any] = confluent_kafka.Consumer
) -> list[str]:
    """For `connector check --online`: what the brokers say against the config, in words. Joins no group."""
    return await asyncio.to_thread(_ask, settings, client)


def _ask(settings: Settings, make: Callable[[dict[str, Any]], Any]) -> list[str]:
    heard: list[KafkaError] = []
    try:
        client = make({**client_config(settings.kafka), "logger": _LIBRARY, "error_cb": heard.append})
    except KafkaException as error:  # a file that is not there, a property that the client does not take
        return [f"kafka: no client can be made: {error.args[0].str()}"]
    try:
        known = client.list_topics(timeout=ASK).topics
    except KafkaException as error:
        client.poll(0)  # brings what the client said of itself, which is more than that nobody answered
        wrong = next((one for one in heard if one.code() in _REFUSED), error.args[0])
        return [f"kafka: {settings.kafka.bootstrap_servers} cannot be asked: {_name(wrong)} {wrong.str()}"]
    finally:
        client.close()
    there = {name for name, topic in known.items() if topic.error is None}
    return [
        f"kafka: routes[{i}].topics: no topic {topic} that we may see: create it, or grant Describe"
        for i, route in enumerate(settings.routes)
        for topic in route.topics
        if there.isdisjoint(Topics([topic]).resolve(there))
    ]
