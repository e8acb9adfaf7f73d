"""Finds plugins and calls hooks; built-ins are registered like strangers' plugins.

Plugins are found in the entry-point group `bamboo.plugins` and in the `modConfig` lines of the configuration. Where a
`modConfig` line covers a task's organisation and activity, its plugin alone is asked; else all that no line has
brought in are, the built-in last.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection
from importlib.metadata import entry_points
from typing import Any

import pluggy
import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import BadSettings, BambooError, Fault, PluginFailed
from ..core.selectors import ModEntry, best_for
from ..core.settings import AgentSection, Settings
from ..sql.error_words import in_words
from ..sql.settings import NumbersCache
from . import hookspecs
from .contracts import Mission, PluginContext
from .generic import BUILT_IN, ON_REQUEST, PANDA_NAMES

ENTRY_POINTS = "bamboo.plugins"


class Plugins:
    """The plugins of one process."""

    def __init__(self, settings: Settings, engine: sa.Engine, clock: Clock) -> None:
        self._settings = settings
        self.numbers = NumbersCache(engine, clock)  #: settings in the database, for whoever has plugins
        self._context = PluginContext(engine, clock, settings, self.numbers, self.first)
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for built_in in BUILT_IN:
            self._register(built_in, f"{built_in.__module__}:{built_in.__name__}")
        self._manager.load_setuptools_entrypoints(ENTRY_POINTS)
        self._scoped: list[object] = []
        self._load_configured()

    def first(self, section: str, hook: str, vo: str, label: str, **data: Any) -> Any:
        """Ask the plugin that the configuration chooses for an organisation and activity.

        Raises what the plugin raises if that is one of our errors, and `PluginFailed` for anything else, such as
        no answer at all.
        """
        caller, name = self._caller(section, hook, vo, label)
        try:
            answer = caller(**data)
        except BambooError:
            raise
        except Exception as error:
            raise PluginFailed(f"{name} failed in {hook}: {in_words(error)}") from error
        if answer is None:
            raise PluginFailed(f"no plugin answers {hook} for {vo}:{label}", hint=f"see modConfig in [{section}]")
        return answer

    def asked(self, section: str, hook: str, vo: str, label: str) -> str:
        """The plugin that `first` asks, by name; of several the one that is asked first."""
        caller, _ = self._caller(section, hook, vo, label)
        return next((one.plugin_name for one in reversed(caller.get_hookimpls())), "none")

    def each(self, hook: str, **data: Any) -> list[tuple[str, Any]]:
        """Ask every plugin that has the hook, one by one: [(plugin, its answer or the error it raised)]."""
        answers: list[tuple[str, Any]] = []
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in reversed(implementations):
            try:
                answers.append((implementation.plugin_name, implementation.function(**data)))
            except Exception as error:  # noqa: BLE001 - one plugin's failure must not keep the others from their turn
                answers.append((implementation.plugin_name, error))
        return answers

    def missions(self) -> list[tuple[str, Mission, Callable[..., Any]]]:
        """The errands of the watchdogs: [(plugin, mission, the function to call with `now` and `mission`)].

        In the order in which they are configured: the later may use what the earlier found. A plugin that takes no
        `mission` has one, for all tasks; the others have one for each `modConfig` entry.
        """
        found = []
        for implementation in self._manager.hook.watch.get_hookimpls():
            name, own_period = implementation.plugin_name, getattr(implementation.plugin, "period_seconds", None)
            entries = [entry for entry in self._settings.watchdog.modConfig if _our_path(entry) == name]
            if "mission" not in implementation.argnames or not entries:
                missions = [Mission(name.partition(":")[2], period_seconds=own_period)]
            else:
                missions = [self._mission(entry, own_period) for entry in entries]
            takes = set(implementation.argnames)
            found += [(name, mission, _taking(implementation.function, takes)) for mission in missions]
        return found

    def _mission(self, entry: ModEntry, own_period: float | None) -> Mission:
        name = entry.name or entry.class_name
        named = [one for one in self._settings.watchdog.procConfig if one.name == name]
        ours = [one for one in named if one.scope == entry.scope] or named
        period = next((one.period_seconds for one in ours if one.period_seconds), own_period)
        return Mission(name, entry.scope.vos, entry.scope.labels, period)

    def names(self) -> list[str]:
        """The registered plugins."""
        return sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)

    def _caller(self, section: str, hook: str, vo: str, label: str) -> tuple[pluggy.HookCaller, str]:
        entries = getattr(self._settings, section).modConfig
        entry = best_for(entries, vo, label)
        if entry is None:
            return self._manager.subset_hook_caller(hook, remove_plugins=self._scoped), "a plugin"
        name = _our_path(entry)
        others = [plugin for plugin in self._manager.get_plugins() if self._manager.get_name(plugin) != name]
        return self._manager.subset_hook_caller(hook, remove_plugins=others), name

    def _load_configured(self) -> None:
        faults: list[Fault] = []
        for section, entry in _configured(self._settings):
            path = _our_path(entry)
            if self._manager.get_plugin(path) is not None:
                continue
            try:
                module, _, class_name = path.partition(":")
                self._register(getattr(importlib.import_module(module), class_name), path)
                self._scoped.append(self._manager.get_plugin(path))
            except (ImportError, AttributeError, TypeError, ValueError, pluggy.PluginValidationError) as error:
                faults.append(
                    Fault(f"[{section}] modConfig", f"cannot load {path}: {error}", "correct the module and class")
                )
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            faults.append(Fault("a plugin", str(error), "see docs/plugins.md for the hooks there are"))
        if faults:
            raise BadSettings("plugins cannot be loaded", faults)

    def _register(self, plugin_class: type, name: str) -> None:
        takes_context = bool(inspect.signature(plugin_class).parameters)
        self._manager.register(plugin_class(self._context) if takes_context else plugin_class(), name)


def only_built_in(settings: Settings) -> bool:
    """Whether no code but ours would be loaded: then one set of plugins may be made before processes are forked."""
    ours = {f"{built_in.__module__}:{built_in.__name__}" for built_in in (*BUILT_IN, *ON_REQUEST)}
    configured = {_our_path(entry) for _, entry in _configured(settings)}
    return configured <= ours and not entry_points(group=ENTRY_POINTS)


def _taking(function: Callable[..., Any], names: Collection[str]) -> Callable[..., Any]:
    """A function that is called with only those of its arguments that `function` takes."""
    return lambda **data: function(**{name: value for name, value in data.items() if name in names})


def _configured(settings: Settings) -> list[tuple[str, ModEntry]]:
    sections = [(name, getattr(settings, name)) for name in type(settings).model_fields]
    return [
        (name, entry) for name, section in sections if isinstance(section, AgentSection) for entry in section.modConfig
    ]


def _our_path(entry: ModEntry) -> str:
    """The plugin that an entry names; the generic plugins of PanDA's examples are ours of the same purpose."""
    return PANDA_NAMES.get(entry.class_name, entry.path) if entry.module.startswith("pandajedi.") else entry.path
