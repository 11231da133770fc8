"""A secret stands wherever a config can hold one, and no command says it: not in what it shows, not in a mistake."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from connector.cli import cli
from connector.loading.load import load
from connector.loading.render import machine, text

CANARY: Final = "CANARY-5e1d-of-a-secret"

AUTHS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tls": {"type": "tls", "certificate": "c.pem", "key": "k.pem", "key_password": CANARY},
    "sasl_plain": {"type": "sasl_plain", "username": "me", "password": CANARY},
    "sasl_scram": {"type": "sasl_scram", "username": "me", "password": CANARY},
    "oauthbearer": {
        "type": "oauthbearer",
        "token_endpoint": "https://127.0.0.1:1/token",
        "client_id": "me",
        "client_secret": CANARY,
    },
    "msk_iam": {"type": "msk_iam", "region": "eu-west-1", "key_password": CANARY},
}

TARGETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "model": {
        "type": "fiddler",
        "url": "http://127.0.0.1:1",
        "token": CANARY,
        "publish": "batch",
        "data_source": "AWS_S3",
        "project_name": "shop",
        "model_name": "churn",
        "credentials": {
            "aws_access_key_id": "id",
            "aws_secret_access_key": CANARY,
            "aws_session_token": CANARY,
        },
    },
    "bus": {"type": "eventbridge", "region": "eu-west-1", "endpoint_url": "http://127.0.0.1:1"},
}

MAPS: Final = {
    "model": {"events_path": "s3://bucket/${value.path}"},
    "bus": {"Source": "shop", "DetailType": "Order"},
}


def config(auth: Mapping[str, Any], registry: Mapping[str, Any]) -> dict[str, Any]:
    """A config with a secret in every place that may hold one; JSON, which is YAML."""
    properties = {"sasl.jaas.config": CANARY, "ssl.key.pem": CANARY, "ssl.keystore.password": CANARY}
    return {
        "version": 1,
        "vars": {"api_token": CANARY, "stage": "dev"},
        "kafka": {"bootstrap_servers": "127.0.0.1:1", "group_id": "g", "auth": auth, "properties": properties},
        "schema_registry": registry,
        "targets": dict(TARGETS),
        "routes": [{"name": name, "topics": [name], "targets": [name], "map": MAPS[name]} for name in TARGETS],
        "unrouted": "skip",
        "dead_letters": {"topic": "dead", "kafka": {"bootstrap_servers": "127.0.0.1:1", "auth": auth}},
        "admin": {"token": CANARY},
    }


CONFIGS: Final = {
    f"{name}, {kind}": config(auth, registry)
    for name, auth in AUTHS.items()
    for kind, registry in {
        "password": {"type": "confluent", "url": "http://127.0.0.1:1", "username": "me", "password": CANARY},
        "token": {"type": "confluent", "url": "https://127.0.0.1:1", "token": CANARY, "key_password": CANARY},
    }.items()
}


def said(*arguments: str | Path, **environ: str) -> str:
    """All that a command prints."""
    result = CliRunner().invoke(cli, [str(one) for one in arguments], env=environ, catch_exceptions=False)
    return result.stdout + result.stderr


def without_secret(words: str) -> bool:
    """Whether the secret stands there, or a half of it where a line was broken."""
    return not re.search("CANARY|5e1d|of-a-secret", words)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_command_says_a_secret_of_a_sound_config(name: str, tmp_path: Path) -> None:
    file, record = tmp_path / "c.yaml", tmp_path / "r.json"
    file.write_text(json.dumps(CONFIGS[name]))
    record.write_text('{"path": "x"}')
    found = load([file], {})
    assert found.settings is not None, text(found)
    assert without_secret(json.dumps(found.masked()))
    assert json.dumps(found.masked()).count("***") >= 7
    assert without_secret(repr(found) + repr(found.settings) + str(found.settings))
    for arguments in (
        ("check", file),
        ("check", file, "--format", "json"),
        ("try", file, "--topic", "model", record),
        ("try", file, "--topic", "bus", record),
        ("try", file, "--topic", "bus", "--json", record),
        ("test", file),
    ):
        words = said(*arguments)
        assert without_secret(words), words


def test_a_secret_that_came_by_way_of_vars_is_shown_nowhere(tmp_path: Path) -> None:
    auth = "{type: sasl_plain, username: me, password: !sub 'x${word}'}"
    file = tmp_path / "c.yaml"
    file.write_text(
        f"vars: {{word: !env WORD, all: !sub 'x${{word}}'}}\n"
        f"kafka: {{bootstrap_servers: b:1, group_id: g, auth: {auth}}}\n"
        "targets: {o: {type: stdout}}\nunrouted: skip\n"
        "routes: [{name: r, topics: [t], targets: [o], map: {value: 1}}]\n"
        "defaults: {route: {on_error: skip, on_reject: skip}}\n"
    )
    found = load([file], {"WORD": CANARY})
    assert found.settings is not None, text(found)
    assert found.masked()["vars"] == {"word": "***", "all": "***"}


MISTAKES: Final = {
    "a key beside it": "{type: sasl_plain, usrname: me, password: CANARY-5e1d}",
    "a key behind it": "{type: sasl_plain, password: CANARY-5e1d, usrname: me}",
    "a default": '{type: sasl_plain, password: !env "PW:CANARY-5e1d", usrname: me}',
    "over two lines": "{type: sasl_plain, password:\n      CANARY-5e1d, usrname: me}",
    "over three lines": "{type: sasl_plain, password:\n      'CANARY-5e1d\n      of-a-secret', usrname: me}",
    "in a block": "\n    type: sasl_plain\n    usrname: me\n    password: |\n      CANARY-5e1d\n      of-a-secret",
    "a map": "{type: sasl_plain, username: me, password: {a: CANARY-5e1d}}",
    "a map below": "\n    type: sasl_plain\n    username: me\n    password:\n      a: CANARY-5e1d",
    "a list": "{type: sasl_plain, username: me, password: [CANARY-5e1d]}",
    "a list below": "\n    type: sasl_plain\n    username: me\n    password:\n      - CANARY-5e1d",
    "twice": "{type: sasl_plain, username: me, password: CANARY-5e1d, password: CANARY-of-a-secret}",
    "twice below": "\n    type: sasl_plain\n    username: me\n    password: CANARY-5e1d\n    password: CANARY",
    "an open quote": '{type: sasl_plain, username: me, password: "CANARY-5e1d}',
    "an open brace": "{type: sasl_plain, username: me, password: CANARY-5e1d",
    "a colon in it": "\n    type: sasl_plain\n    username: me\n    password: CANARY-5e1d: of-a-secret",
    "a percent sign": "\n    type: sasl_plain\n    username: me\n    password: %CANARY-5e1d",
    "an unknown tag": "{type: sasl_plain, username: me, password: !secret CANARY-5e1d}",
    "an anchor": "{type: sasl_plain, username: me, password: *CANARY-5e1d}",
    "a password of another type": "{type: msk_iam, region: eu-west-1, password: CANARY-5e1d}",
    "a password of no type": "{type: none, password: CANARY-5e1d}",
    "a quoted key": '{"type": "sasl_plain", "usrname": "me", "password": "CANARY-5e1d"}',
    "a user in an address": "{type: oauthbearer, token_endpoint: 'https://me:CANARY-5e1d@id/t', client: x}",
    "an exclamation mark": "{type: sasl_plain, username: me, password: !CANARY-5e1d}",
    "a missing file": "{type: sasl_plain, usrname: me, password: !file none}",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_mistake_shows_the_secret_beside_it(mistake: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    sound = json.dumps(config({"type": "AUTH"}, {"type": "confluent", "url": "http://me:CANARY@h:1", "bogus": 1}))
    file.write_text("kafka:\n  bootstrap_servers: b:1\n  auth: " + MISTAKES[mistake] + "\n")
    for paths in ([file], [file, _json(tmp_path, sound)]):
        found = load(paths, {})
        assert found.problems
        assert without_secret(text(found)), text(found)
        assert without_secret(machine(found)), machine(found)


def test_no_mistake_shows_the_user_of_an_address(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    for line in (
        "schema_registry: {type: confluent, url: 'http://me:CANARY-5e1d@h:1', bogus: 1}",
        "targets: {b: {type: eventbridge, endpoint_url: 'http://me:CANARY-5e1d@h:1'}}",
        "targets: {b: {type: fiddler, url: http://me:CANARY-5e1d@h, bogus: 1}}",
        "targets:\n  b:\n    type: fiddler\n    url: http://me:CANARY-5e1d@h:1",
        "kafka: {auth: {type: oauthbearer, client_id: c, endpoint: 'http://me:CANARY-5e1d@h:1'}}",
    ):
        file.write_text(line + "\n")
        found = load([file], {})
        assert without_secret(text(found) + machine(found)), text(found)


def _json(folder: Path, content: str) -> Path:
    file = folder / "more.yaml"
    file.write_text(content)
    return file


VALUES: Final = (
    'a"b',
    "a\nb: c",
    "a}",
    "${X}",
    "${vars.other}",
    "!env HOME",
    "!file /etc/hostname",
    "{a: b}",
    "[1, 2]",
    "- a",
    "# a",
    "*a",
    "&a b",
    "a: b",
    "'",
    "true",
    "null",
    "~",
    "12",
    "\t",
    "%x",
    "---\nversion: 2",
    "a\r\nb",
    "\u2028",
    "\ufeffa",
    "\u0085",
    "x" * 10_000,
)


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_what_comes_from_outside_stays_one_text(value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(value, newline="")
    file = tmp_path / "c.yaml"
    file.write_text(
        """
version: 1
vars: {other: no, env: !env V, file: !file secret, sub: !sub "<${env}|${file}>", again: !sub "${sub}"}
kafka:
  bootstrap_servers: b:1
  group_id: !env V
  client_id: !file secret
  auth: {type: sasl_plain, username: !sub "${env}", password: !file secret}
targets: {out: {type: stdout}}
routes: [{name: all, topics: [t], targets: [out], map: {value: "${vars.env + vars.file + vars.again}"}}]
unrouted: skip
defaults: {route: {on_error: skip, on_reject: skip}}
"""
    )
    found = load([file], {"V": value, "X": "wrong", "HOME": "wrong"})
    assert found.settings is not None, text(found)
    kafka = found.settings.kafka
    assert (kafka.group_id, kafka.client_id) == (value, value)
    assert kafka.auth.type == "sasl_plain"
    assert (kafka.auth.username, kafka.auth.password.get_secret_value()) == (value, value)
    wrapped = f"<{value}|{value}>"
    assert found.settings.vars == {"other": "no", "env": value, "file": value, "sub": wrapped, "again": wrapped}


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_a_variable_of_the_environment_stays_one_text_too(value: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({**config(AUTHS["sasl_plain"], {}), "schema_registry": None}).replace("null", "~"))
    found = load([file], {"CONNECTOR_KAFKA__AUTH__PASSWORD": value, "CONNECTOR_KAFKA__CLIENT_ID": value})
    assert found.settings is not None, text(found)
    auth = found.settings.kafka.auth
    assert auth.type == "sasl_plain"
    assert (auth.password.get_secret_value(), found.settings.kafka.client_id) == (value, value)
