"""An identity provider on loopback: it gives signed tokens to who knows the secret, over TLS, and counts who asks."""

import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.certificates import Certificate

AUDIENCE: Final = "kafka"
ISSUER: Final = "https://identity.test"
CLIENT: Final = "connector"
_LIFE: Final = 3600


class Provider:
    """Client credentials in, a token that a broker can check against `keys` (a JWKS file) out."""

    def __init__(self, folder: Path, secret: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._right = "Basic " + base64.b64encode(f"{CLIENT}:{secret}".encode()).decode()
        self.keys = folder / "jwks.json"
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": _number(numbers.n), "e": _number(numbers.e)}
        self.keys.write_text(json.dumps({"keys": [key]}))
        self.url = ""
        self.given: list[str] = []
        self.refused = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request for a token."""
        if request.headers.get("Authorization") != self._right:
            self.refused += 1
            return web.json_response({"error": "invalid_client", "error_description": "no such client"}, status=401)
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": CLIENT, "scope": "carry", "iat": now, "exp": now + _LIFE}
        head = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims))
        token = f"{head}.{_base64(self._key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
        self.given.append(token)
        return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": _LIFE})

    @asynccontextmanager
    async def serving(self, certificate: Certificate) -> AsyncIterator[None]:
        """Listen for the length of a block."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}/token"
            yield
        finally:
            await runner.cleanup()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
