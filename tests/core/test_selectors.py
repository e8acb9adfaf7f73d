"""The modConfig and procConfig lines."""

from __future__ import annotations

import pytest

from bamboo.core.selectors import best_for, parse_mod_config, parse_proc_config


def test_the_narrowest_entry_that_covers_wins() -> None:
    entries = parse_mod_config("::a.b:Any, wlcg:any:a.b:Vo, wlcg:managed|test:a.b:VoAndLabel, :user:a.b:Label:nick")
    chosen = {
        (vo, label): entry.class_name if (entry := best_for(entries, vo, label)) else None
        for vo in ("wlcg", "other")
        for label in ("managed", "user", "ptest")
    }
    assert chosen == {
        ("wlcg", "managed"): "VoAndLabel",
        ("wlcg", "user"): "Vo",
        ("wlcg", "ptest"): "Vo",
        ("other", "managed"): "Any",
        ("other", "user"): "Label",
        ("other", "ptest"): "Any",
    }
    assert best_for(parse_mod_config("wlcg::a:B"), "other", "user") is None


@pytest.mark.parametrize("text", ["a:b", "a:b:c", "a:b:c:", "a:b::D", "a:b:c:D:e:f"])
def test_a_bad_mod_config_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not vo:label:module:Class"):
        parse_mod_config(text)


def test_processes_with_names_and_periods() -> None:
    first, second = parse_proc_config("wlcg:managed|test:2, ::1:slow:30")
    assert (first.n_processes, first.period_seconds, first.scope.labels) == (2, None, frozenset({"managed", "test"}))
    assert (second.name, second.period_seconds) == ("slow", 30.0)
    with pytest.raises(ValueError, match="'a:b:many' is not"):
        parse_proc_config("a:b:many")
