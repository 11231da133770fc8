import asyncio
import confluent_kafka, pytest
from connector.model import TopicPartition
from connector.sandbox.eventbridge import EventBridge
from tests.kafka.cluster import Kafka
from tests.kafka.inside import inside, config, until
pytestmark = pytest.mark.broker

async def test_proof(kafka: Kafka) -> None:
    topic = kafka.topic(); tp = TopicPartition(topic, 0); place = [confluent_kafka.TopicPartition(topic, 0)]
    await asyncio.to_thread(kafka.produce, topic, [b'{"n":%d}' % i for i in range(20)])
    async with EventBridge(["default"]) as service:
        async with inside(kafka, config(kafka, service, [topic]), service) as daemon:
            await until(lambda: len(service.accepted) == 20)
            await until(lambda: kafka.committed(topic) == {tp: 20})
            client = daemon.app.consumer._client
            await asyncio.to_thread(client.pause, place)
            await asyncio.to_thread(kafka.delete, topic)
            await asyncio.to_thread(kafka.create, topic)
            await asyncio.to_thread(kafka.produce, topic, [b'{"new":%d}' % i for i in range(5)])
            await asyncio.to_thread(client.resume, place)
            await until(lambda: len(service.accepted) == 25)
            for _ in range(20):
                print("COMMITTED", kafka.committed(topic), "ENDS", kafka.ends(topic))
                await asyncio.sleep(0.1)
