"""How many inputs are made up for a test: few in the suite, always the same; many, always others, in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

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
