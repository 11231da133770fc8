"""What `check` finds of a Fiddler target: maps that do not fit, dry runs that would eat records, batches, warnings."""

from pathlib import Path
from typing import Final

import pytest

from connector.loading.load import compiled, load

_CONFIG: Final = """\
kafka: {{bootstrap_servers: localhost:1, group_id: {group}}}
targets:
  out: {{type: fiddler, url: "http://localhost", token: t, project_name: shop, model_name: churn{target}}}
{more}routes:
  - {{name: all, topics: [t], targets: [{targets}], map: {{{map}}}}}
unrouted: skip
dead_letters: {{topic: dead}}
{limits}"""

VERSION: Final = ", model_version: v1"
UPDATE: Final = "update_event: true, event_id: x"


def told(
    folder: Path,
    map_: str = "",
    *,
    target: str = VERSION,
    group: str = "g",
    more: str = "",
    targets: str = "out",
    limits: str = "",
) -> list[tuple[str, str, str]]:
    """Code, level and path of everything that is found."""
    file = folder / "a.yaml"
    text = _CONFIG.format(map=map_, target=target, group=group, more=more, targets=targets, limits=limits)
    file.write_text(text)
    return [(one.code, one.level, one.path) for one in compiled(load([file], {})).problems]


@pytest.mark.parametrize("map_", ["", UPDATE, "event: {n: 1}, event_timestamp: '2026-01-31T00:00:00Z'", "event_id: 7"])
def test_a_map_that_fits_is_not_complained_of(tmp_path: Path, map_: str) -> None:
    assert told(tmp_path, map_) == []


@pytest.mark.parametrize(
    ("map_", "code", "path"),
    [
        ("update_event: true", "CFG031", "routes[0].map"),
        ("model_name: Churn", "CFG031", "routes[0].map.model_name"),
        ("event_idd: x", "MAP010", "routes[0].map.event_idd"),
        ("update_event: x", "MAP012", "routes[0].map.update_event"),
        ("events_path: a.csv", "CFG031", "routes[0].map.events_path"),
    ],
)
def test_a_map_that_cannot_work_is_refused_where_it_stands(tmp_path: Path, map_: str, code: str, path: str) -> None:
    assert told(tmp_path, map_) == [(code, "error", path)]


def test_a_model_without_a_version_is_warned_of(tmp_path: Path) -> None:
    assert told(tmp_path, target="") == [("CFG044", "warning", "targets.out.model_name")]


@pytest.mark.parametrize("group", ["g-dry-run", "dry_run.g", "dryrun", "G-Dry-Run"])
def test_a_dry_run_in_a_group_of_its_own_is_fine(tmp_path: Path, group: str) -> None:
    assert told(tmp_path, target=f"{VERSION}, dry_run: true", group=group) == []


def test_a_dry_run_in_the_group_of_a_real_one_is_refused(tmp_path: Path) -> None:
    assert told(tmp_path, target=f"{VERSION}, dry_run: true") == [("CFG039", "error", "kafka.group_id")]


def test_a_dry_run_beside_a_target_that_sends_is_refused(tmp_path: Path) -> None:
    other = "  log: {type: stdout}\n"
    found = told(tmp_path, target=f"{VERSION}, dry_run: true", group="dry-run", more=other, targets="out, log")
    assert ("CFG039", "error", "targets.out.dry_run") in found


def test_a_file_that_one_partition_cannot_fill_is_warned_of_even_by_default(tmp_path: Path) -> None:
    assert told(tmp_path, target=f"{VERSION}, publish: batch") == [
        ("CFG026", "warning", "targets.out.batch.max_entries")
    ]


def test_a_file_that_can_never_fill_is_refused(tmp_path: Path) -> None:
    batch = ", publish: batch, batch: {max_entries: 20001, max_bytes: 65MiB}"
    assert told(tmp_path, target=VERSION + batch) == [
        ("CFG026", "error", "targets.out.batch.max_entries"),
        ("CFG026", "error", "targets.out.batch.max_bytes"),
    ]


def test_room_for_whole_files_is_enough(tmp_path: Path) -> None:
    limits = "limits: {max_open_records: 60000, max_open_per_partition: 25000, max_uncommitted_per_partition: 50000}\n"
    assert told(tmp_path, target=f"{VERSION}, publish: batch", limits=limits) == []
