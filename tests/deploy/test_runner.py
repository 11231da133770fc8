"""What `python -m tests.deploy` makes of a validator's verdict, and the readers that stand in for Docker and CRDs."""

import os
from pathlib import Path

import pytest

from tests.deploy import dockerfile, tools
from tests.deploy.__main__ import Check, Failed, checks, judge, run_all
from tests.deploy.schemas import closed
from tests.deploy.tools import Unavailable


def content() -> None:
    pass


def refuses() -> None:
    raise Failed("line 3: no")


def is_not_there() -> None:
    raise Unavailable("there is no go on the PATH")


def test_a_tool_that_cannot_be_had_is_skipped_on_a_desk_and_fails_in_ci() -> None:
    check = Check("helm", "3", "the chart", is_not_there)
    assert judge(check, in_ci=False) == ("skipped", "there is no go on the PATH")
    assert judge(check, in_ci=True) == ("FAILED", "there is no go on the PATH")


def test_ci_may_do_without_the_image_alone() -> None:
    assert judge(Check("docker", "", "the image", is_not_there, skippable=True), in_ci=True)[0] == "skipped"
    assert [check.tool for check in checks() if check.skippable] == ["docker"]


def test_one_failure_fails_the_run_and_is_told_in_the_tools_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all([Check("a", "1", "x", content), Check("b", "2", "y", refuses)], in_ci=False) == 1
    told = capsys.readouterr().out
    assert "b (y): line 3: no" in told
    assert "deploy-check: 1 ran, 1 failed, 0 skipped" in told


def test_what_stops_several_checks_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all([Check("helm", "3", "x", is_not_there), Check("promtool", "2", "y", is_not_there)], in_ci=False) == 0
    assert "helm (x), promtool (y): there is no go on the PATH\n" in capsys.readouterr().out


def test_every_line_names_tool_version_and_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all([Check("helm", "3.22.0", "lint", content)], in_ci=True) == 0
    assert capsys.readouterr().out.split()[:3] == ["helm", "3.22.0", "ran"]


def test_without_go_it_says_what_to_install(tmp_path: Path) -> None:
    assert tools.go_missing(str(tmp_path)).startswith("there is no go on the PATH: install Go 1.26 or newer")


def test_an_old_go_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    assert tools.go_missing(f"{tmp_path}{os.pathsep}/bin").startswith("go is 1.19.8: install Go 1.26")
    old.write_text("#!/bin/sh\necho go1.27.3\n")
    assert tools.go_missing(str(tmp_path)) == ""


def test_a_closed_schema_refuses_fields_that_it_does_not_list_and_keeps_free_maps_free() -> None:
    schema = {
        "type": "object",
        "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "properties": {"type": "object", "properties": {"a": {}}},
            "free": {"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
            "either": {"properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"properties": {"b": {}}}]},
        },
    }
    made = closed(schema)
    inside = made["properties"]
    assert made["additionalProperties"] is False
    assert inside["labels"]["additionalProperties"] == {"type": "string"}
    assert inside["properties"]["additionalProperties"] is False
    assert inside["free"]["additionalProperties"] is True
    assert inside["either"]["oneOf"][1] == {"properties": {"b": {}}}


DOCKERFILE = """\
# a comment
FROM base AS build
WORKDIR /src
COPY one two ./
COPY folder folder
# another
RUN first \\
    && second
FROM base
RUN never
"""


def test_the_steps_of_a_build_stage_are_read_as_docker_reads_them() -> None:
    assert list(dockerfile.steps(DOCKERFILE)) == [
        ("FROM", "base AS build"),
        ("WORKDIR", "/src"),
        ("COPY", "one two ./"),
        ("COPY", "folder folder"),
        ("RUN", "first && second"),
    ]


def test_a_build_stage_runs_in_a_folder_of_its_own(tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "folder").mkdir(parents=True)
    (context / "one").write_text("1")
    (context / "folder" / "two").write_text("2")
    (path := tmp_path / "Dockerfile").write_text(
        "FROM x AS build\nWORKDIR /src\nCOPY one ./\nCOPY folder folder\n"
        "RUN mkdir -p /opt/connector && cat one folder/two > /opt/connector/both\nFROM x\n"
    )
    (folder := tmp_path / "clean").mkdir()
    assert (dockerfile.build(path, context, folder) / "both").read_text() == "12"


def test_a_step_that_fails_is_named_with_its_words(tmp_path: Path) -> None:
    (path := tmp_path / "Dockerfile").write_text("FROM x AS build\nRUN echo oh no >&2; exit 3\nFROM x\n")
    (folder := tmp_path / "clean").mkdir()
    with pytest.raises(dockerfile.StepFailed, match=r"exit 3:\s+oh no"):
        dockerfile.build(path, tmp_path, folder)
