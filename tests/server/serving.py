"""The server as a real process, for tests: python serving.py URL CACHE_DIR [SECTION as JSON]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bamboo.core.settings import DatabaseSection, ServerSection, Settings
from bamboo.server.serve import serve

if __name__ == "__main__":
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {"port": 0, "workers": 2}
    section = ServerSection(**{**given, "cache_dir": Path(sys.argv[2])})
    settings = Settings(database=DatabaseSection(url=sys.argv[1]), server=section)
    serve(settings, started=lambda address: print(address, flush=True))  # noqa: T201 - the test reads it
