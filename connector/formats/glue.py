"""AWS Glue Schema Registry: GetSchemaVersion by the version id that a record carries (AWS Glue API reference)."""

from typing import Any, Final

from connector.formats.schemas import Unavailable, Unknown, Written
from connector.settings import GlueRegistrySettings
from connector.targets.aws import AwsSettings, Refusal, Service, Sessions, session

_KINDS: Final = {"AVRO": "AVRO", "JSON": "JSON", "PROTOBUF": "PROTOBUF"}


class GlueRegistry:
    """The registry of one account and region."""

    def __init__(self, settings: GlueRegistrySettings, *, sessions: Sessions = session) -> None:
        self._settings = AwsSettings(
            type="glue",
            region=settings.region,
            endpoint_url=settings.endpoint_url,
            profile=settings.profile,
            role_arn=settings.role_arn,
            external_id=settings.external_id,
        ).model_copy(update={"request_timeout": settings.request_timeout})
        self._sessions = sessions

    async def fetch(self, schema: Any) -> Written | Unknown | Unavailable:
        """Ask for one schema version."""
        async with Service("glue", self._settings, sessions=self._sessions) as service:
            answer = await service.call("get_schema_version", SchemaVersionId=str(schema))
        if isinstance(answer, Refusal):
            if answer.code == "EntityNotFoundException":
                return Unknown()
            return Unavailable(f"AWS Glue: {answer.code}: {answer.message}")
        text, kind = answer.body.get("SchemaDefinition"), answer.body.get("DataFormat")
        if not isinstance(text, str) or kind not in _KINDS:
            return Unavailable("AWS Glue answered without a schema")
        return Written(_KINDS[kind], text, {})
