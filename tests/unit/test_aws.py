"""targets/aws.py: every way a call can end is a value, and credentials are found, renewed and looked for anew."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any

import aioboto3
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    MissingDependencyException,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.httpsession import ProxyConnectionError
from moto.server import ThreadedMotoServer

from connector.model import Verdict
from connector.sandbox import faults
from connector.sandbox.eventbridge import EventBridge as Sandbox
from connector.targets.aws import (
    AssumedRole,
    AwsSettings,
    Refusal,
    Reply,
    Service,
    crt_missing,
    session,
    tidy,
    verdict,
)
from tests.contract.wire import Raw, Wire
from tests.contract.wire import session as keys

ENTRY = {"Source": "a", "DetailType": "b", "Detail": "{}"}


def settings(url: str, **more: Any) -> AwsSettings:
    return AwsSettings.model_validate({"type": "eventbridge", "endpoint_url": url, "region": "eu-west-1", **more})


async def put(service: Service) -> Reply | Refusal:
    return await service.call("put_events", Entries=[ENTRY])


async def refused(*replies: Raw) -> Refusal:
    """What the last of these replies to a call is read as."""
    async with Wire(replies) as wire, Service("events", settings(wire.url), sessions=keys) as service:
        for _ in replies:
            outcome = await put(service)
    assert isinstance(outcome, Refusal)
    return outcome


def failing(error: Exception) -> Any:
    """Sessions whose client meets this error on its way to the wire."""

    def made(_: AwsSettings) -> aioboto3.Session:
        def fail(**_: Any) -> None:
            raise error

        made = aioboto3.Session("test", "test", region_name="eu-west-1")
        made.events.register("before-send", fail)
        return made

    return made


async def test_a_reply_is_its_body_and_its_request() -> None:
    body = b'{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}'
    async with Wire([Raw(body)]) as wire, Service("events", settings(wire.url), sessions=keys) as service:
        assert await put(service) == Reply({"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}, "r-1", 200)


async def test_one_call_is_one_request_whatever_comes_back() -> None:
    for status in (500, 503, 429, 400):
        async with Wire([Raw(b"", status)]) as wire, Service("events", settings(wire.url), sessions=keys) as service:
            await put(service)
            assert len(wire.requests) == 1


async def test_a_refusal_has_code_message_request_and_status() -> None:
    raw = Raw(b'{"__type":"com.amazon#InternalException","message":"oops"}', 500)
    assert await refused(raw) == Refusal("InternalException", "oops", "r-1", 500)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, 0.0),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "1e9"}, 0.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:35 GMT", "Date": "Fri, 02 Jan 2026 03:04:05 GMT"}, 30.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:05 GMT", "Date": "Fri, 02 Jan 2026 03:04:35 GMT"}, 0.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:05", "Date": "Fri, 02 Jan 2026 03:04:00 GMT"}, 0.0),
    ],
)
async def test_retry_after_is_read_in_seconds_or_as_a_date(headers: dict[str, str], pause: float) -> None:
    outcome = await refused(Raw(b'{"__type":"ThrottlingException"}', 400, headers))
    assert outcome.retry_after == pause


async def test_a_page_of_html_is_named_and_not_repeated() -> None:
    page = b"<html>" + b"x" * 5000
    assert await refused(Raw(page, 403)) == Refusal("403", "an HTML page instead of a reply", "r-1", 403)
    busy = await refused(Raw(page, 503))
    assert (busy.code, busy.status, verdict(busy)) == ("503", 503, Verdict.RETRY)
    assert "xxx" not in busy.message


@pytest.mark.parametrize(
    "raw", [Raw(b"[]"), Raw(b"[]", 400), Raw(b"7", 500), Raw(b'{"__type":7}', 400), Raw(b'{"Entries":[1]}')]
)
async def test_a_reply_off_the_model_is_a_protocol_error(raw: Raw) -> None:
    assert (await refused(raw)).code == "ProtocolError"


async def test_a_cut_connection_is_a_refusal_without_status() -> None:
    async with (
        Sandbox(faults=[faults.cut()]) as sandbox,
        Service("events", settings(sandbox.url), sessions=keys) as service,
    ):
        outcome = await put(service)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.status) == ("ConnectionClosedError", 0)
    assert verdict(outcome) is Verdict.RETRY


async def test_a_silent_service_is_given_up_at_the_deadline() -> None:
    quick = {"request_timeout": "300ms"}
    async with (
        Sandbox(faults=[faults.never()]) as sandbox,
        Service("events", settings(sandbox.url, **quick), sessions=keys) as service,
    ):
        await service.call("describe_event_bus", Name="default")
        outcome = await put(service)
        assert outcome == Refusal("Timeout", "no reply within 0.3 s; the service may have taken the request")
        assert isinstance(await put(service), Reply)


@pytest.mark.parametrize(
    ("error", "code", "meaning"),
    [
        (ConnectTimeoutError(endpoint_url="u", error="e"), "ConnectTimeoutError", Verdict.RETRY),
        (SSLError(endpoint_url="u", error=OSError()), "SSLError", Verdict.RETRY),
        (SSLError(endpoint_url="u", error=SSLCertVerificationError()), "CertificateError", Verdict.HOLD),
        (ProxyConnectionError(proxy_url="u", error="e"), "ProxyConnectionError", Verdict.RETRY),
        (NoCredentialsError(), "NoCredentialsError", Verdict.HOLD),
        (CredentialRetrievalError(provider="p", error_msg="m"), "CredentialRetrievalError", Verdict.HOLD),
        (MissingDependencyException(msg="m"), "MissingDependencyException", Verdict.HOLD),
        (BotoCoreError(), "BotoCoreError", Verdict.HOLD),
        (RuntimeError("refreshed credentials are still expired."), "CredentialRetrievalError", Verdict.HOLD),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_failures_of_the_client_are_refusals_by_name(error: Exception, code: str, meaning: Verdict) -> None:
    async with Service("events", settings("http://127.0.0.1:9"), sessions=failing(error)) as service:
        outcome = await put(service)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.status) == (code, 0)
    assert verdict(outcome) is meaning


async def test_parameters_off_the_model_are_named_and_not_repeated() -> None:
    async with Service("events", settings("http://127.0.0.1:9"), sessions=keys) as service:
        outcome = await service.call("put_events", Entries=[{"Source": ["secret"]}])
    assert outcome == Refusal(ParamValidationError.__name__, "the request does not have the types of the API")


async def test_a_missing_awscrt_says_what_to_install() -> None:
    error = MissingDependencyException(msg="Using CRT requires an additional dependency.")
    async with Service("events", settings("http://127.0.0.1:9"), sessions=failing(error)) as service:
        outcome = await put(service)
    assert isinstance(outcome, Refusal)
    assert "connector[crt]" in outcome.message
    assert "connector[crt]" in crt_missing(lambda _: None)
    assert crt_missing(lambda _: "found") == ""


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(500, Verdict.RETRY), (599, Verdict.RETRY), (429, Verdict.RETRY), (408, Verdict.RETRY), (400, Verdict.HOLD)],
)
def test_an_unknown_code_is_judged_by_its_status(status: int, meaning: Verdict) -> None:
    assert verdict(Refusal("New", "", status=status)) is meaning


def test_a_message_is_one_short_line_without_values() -> None:
    assert tidy("a\n  b\t c") == "a b c"
    assert tidy("x" * 400) == "x" * 300 + "…"
    assert tidy("2 errors: Value '[pay'load]' at 'entries' failed") == "2 errors: Value '…' at 'entries' failed"


async def test_a_service_outside_of_its_context_is_a_mistake_of_ours() -> None:
    with pytest.raises(RuntimeError, match="outside"):
        await put(Service("events", settings("http://127.0.0.1:9"), sessions=keys))


async def test_calls_run_side_by_side_on_one_client() -> None:
    made = 0

    def counting(given: AwsSettings) -> aioboto3.Session:
        nonlocal made
        made += 1
        return keys(given)

    async with Sandbox() as sandbox, Service("events", settings(sandbox.url), sessions=counting) as service:
        outcomes = await asyncio.gather(*(put(service) for _ in range(30)))
        assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert made == 1


async def test_refused_credentials_are_looked_for_anew_and_a_busy_client_is_not_closed() -> None:
    made = 0

    def counting(given: AwsSettings) -> aioboto3.Session:
        nonlocal made
        made += 1
        return keys(given)

    arrived = asyncio.Event()

    def seen(_: Any) -> bool:
        arrived.set()
        return False

    async with Sandbox() as sandbox, Service("events", settings(sandbox.url), sessions=counting) as service:
        await put(service)
        sandbox.faults.add(faults.slow(0.2), faults.refuse("never", when=seen))
        slow = asyncio.ensure_future(put(service))
        await arrived.wait()
        sandbox.faults.add(faults.expired_token())
        assert isinstance(await put(service), Refusal)
        assert isinstance(await put(service), Reply)
        assert isinstance(await slow, Reply)
        assert made == 2


async def test_no_credentials_at_all_is_a_refusal_and_later_ones_are_found(tmp_path: Path) -> None:
    written = tmp_path / "credentials"

    def from_file(_: AwsSettings) -> aioboto3.Session:
        core = get_session()
        for name, value in (("config_file", "none"), ("credentials_file", "credentials"), ("profile", "here")):
            core.set_config_variable(name, value if name == "profile" else str(tmp_path / value))
        return aioboto3.Session(botocore_session=core, region_name="eu-west-1")

    written.write_text("[here]\n")
    async with Sandbox() as sandbox, Service("events", settings(sandbox.url), sessions=from_file) as service:
        outcome = await put(service)
        assert isinstance(outcome, Refusal)
        assert verdict(outcome) is Verdict.HOLD
        written.write_text("[here]\naws_access_key_id = a\naws_secret_access_key = b\n")
        assert isinstance(await put(service), Reply)


async def test_callers_that_wait_for_a_client_that_fails_to_open_try_themselves() -> None:
    tried = 0

    def late(given: AwsSettings) -> aioboto3.Session:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise FileNotFoundError(2, "No such file or directory", "/var/run/token")
        return keys(given)

    async with Sandbox() as sandbox, Service("events", settings(sandbox.url), sessions=late) as service:
        outcomes = await asyncio.gather(*(put(service) for _ in range(5)))
    missing = Refusal("CredentialRetrievalError", "No such file or directory: /var/run/token")
    assert outcomes[:2] == [missing] * 2
    assert all(isinstance(outcome, Reply) for outcome in outcomes[2:])
    assert tried == 3


async def test_a_profile_that_is_not_there_holds() -> None:
    async with Service("events", settings("http://127.0.0.1:9", profile="no-such-profile")) as service:
        outcome = await put(service)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, verdict(outcome)) == ("ProfileNotFound", Verdict.HOLD)


async def test_no_payload_and_no_secret_is_logged_even_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Sandbox() as sandbox, Service("events", settings(sandbox.url), sessions=keys) as service:
        entry = {"Source": "a", "DetailType": "b", "Detail": '{"secret":"s3cr3t"}'}
        assert isinstance(await service.call("put_events", Entries=[entry]), Reply)
    assert "s3cr3t" not in caplog.text
    assert "Signature" not in caplog.text


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def role(tmp_path: Path) -> Any:
    """Sessions that assume a role at this address, with this external id."""

    def at(url: str, external_id: str | None = None) -> Any:
        def made(given: AwsSettings) -> aioboto3.Session:
            source, core = get_session(), get_session()
            for each in (source, core):
                each.set_config_variable("config_file", str(tmp_path / "config"))
                each.set_config_variable("region", given.region)
            (tmp_path / "config").write_text(f"[default]\nservices = s\n[services s]\nsts =\n  endpoint_url = {url}\n")
            source.set_credentials("source", "secret")
            arn = "arn:aws:iam::123456789012:role/writer"
            core.get_component("credential_provider").providers.insert(0, AssumedRole(source, arn, external_id))
            return aioboto3.Session(botocore_session=core)

        return made

    return at


async def test_a_role_is_assumed_and_its_key_signs(moto: str, role: Any) -> None:
    body = b'{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}'
    async with (
        Wire([Raw(body)]) as wire,
        Service("events", settings(wire.url), sessions=role(moto, "shared-word")) as service,
    ):
        assert isinstance(await put(service), Reply)
        assert isinstance(await put(service), Reply)
        headers, _ = wire.requests[0]
    assert "Credential=ASIA" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"]


def _sts_error(code: str, status: int) -> Raw:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return Raw(body.encode(), status, {"Content-Type": "text/xml"})


@pytest.mark.parametrize(
    ("raw", "code", "meaning"),
    [
        (_sts_error("AccessDenied", 403), "CredentialRetrievalError", Verdict.HOLD),
        (_sts_error("ValidationError", 400), "CredentialRetrievalError", Verdict.HOLD),
        (_sts_error("Throttling", 400), "Throttling", Verdict.RETRY),
        (_sts_error("InternalFailure", 500), "InternalFailure", Verdict.RETRY),
    ],
)
async def test_a_role_that_cannot_be_assumed_is_never_the_fault_of_an_entry(
    raw: Raw, code: str, meaning: Verdict, role: Any
) -> None:
    async with (
        Wire([raw]) as sts,
        Sandbox() as sandbox,
        Service("events", settings(sandbox.url), sessions=role(sts.url)) as service,
    ):
        outcome = await put(service)
        assert sandbox.calls == 0
    assert isinstance(outcome, Refusal)
    assert (outcome.code, verdict(outcome)) == (code, meaning)


@pytest.mark.parametrize(
    ("environment", "settings", "region"),
    [
        ({"AWS_REGION": "eu-north-1"}, {}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "eu-south-1"}, {}, "eu-south-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-south-1"}, {}, "eu-north-1"),
        ({"AWS_REGION": "eu-north-1"}, {"region": "eu-west-1"}, "eu-west-1"),
    ],
)
def test_the_region_comes_from_the_settings_else_from_the_environment(
    environment: dict[str, str], settings: dict[str, str], region: str, tmp_path: Path
) -> None:
    told = (
        "from connector.targets.aws import AwsSettings, session\n"
        f"print(session(AwsSettings.model_validate({ ({'type': 'eventbridge'} | settings)!r})).region_name)"
    )
    clean = {"PATH": os.environ["PATH"], "AWS_CONFIG_FILE": str(tmp_path / "none"), **environment}
    said = subprocess.run([sys.executable, "-c", told], env=clean, stdout=subprocess.PIPE, timeout=60, check=True)
    assert said.stdout.decode().strip() == region


def test_the_settings_of_role_and_region_reach_the_session() -> None:
    made: Any = session(settings("http://127.0.0.1:9", role_arn="arn:aws:iam::123456789012:role/writer"))
    assert made.region_name == "eu-west-1"
    assert isinstance(made._session.get_component("credential_provider").providers[0], AssumedRole)


async def test_a_request_is_json_with_the_operation_in_a_header() -> None:
    async with Wire([Raw(b"{}")]) as wire, Service("events", settings(wire.url), sessions=keys) as service:
        await put(service)
        headers, body = wire.requests[0]
    assert json.loads(body) == {"Entries": [ENTRY]}
    assert headers["X-Amz-Target"] == "AWSEvents.PutEvents"
