"""The bugs that `make chaos-mutants` puts into the daemon stay alive: each applies to this tree and names real runs."""

import re

import pytest

from tests.chaos.mutants.patches import ROOT, Patch, patches, refused


def test_there_are_ten_known_bugs() -> None:
    assert [int(patch.name[:2]) for patch in patches()] == list(range(1, 11))


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.name)
def test_a_known_bug_still_applies_to_this_tree(patch: Patch) -> None:
    assert refused(patch, ROOT, check=True) == "", "make the patch anew: what it breaks has moved"


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.name)
def test_a_known_bug_names_runs_that_exist(patch: Patch) -> None:
    for run in patch.runs:
        path, _, test = run.partition("::")
        assert re.search(rf"^(async )?def {re.escape(test.partition('[')[0])}\(", (ROOT / path).read_text(), re.M), run
