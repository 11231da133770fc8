"""The arithmetic of docs/scaling.md: laws that hold for every load, and cases that can be worked out by hand."""

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sizing import EVENTBRIDGE_CALLS, SERVICES, Load, Need, main, quota_of, size

SCALING = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"

loads = st.builds(
    Load,
    records=st.floats(0.1, 2e6),
    record_bytes=st.integers(1, 1000),
    service=st.sampled_from(sorted(SERVICES)),
    region=st.sampled_from([*sorted(EVENTBRIDGE_CALLS), "mx-central-1"]),
    matched=st.floats(0.0, 1.0),
    events_per_record=st.floats(0.0, 5.0),
    call_seconds=st.floats(0.001, 2.0),
    linger=st.floats(0.001, 5.0),
    max_in_flight=st.integers(1, 200),
    member_records=st.floats(100.0, 20_000.0),
    partition_bytes=st.floats(1e5, 1e7),
    order=st.sampled_from(["none", "key", "partition"]),
    spare=st.floats(0.0, 0.8),
)


@settings(deadline=None)
@given(loads)
def test_nobody_is_asked_to_carry_more_than_what_is_left_beside_the_spare(load: Load) -> None:
    need = size(load)
    room = 1.0 - load.spare
    assert load.records / need.members <= load.member_records * room * 1.000001
    assert need.in_flight / need.members <= load.max_in_flight * room * 1.000001
    assert need.bytes_in / need.partitions <= load.partition_bytes * room * 1.000001
    assert need.partitions % need.members == 0


@settings(deadline=None)
@given(loads)
def test_a_call_takes_what_the_service_takes_and_all_calls_together_take_every_event(load: Load) -> None:
    need = size(load)
    service = SERVICES[load.service]
    assert 1.0 <= need.entries_per_call <= service.entries
    assert need.entries_per_call * load.record_bytes <= max(service.call_bytes, load.record_bytes)
    assert math.isclose(need.calls * need.entries_per_call, need.events, abs_tol=1e-9)


@settings(deadline=None)
@given(loads, st.floats(1.0, 10.0))
def test_more_records_never_need_less(load: Load, times: float) -> None:
    little, much = size(load), size(replace(load, records=load.records * times))
    assert much.members >= little.members
    assert much.bytes_out >= little.bytes_out


def test_a_thousand_full_batches_are_ten_thousand_events_and_cost_a_dollar_a_million() -> None:
    need = size(Load(records=10_000, member_records=2_000, spare=0.0))
    assert (need.events, need.calls, need.members, need.partitions) == (10_000, 1_000, 5, 5)
    assert need.dollars_per_million_records == pytest.approx(1.00)
    assert need.dollars_per_month == pytest.approx(10_000 * 3600 * 730 / 1e6)
    assert need.limits == ()


def test_an_event_of_65_kib_is_billed_as_two_and_one_of_200_kb_leaves_room_for_five_in_a_call() -> None:
    assert size(Load(records=10, record_bytes=65 * 1024)).dollars_per_million_records == pytest.approx(2.00)
    assert size(Load(records=5_000, record_bytes=200_000)).entries_per_call == 5.0


def test_what_no_route_takes_costs_members_but_no_calls() -> None:
    need = size(Load(records=10_000, matched=0.0))
    assert need.calls == 0
    assert need.members == size(Load(records=10_000)).members


def test_the_quota_is_named_with_what_to_ask_for() -> None:
    need = size(Load(records=20_000, region="eu-north-1", spare=0.3))
    assert need.quota == 600
    assert math.isinf(need.catch_up_seconds)
    assert "ask AWS for 2,900" in need.limits[0]
    assert size(Load(records=20_000, region="eu-north-1", quota=5_000)).limits == ()


def test_a_quiet_stream_is_told_which_linger_would_fill_its_batches() -> None:
    need = size(Load(records=20, linger=0.1))
    assert need.entries_per_call == pytest.approx(2.0)
    assert "0.5 s would fill them" in need.limits[0]
    assert size(Load(records=20, linger=0.5)).entries_per_call == pytest.approx(10.0)


def test_kept_order_wants_partitions() -> None:
    load = Load(records=300, order="partition", linger=0.1, call_seconds=0.1, spare=0.0)
    assert size(load).partitions == 60
    assert size(replace(load, order="none")).partitions == 1


def test_a_backlog_is_caught_up_by_what_is_spare() -> None:
    need = size(Load(records=1_000, member_records=2_000, spare=0.5))
    assert need.members == 1
    assert need.catch_up_seconds == pytest.approx(3600)


def test_a_region_on_no_list_has_the_least_quota_of_eventbridge() -> None:
    assert (
        quota_of("eventbridge", "mx-central-1")
        == 400
        == min(quota_of("eventbridge", r) for r in ["x", *EVENTBRIDGE_CALLS])
    )
    assert quota_of("pinpoint", "us-east-1") == 15


@pytest.mark.parametrize(
    "wrong", [{"records": 0}, {"spare": 1.0}, {"matched": 1.5}, {"linger": -1}, {"event_bytes": 2_000_000}]
)
def test_figures_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|are shares|larger than"):
        size(Load(**{"records": 1, **wrong}))  # type: ignore[arg-type]  # one of them at a time is wrong


def test_the_command_refuses_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--records", "10", "--bytes", "2000000"])
    assert ended.value.code == 2
    assert "larger than eventbridge takes" in capsys.readouterr().err


def test_every_run_that_the_page_shows_prints_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"```console\n\$ python deploy/sizing.py (.*?)\n(.*?)```", SCALING.read_text(), re.DOTALL)
    assert len(shown) >= 4
    for arguments, output in shown:
        assert main(shlex.split(arguments)) == 0
        assert capsys.readouterr().out == output, arguments


def test_every_row_of_the_table_is_what_the_script_says() -> None:
    rows = re.findall(r"^\| ([\d,]+)/s \|(.*)\|$", SCALING.read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for records, rest in rows:
        need = size(Load(records=float(records.replace(",", ""))))
        assert [cell.strip() for cell in rest.split("|")] == row(need), records


def row(need: Need) -> list[str]:
    """The cells of a row of the page's table, after the records."""
    ask = next((limit for limit in need.limits if limit.startswith("quota")), "")
    asked = re.search(r"ask AWS for ([\d,]+)", ask)
    return [
        f"{need.members:,}",
        f"{need.partitions:,}",
        f"{need.entries_per_call:.1f}",
        f"{need.calls:,.0f}/s",
        f"{asked[1]}/s" if asked else "none",
        f"{need.bytes_in / 1e6:,.1f} MB/s",
        f"{need.bytes_out / 1e6:,.1f} MB/s",
        f"${need.dollars_per_month:,.0f}",
    ]
