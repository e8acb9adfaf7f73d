"""Inputs that are made up: few in the suite, always the same; many, always others, in `make fuzz`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

#: How many times as many as in the suite.
TIMES = int(os.environ.get("BAMBOO_FUZZ", "1"))


def examples(n: int) -> settings:
    """Settings for a test that looks at `n` inputs in the suite."""
    is_long = TIMES > 1
    phases = [Phase.generate, Phase.shrink] if is_long else [Phase.generate]
    return settings(
        max_examples=n * TIMES,
        derandomize=not is_long,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def damaged(sources: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the sources with some of its bytes replaced, left out or put in."""
    return st.composite(_damaged)(sources, st.binary(max_size=12))


def mistyped(sources: Sequence[str], words: Sequence[str]) -> st.SearchStrategy[str]:
    """The same of texts; what is put in is often one of the words."""
    return st.composite(_damaged)(sources, st.sampled_from(words) | st.text(max_size=12))


def _damaged(draw: Any, sources: Sequence[Any], pieces: Any) -> Any:
    content = draw(st.sampled_from(sources))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = draw(st.integers(begin, min(len(content), begin + 40)))
        content = content[:begin] + draw(pieces) + content[end:]
    return content


#: Values that are seldom meant.
ODD: st.SearchStrategy[Any] = st.sampled_from(
    ["", "None", "1e999", "-1", "\x00", "%", "${", "a" * 5000, 0, -1, 2**63, 0.5, True, None, [], {}]
)
JSON = st.recursive(ODD | st.text(max_size=8) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@st.composite
def altered(draw: Any, sources: Sequence[Any]) -> Any:
    """One of the values as JSON has them, with some of its parts replaced, left out or given another name."""
    made = json.loads(json.dumps(draw(st.sampled_from(sources))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(made))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename"]))
        if how == "replace":
            holder[key] = draw(JSON)
        elif how == "remove" or not isinstance(holder, dict):
            del holder[key]
        else:
            holder[f"{key}{draw(st.text(max_size=2))}"] = holder.pop(key)
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(part)
