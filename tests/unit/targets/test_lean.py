"""The seal of the lean way: its signatures are botocore's, for any body, moment and credentials."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from connector.targets.lean import Pattern, Seal

MOMENT = datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC)
JSON = Pattern(
    "POST",
    "https://events.eu-west-1.amazonaws.com/",
    {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents", "User-Agent": "x y/1"},
    "eu-west-1",
    "events",
)
REST = Pattern(
    "POST", "http://127.0.0.1:4010/v1/apps/shop%201/events", {"Content-Type": "application/json"}, "us-x-1", "mobile"
)


def credentials(token: str | None = None) -> ReadOnlyCredentials:
    return ReadOnlyCredentials("AKID", "se/cr+et", token, None)


def signed(pattern: Pattern, frozen: Any, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that botocore's signer makes, step by step as its `add_auth` does, at a given time."""
    signer = SigV4Auth(frozen, pattern.service, pattern.region)
    request = AWSRequest(pattern.method, pattern.url, headers=pattern.headers, data=body)
    request.headers["X-Amz-Date"] = request.context["timestamp"] = now.strftime(SIGV4_TIMESTAMP)
    if frozen.token:
        request.headers["X-Amz-Security-Token"] = frozen.token
    asked = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    signature = signer.signature(asked, request)
    claim = f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
    return {**dict(request.headers), "Authorization": claim}


@pytest.mark.parametrize("pattern", [JSON, REST])
@pytest.mark.parametrize("token", [None, "", "to/ken+=="])
@given(body=st.binary(min_size=1, max_size=200), second=st.integers(0, 86_399))
def test_a_signature_is_the_one_of_botocores_signer(
    pattern: Pattern, token: str | None, body: bytes, second: int
) -> None:
    now = MOMENT.replace(hour=second // 3600, minute=second // 60 % 60, second=second % 60)
    seal = Seal(pattern, credentials(token), MOMENT)
    assert seal.sign(body, now) == signed(pattern, credentials(token), body, now)


def test_a_seal_holds_for_one_day_and_for_one_set_of_credentials() -> None:
    seal = Seal(JSON, credentials("t-1"), MOMENT)
    assert seal.fits(credentials("t-1"), MOMENT.replace(hour=0))
    assert not seal.fits(credentials("t-1"), MOMENT.replace(day=26))
    assert not seal.fits(credentials("t-2"), MOMENT)
    assert not seal.fits(credentials(), MOMENT)
