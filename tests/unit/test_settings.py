"""From files and environment to settings: units, merging, defaults, tags, variables, secrets."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from connector.loading.load import load
from connector.settings import AdminSettings, MskIamAuth, SaslScramAuth
from connector.targets.settings import seconds, size
from tests.unit.configs import KINDS, OWNED, FakeSettings, loaded, settings, told, with_lines


def test_the_smallest_config_has_the_documented_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, with_lines())
    assert found.limits.max_open_records == 20_000
    assert found.limits.max_open_bytes == 67_108_864
    assert found.limits.max_open_per_partition == 5_000
    assert found.limits.max_uncommitted_per_partition == 10_000
    assert (found.commit_interval, found.drain_timeout, found.shutdown_timeout) == (1.0, 10.0, 25.0)
    assert found.kafka.auto_offset_reset == "earliest"
    assert found.kafka.auth.type == "none"
    assert (found.routes[0].on_error, found.routes[0].on_reject) == ("dead_letter", "dead_letter")
    assert (found.admin.host, found.admin.port) == ("127.0.0.1", 8080)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    found = settings(tmp_path, with_lines())
    with pytest.raises(ValidationError):
        found.commit_interval = 5.0  # type: ignore[misc]  # what mypy refuses is what is tried


def test_quantities_carry_their_units(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        with_lines(
            "limits: {max_open_bytes: 32MiB}",
            "commit_interval: 500ms",
            "targets: {bus: {type: fake, region: eu, rate_limit: {calls: 120/m}, retry: {give_up_after: 2h}}}",
        ),
    )
    bus = found.targets["bus"]
    assert found.limits.max_open_bytes == 33_554_432
    assert found.commit_interval == 0.5
    assert bus.rate_limit is not None
    assert bus.rate_limit.calls == 2.0
    assert bus.retry.give_up_after == 7200.0


@pytest.mark.parametrize(("text", "value"), [("200ms", 0.2), ("1.5s", 1.5), ("5m", 300.0), ("1d", 86400.0)])
def test_a_duration_is_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("512B", 512), ("1kB", 1000), ("256KiB", 262_144), ("1MB", 1_000_000)])
def test_a_size_is_bytes(text: str, value: int) -> None:
    assert size(text) == value


def test_a_target_is_read_by_the_model_of_its_type(tmp_path: Path) -> None:
    bus = settings(tmp_path, with_lines()).targets["bus"]
    assert isinstance(bus, FakeSettings)
    assert bus.region == "eu"


def test_properties_are_text_however_they_are_written(tmp_path: Path) -> None:
    text = with_lines(
        "kafka: {bootstrap_servers: [a:1, b:2], group_id: g, properties: {fetch.min.bytes: 1, debug: all, x.y: true}}"
    )
    kafka = settings(tmp_path, text).kafka
    assert kafka.bootstrap_servers == "a:1,b:2"
    assert kafka.properties == {"fetch.min.bytes": "1", "debug": "all", "x.y": "true"}


def test_the_kind_of_auth_decides_its_keys(tmp_path: Path) -> None:
    scram = "{type: sasl_scram, username: me, password: !env PW}"
    text = with_lines(f"kafka: {{bootstrap_servers: a:1, group_id: g, auth: {scram}}}")
    auth = settings(tmp_path, text, PW="geheim").kafka.auth
    assert isinstance(auth, SaslScramAuth)
    assert auth.password.get_secret_value() == "geheim"
    text = with_lines("kafka: {bootstrap_servers: a:1, group_id: g, auth: {type: msk_iam, region: eu-west-1}}")
    assert isinstance(settings(tmp_path, text).kafka.auth, MskIamAuth)


@pytest.mark.parametrize(
    ("listen", "host", "port"), [("127.0.0.1:0", "127.0.0.1", 0), ("h:9000", "h", 9000), ("[::1]:80", "::1", 80)]
)
def test_an_address_has_a_host_and_a_port(listen: str, host: str, port: int) -> None:
    admin = AdminSettings(listen=listen)
    assert (admin.host, admin.port) == (host, port)


def test_a_topic_is_read_by_its_name_then_by_the_first_pattern_then_as_usual(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        with_lines(
            "topics: {shop.a: {format: string}, '^shop\\..*': {format: bytes}}",
            "routes: [{name: r, topics: ['^.*'], targets: [bus]}]",
            "dead_letters: null",
            "defaults: {route: {on_error: skip, on_reject: skip}}",
        ),
    )
    assert found.topic("shop.a").format == "string"
    assert found.topic("shop.b").format == "bytes"
    assert found.topic("other").format == "json"


class TestMerging:
    """Several files as one config."""

    def test_maps_merge_and_routes_append(self, tmp_path: Path) -> None:
        second = """\
version: 1
kafka: {client_id: second}
targets: {other: {type: fake, region: us}}
routes: [{name: s, topics: [u], targets: [other]}]
"""
        found = settings(tmp_path, with_lines(), second)
        assert found.kafka.group_id == "g"
        assert found.kafka.client_id == "second"
        assert list(found.targets) == ["bus", "other"]
        assert [route.name for route in found.routes] == ["r", "s"]

    def test_a_name_twice_is_refused_naming_both_places(self, tmp_path: Path) -> None:
        found = loaded(tmp_path, with_lines(), "targets: {bus: {max_in_flight: 2}}\nunrouted: hold\n")
        assert told(found) == [("CFG006", 1, 11, "targets.bus"), ("CFG006", 2, 1, "unrouted")]
        assert found.problems[0].where.file == str(tmp_path / "b.yaml")
        assert f"first at {tmp_path / 'a.yaml'}:5:11" in found.problems[0].message

    def test_routes_of_two_files_with_one_name_are_refused_naming_both_places(self, tmp_path: Path) -> None:
        found = loaded(tmp_path, with_lines(), "routes:\n  - {name: r, topics: [u], targets: [bus]}\n")
        assert told(found) == [("CFG020", 2, 12, "routes[1].name")]
        assert f"{tmp_path / 'a.yaml'}:6:17" in found.problems[0].message

    def test_a_directory_stands_for_its_yaml_files_but_for_route_tests(self, tmp_path: Path) -> None:
        (tmp_path / "1.yaml").write_text(with_lines("routes: []").replace("routes: []\n", ""))
        (tmp_path / "2.yml").write_text("routes: [{name: r, topics: [t], targets: [bus]}]\n")
        (tmp_path / "2_test.yaml").write_text("nonsense: true\n")
        (tmp_path / "notes.txt").write_text("nonsense")
        found = load([tmp_path], {}, registry=KINDS, owned=OWNED)
        assert found.problems == ()
        assert found.settings is not None

    def test_a_directory_without_yaml_is_refused(self, tmp_path: Path) -> None:
        found = load([tmp_path], {}, registry={}, owned={})
        assert [one.code for one in found.problems] == ["CFG001"]

    def test_a_file_that_is_not_there_is_a_problem_and_no_exception(self, tmp_path: Path) -> None:
        found = load([tmp_path / "none.yaml"], {}, registry={}, owned={})
        assert [(one.code, one.where.file) for one in found.problems] == [("CFG001", str(tmp_path / "none.yaml"))]


class TestDefaults:
    """`defaults` under each route and target."""

    def test_a_route_says_more_than_its_defaults(self, tmp_path: Path) -> None:
        text = with_lines(
            "defaults: {route: {topics: [t], targets: [bus], on_error: skip, map: {a: 1, b: 1}}}",
            "routes: [{name: one, map: {b: 2}}, {name: two, on_error: hold}]",
        )
        one, two = settings(tmp_path, text).routes
        assert (one.on_error, two.on_error) == ("skip", "hold")
        assert one.map == {"a": 1, "b": 2}
        assert two.map == {"a": 1, "b": 1}

    def test_a_target_takes_the_defaults_that_its_type_has(self, tmp_path: Path) -> None:
        text = with_lines(
            "defaults: {target: {region: us, batch: {linger: 1s}}}",
            "targets: {bus: {type: fake, batch: {max_entries: 5}}, log: {type: old}}",
            "routes: [{name: r, topics: [t], targets: [bus]}, {name: s, topics: [u], targets: [log]}]",
        )
        found = settings(tmp_path, text)
        bus = found.targets["bus"]
        assert isinstance(bus, FakeSettings)
        assert (bus.region, bus.batch.linger, bus.batch.max_entries) == ("us", 1.0, 5)
        assert found.targets["log"].batch.linger == 1.0

    def test_a_wrong_default_is_told_once_where_it_stands(self, tmp_path: Path) -> None:
        text = with_lines(
            "defaults: {route: {on_eror: skip, delay: 5}, target: {regoin: us}, rote: {}}",
            "routes: [{name: a, topics: [t], targets: [bus]}, {name: b, topics: [t], targets: [bus]}]",
        )
        assert told(loaded(tmp_path, text)) == [
            ("CFG010", 7, 20, "defaults.route.on_eror"),
            ("CFG013", 7, 42, "defaults.route.delay"),
            ("CFG010", 7, 55, "defaults.target.regoin"),
            ("CFG010", 7, 68, "defaults.rote"),
        ]


class TestTags:
    """!env, !file and !sub."""

    def test_a_variable_of_the_environment_is_coerced_by_the_schema(self, tmp_path: Path) -> None:
        text = with_lines("targets: {bus: {type: fake, region: !env 'REGION:eu', max_in_flight: !env N}}")
        bus = settings(tmp_path, text, N="3").targets["bus"]
        assert isinstance(bus, FakeSettings)
        assert (bus.region, bus.max_in_flight) == ("eu", 3)

    def test_what_a_variable_holds_never_becomes_yaml(self, tmp_path: Path) -> None:
        text = with_lines("vars: {x: !env X}")
        assert settings(tmp_path, text, X="{a: [1]}\nkafka: {}").vars == {"x": "{a: [1]}\nkafka: {}"}

    @pytest.mark.parametrize(("tag", "value"), [("'X:'", ""), ("'X:a:b'", "a:b"), ("'X: y'", " y")])
    def test_a_default_begins_after_the_first_colon(self, tmp_path: Path, tag: str, value: str) -> None:
        assert settings(tmp_path, with_lines(f"vars: {{x: !env {tag}}}")).vars == {"x": value}

    def test_a_file_is_read_beside_the_config_without_its_last_newline(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("line\nlast\n")
        assert settings(tmp_path, with_lines("vars: {x: !file secret}")).vars == {"x": "line\nlast"}

    def test_sub_reads_vars_and_vars_may_read_each_other(self, tmp_path: Path) -> None:
        text = with_lines(
            "vars: {stage: !env 'STAGE:dev', n: {a: 5}, group: !sub '${stage}-${n.a}'}",
            "kafka: {bootstrap_servers: a:1, group_id: !sub '${group}-$${x}'}",
        )
        assert settings(tmp_path, text, STAGE="prod").kafka.group_id == "prod-5-${x}"

    def test_variables_in_a_circle_are_refused(self, tmp_path: Path) -> None:
        found = loaded(tmp_path, with_lines("vars: {a: !sub '${b}', b: !sub '${a}'}"))
        assert {one.code for one in found.problems} == {"CFG009"}
        assert "vars.a → vars.b → vars.a" in found.problems[0].message

    @pytest.mark.parametrize(
        ("tag", "code"),
        [("!env X", "CFG007"), ("!env 'a b'", "CFG007"), ("!file none", "CFG008"), ("!sub '${x}'", "CFG009")],
    )
    def test_a_tag_that_finds_nothing_is_one_problem_at_its_place(self, tmp_path: Path, tag: str, code: str) -> None:
        found = loaded(tmp_path, with_lines(f"kafka: {{bootstrap_servers: a:1, group_id: {tag}}}"))
        assert [(one.code, one.where.line, one.path) for one in found.problems] == [(code, 2, "kafka.group_id")]

    @pytest.mark.parametrize("place", ["map: {a: {b: !env X}}", "when: !env X", "each: !sub '${x}'"])
    def test_an_expression_reads_nothing_from_outside(self, tmp_path: Path, place: str) -> None:
        found = loaded(tmp_path, with_lines(f"routes: [{{name: r, topics: [t], targets: [bus], {place}}}]"), X="1")
        assert [one.code for one in found.problems] == ["CFG005"]
        assert "vars" in found.problems[0].mend


class TestEnvironment:
    """CONNECTOR_… variables."""

    def test_a_variable_outweighs_the_file_and_finds_names_with_hyphens(self, tmp_path: Path) -> None:
        text = with_lines("targets: {orders-bus: {type: fake, region: eu}}").replace("[bus]", "[orders-bus]")
        found = settings(
            tmp_path,
            text,
            CONNECTOR_KAFKA__BOOTSTRAP_SERVERS="broker:9092",
            CONNECTOR_TARGETS__ORDERS_BUS__REGION="us",
            CONNECTOR_TARGETS__ORDERS_BUS__BATCH__LINGER="2s",
            CONNECTOR_KAFKA__PROPERTIES__FETCH_MIN_BYTES="7",
            CONNECTOR_COMMIT_INTERVAL="3s",
            CONNECTOR_LIMITS='{"max_open_bytes": "1MiB"}',
        )
        bus = found.targets["orders-bus"]
        assert isinstance(bus, FakeSettings)
        assert found.kafka.bootstrap_servers == "broker:9092"
        assert (bus.region, bus.batch.linger) == ("us", 2.0)
        assert found.kafka.properties == {"fetch.min.bytes": "7"}
        assert found.commit_interval == 3.0
        assert found.limits.max_open_bytes == 1_048_576

    def test_a_required_key_may_come_from_the_environment_alone(self, tmp_path: Path) -> None:
        text = with_lines("kafka: {group_id: g}")
        assert settings(tmp_path, text, CONNECTOR_KAFKA__BOOTSTRAP_SERVERS="b:1").kafka.bootstrap_servers == "b:1"

    @pytest.mark.parametrize(
        ("name", "mend"),
        [
            ("CONNECTOR_KAFAK__GROUP_ID", "CONNECTOR_KAFKA__GROUP_ID"),
            ("CONNECTOR_KAFKA__GRUOP_ID", "group_id"),
            ("CONNECTOR_TARGETS__BUZ__REGION", "bus"),
            ("CONNECTOR_ROUTES__0__NAME", "take the variable away"),
            ("CONNECTOR_LOG__LEVLE", "level"),
        ],
    )
    def test_a_variable_that_names_no_setting_is_refused_with_what_was_meant(
        self, tmp_path: Path, name: str, mend: str
    ) -> None:
        (problem,) = loaded(tmp_path, with_lines(), **{name: "hunter2"}).problems
        assert problem.code == "CFG016"
        assert problem.where.file == f"environment {name}"
        assert mend in problem.mend
        assert "hunter2" not in str(problem)

    def test_a_wrong_value_names_its_variable_and_does_not_repeat_it(self, tmp_path: Path) -> None:
        (problem,) = loaded(tmp_path, with_lines(), CONNECTOR_LOG__LEVEL="hunter2").problems
        assert problem.where.file == "environment CONNECTOR_LOG__LEVEL"
        assert problem.code == "CFG014"
        assert "hunter2" not in str(problem)

    @pytest.mark.parametrize("name", ["CONNECTOR_PORT", "CONNECTOR_SERVICE_HOST", "CONNECTOR_VERSION", "OTHER__X"])
    def test_what_a_cluster_sets_for_its_own_ends_is_no_setting(self, tmp_path: Path, name: str) -> None:
        assert loaded(tmp_path, with_lines(), **{name: "tcp://10.0.0.1:80"}).problems == ()


class TestSecrets:
    """What is never shown."""

    def test_secrets_files_and_users_in_addresses_are_masked(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("hunter2")
        text = with_lines(
            "vars: {key: !file key, copy: !sub 'x${key}', api_token: hunter2, stage: dev}",
            "targets: {bus: {type: fake, region: https://me:hunter2@host/x, password: hunter2}}",
            "kafka: {bootstrap_servers: a:1, group_id: g, properties: {sasl.password: hunter2, debug: all}}",
            "admin: {token: hunter2-hunter2-hunter2}",
        )
        found = loaded(tmp_path, text)
        assert found.settings is not None
        shown = found.masked()
        assert "hunter2" not in repr(shown)
        assert "hunter2" not in repr(found.settings.admin)
        assert shown["vars"] == {"key": "***", "copy": "***", "api_token": "***", "stage": "dev"}
        assert shown["targets"]["bus"]["region"] == "https://***@host/x"
        assert shown["kafka"]["properties"] == {"sasl.password": "***", "debug": "all"}

    def test_the_hash_is_of_the_settings_and_not_of_their_secrets(self, tmp_path: Path) -> None:
        one = loaded(tmp_path, with_lines("admin: {token: !env T}"), T="a" * 16)
        two = loaded(tmp_path, with_lines("admin: {token: !env T}"), T="b" * 16)
        other = loaded(tmp_path, with_lines("admin: {token: !env T}", "commit_interval: 2s"), T="a" * 16)
        assert one.hash == two.hash != other.hash
        assert len(one.hash) == 12
        assert one.settings is not None
        assert one.settings.admin.token == SecretStr("a" * 16)
