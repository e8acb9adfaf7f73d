"""Older clients of PanDA: by curl, by urllib, and with the monitor's listings (client protocol 12)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from panda import OLDER_CLIENTS, PandaClient
from patience import eventually
from scenarios import Site

TRANSPORTS = {"curl": {}, "urllib": {"PANDA_USE_NATIVE_HTTPLIB": "1"}}


@pytest.fixture(scope="module")
def site(start_site: Callable[..., Site], sqlite_module_url: str) -> Site:
    return start_site(sqlite_module_url, "--pilots", "2")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", OLDER_CLIENTS)
def test_submit_show_kill_and_retry(
    version: str, transport: str, site: Site, panda_client: Callable[..., PandaClient], tmp_path: Path
) -> None:
    monitor = {"PANDAMON_URL": site.system.url}  # read by versions before 1.7.2
    alice = panda_client(site, version=version, more={**TRANSPORTS[transport], **monitor})
    (alice.folder / "work.sh").write_text(f"test -e {tmp_path / 'good'} && echo done > x.txt\n")
    name = f"user.alice.v{version}.{transport}"
    task = alice.prun("--exec", "sh work.sh", "--outputs", "x.txt", "--outDS", f"{name}.a", "--maxAttempt", "1")
    assert site.end_of(task) == "failed"
    assert site.client.task_info(task).row["processingType"].startswith(f"panda-client-{version}-")
    assert re.search(rf"{task}\D[^\n]*failed", alice.pbook("show")), alice.pbook("show")
    assert name in alice.pbook("show", str(task))
    (tmp_path / "good").touch()
    assert "queued" in alice.pbook("retry", str(task))
    eventually(lambda: site.client.task_info(task).status == "done", "the task to be done")
    assert site.contents(f"{name}.a_x.txt") == ["done\n"]

    stays = alice.prun("--exec", "sleep 100", "--outputs", "x.txt", "--outDS", f"{name}.b", "--noBuild")
    assert "will be killed" in alice.pbook("kill", str(stays))
    assert site.end_of(stays) == "aborted"
    site.check_books(task)
    site.check_books(stays)
