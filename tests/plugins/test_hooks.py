"""Hooks are a documented surface, every one has a plugin that uses it, and a bad plugin hurts only its own task."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

import bamboo
from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings, PluginFailed, Retriable
from bamboo.core.selectors import parse_mod_config
from bamboo.core.settings import AgentSection, RetrySection, Settings
from bamboo.core.states import TaskState
from bamboo.plugins import hookspecs
from bamboo.plugins.contracts import Choice, FailedJob, RetryDecision, Tally, Verdict
from bamboo.plugins.generic import BUILT_IN
from bamboo.plugins.hookspecs import hookimpl
from bamboo.plugins.manager import Plugins
from bamboo.tests.plugins.test_watchdog_rules import task

HOOKS = {
    name: hook
    for name, hook in vars(hookspecs).items()
    if inspect.isfunction(hook) and hook.__module__ == hookspecs.__name__
}
DOCS = (Path(bamboo.__file__).parent / "docs" / "plugins.md").read_text()


@pytest.fixture
def make_plugins(
    sqlite_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock
) -> Callable[..., Plugins]:
    return lambda **sections: Plugins(Settings(**sections), open_database(sqlite_url), clock)


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of an organisation's own, with plugins in it."""
    module = ModuleType("my_experiment")

    class Moody:
        @hookimpl
        def retry_input(self, failure: FailedJob) -> RetryDecision | None:
            if failure.attempt_nr == 1:
                raise ZeroDivisionError("oops")
            if failure.attempt_nr == 2:
                raise Retriable("not now")
            return None if failure.attempt_nr == 3 else RetryDecision(False, "moody")

        @hookimpl
        def watch(self, now: Any) -> None:
            raise RuntimeError("a dog that bites")

    class NoSuchHook:
        @hookimpl
        def retry_inputs(self, failure: FailedJob) -> None: ...

    module.Moody = Moody  # type: ignore[attr-defined]
    module.NoSuchHook = NoSuchHook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_experiment", module)
    return module


def failure(attempt_nr: int) -> FailedJob:
    return FailedJob(1, 2, "wlcg", "user", attempt_nr, ())


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_arguments(name: str) -> None:
    assert f"## {name}({', '.join(inspect.signature(HOOKS[name]).parameters)})" in DOCS


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_built_in_plugin(name: str) -> None:
    users = [plugin.__name__ for plugin in BUILT_IN if hasattr(plugin, name)]
    assert users
    assert all(f"`{user}`" in DOCS for user in users)


def test_a_plugin_of_the_configuration_is_asked_alone(
    make_plugins: Callable[..., Plugins], stranger: ModuleType
) -> None:
    section = RetrySection(modConfig=parse_mod_config("wlcg:user:my_experiment:Moody"))
    plugins = make_plugins(retry=section)
    assert plugins.first("retry", "retry_input", "wlcg", "user", failure=failure(9)) == RetryDecision(False, "moody")
    assert plugins.first("retry", "retry_input", "other", "user", failure=failure(9)).why in (
        "moody",
        "the failure may pass",
    )
    assert "my_experiment:Moody" in plugins.names()


def test_a_crash_says_which_plugin_and_hook(make_plugins: Callable[..., Plugins], stranger: ModuleType) -> None:
    plugins = make_plugins(retry=RetrySection(modConfig=parse_mod_config("wlcg:user:my_experiment:Moody")))
    with pytest.raises(PluginFailed, match="my_experiment:Moody failed in retry_input: ZeroDivisionError: oops"):
        plugins.first("retry", "retry_input", "wlcg", "user", failure=failure(1))
    with pytest.raises(Retriable, match="not now"):
        plugins.first("retry", "retry_input", "wlcg", "user", failure=failure(2))
    with pytest.raises(PluginFailed, match="no plugin answers retry_input for wlcg:user"):
        plugins.first("retry", "retry_input", "wlcg", "user", failure=failure(3))


def test_each_asks_all_in_spite_of_errors(
    make_plugins: Callable[..., Plugins], stranger: ModuleType, clock: ManualClock
) -> None:
    plugins = make_plugins(watchdog=AgentSection(modConfig=parse_mod_config("::my_experiment:Moody")))
    answers = dict(plugins.each("watch", now=clock()))
    assert isinstance(answers["my_experiment:Moody"], RuntimeError)
    assert answers["bamboo.plugins.generic.task_timeouts:TaskTimeouts"] == {}


def test_plugins_that_cannot_be_loaded_are_named_all_at_once(
    make_plugins: Callable[..., Plugins], stranger: ModuleType
) -> None:
    lines = "::my_experiment:Missing, :user:no_such_module:X, :test:my_experiment:NoSuchHook"
    with pytest.raises(BadSettings) as caught:
        make_plugins(retry=RetrySection(modConfig=parse_mod_config(lines)))
    told = str(caught.value)
    assert all(name in told for name in ("my_experiment:Missing", "no_such_module:X", "retry_inputs"))


def test_pandas_generic_names_mean_ours(make_plugins: Callable[..., Plugins]) -> None:
    line = "wlcg:any:pandajedi.jedipprocess.GenPostProcessor:GenPostProcessor"
    plugins = make_plugins(postprocessor=AgentSection(modConfig=parse_mod_config(line)))
    tally = Tally(n_files=3, n_finished=1, n_failed=2)
    verdict: Verdict = plugins.first("postprocessor", "post_process", "wlcg", "user", task=task(1), tally=tally)
    assert verdict.state is TaskState.FINISHED


def test_a_choice_explains_itself() -> None:
    choice = Choice(["a", "b"], {"too small": ["c", "d"], "offline": []})
    assert choice.why() == {
        "chosen": ["a", "b"],
        "passed": 2,
        "rejected": {"too small": {"count": 2, "example": "c"}},
    }
