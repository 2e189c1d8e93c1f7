from __future__ import annotations

import sys

import pytest

from converge_core import PluginError
from converge_core.packs import DeterminismSpec, SolveBudgets
from converge_plugins.solvers.assignment import AssignmentPack, AssignmentProblem
from converge_plugins.solvers.jobs import Job, ScheduleProblem
from converge_plugins.solvers.knapsack import KnapsackItem, KnapsackPack, KnapsackProblem
from converge_plugins.solvers.needs import Deadline
from converge_plugins.solvers.schedule import SchedulePack
from tests.plugins.solvers.clocks import looks, stopped

MESSAGE = r"there is no scipy here: pip install 'converge-runtime\[solvers\]'"


NOBODY = AssignmentProblem(lefts=(), rights=(), pairs=())
THINGS = KnapsackProblem(items=(KnapsackItem(id="a", value=1),), limits={})
WORK = ScheduleProblem(machines=("m",), jobs=(Job(id="a", duration=1),))


def test_without_scipy_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(PluginError, match=MESSAGE):
        AssignmentPack().solve(NOBODY, SolveBudgets(), DeterminismSpec())
    with pytest.raises(PluginError, match=MESSAGE):
        KnapsackPack().solve(THINGS, SolveBudgets(), DeterminismSpec())
    with pytest.raises(PluginError, match=MESSAGE):
        SchedulePack().solve(WORK, SolveBudgets(), DeterminismSpec())


def test_a_deadline_is_shared_by_all_who_look_at_it() -> None:
    deadline = Deadline(1.0, looks(2))
    assert [deadline.left() for _ in range(4)] == [1.0, 1.0, 0.0, 0.0]


def test_a_deadline_that_has_passed_leaves_nothing() -> None:
    assert Deadline(-5.0, stopped).left() == 0.0
