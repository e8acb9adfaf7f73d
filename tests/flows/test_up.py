"""The parts of a system as operators start them: each by itself, with everything that can be wrong at the start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from systems import Operator, RunningSystem, processes

from bamboo.client import connect
from bamboo.server.serve import usable_port
from bamboo.sql import migrate

STOP_SECONDS = 60
UNREACHABLE = "postgresql+psycopg://nobody:secret@127.0.0.1:1/nothing"


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    someone = Operator(tmp_path)
    yield someone
    someone.clean_up()


# A system of parts


def test_parts_on_their_own_are_a_system(operator: Operator, tmp_path: Path) -> None:
    """Two masters, two daemons, and a pilot from the one file, as on several machines."""
    operator.environ |= {
        "BAMBOO_DATABASE__URL": f"sqlite:///{tmp_path / 'bamboo.db'}",
        "BAMBOO_SERVER__CACHE_DIR": str(tmp_path / "cache"),
        "BAMBOO_MASTER__PERIOD_SECONDS": "0.3",
        "BAMBOO_DAEMON__ENABLE": "true",
        "BAMBOO_DAEMON__CONFIG": '{"adder": {"period": 0.3}, "closer": {"period": 5, "sync": true}}',
    }
    assert operator.command("db", "upgrade").returncode == 0
    stored = operator.command("storage", "set", "DISK", "--site", "HERE", "--path", str(tmp_path / "storage"))
    assert stored.returncode == 0, stored.stderr
    operator.start("server", "-m", "bamboo", "server", "--port", "0")
    operator.environ["BAMBOO_URL"] = url = operator.wait_for("server", "serving at ")
    eventually(lambda: operator.command("queue", "list").returncode == 0, "the server")
    assert operator.command("queue", "set", "Q", "site=HERE", "storage=DISK").returncode == 0
    for part in ("jedi", "daemon"):
        for number in (1, 2):
            operator.start(f"{part}{number}", "-m", "bamboo", part)
    assert operator.command("pilot", "build").returncode == 0
    port = url.rpartition(":")[2]
    pilot = ["-q", "Q", "-j", "user", "--url", url, "-p", port, "-v", "0", "--poll-seconds", "0.3", "--timefloor", "-1"]
    operator.start("pilot", str(tmp_path / "pilot.pyz"), *pilot, "-a", str(tmp_path))

    task = connect(url, user="alice").run("echo $PandaID > id.txt", outputs=("id.txt",), n_jobs=4)
    info = task.wait(timeout_seconds=PATIENCE_SECONDS)
    assert info.status == "done", info
    assert info.jobs == {"finished": 4}
    ids = [int(Path(file.url.removeprefix("file://localhost")).read_text()) for file in task.outputs()]
    assert sorted(ids) == sorted(job.job_id for job in task.jobs())

    ends = {name: operator.stop(name) for name in ("pilot", "jedi1", "jedi2", "daemon1", "daemon2", "server")}
    assert ends == dict.fromkeys(ends, 0)
    for name in ends:
        assert "Traceback" not in operator.told(name), operator.told(name)
    eventually(lambda: not [p for p in processes().values() if str(tmp_path) in p.command], "all to be gone")


@pytest.mark.slow
def test_up_on_a_database_of_ones_own(postgres_url: str, start_system: Callable[..., RunningSystem]) -> None:
    system = start_system("--db", postgres_url)
    task = system.client.run("echo hello > x.txt", outputs=("x.txt",), n_jobs=2)
    assert task.wait(timeout_seconds=PATIENCE_SECONDS).status == "done"
    assert not list((system.folder / "state").glob("*.db"))
    assert system.stop(signal.SIGTERM) == 0
    assert system.left_behind() == []


def test_modules_in_the_working_folder_are_not_taken_for_ours(start_system: Callable[..., RunningSystem]) -> None:
    """`bamboo up` may be typed anywhere, also where somebody's own `queue.py` lies."""
    system = start_system()
    system.stop()
    for name in ("queue.py", "selectors.py", "sqlalchemy.py"):
        (system.folder / name).write_text("raise SystemExit('this is not the module')\n")
    again = subprocess.Popen(
        [sys.executable, "-P", "-m", "bamboo", "up", "--port", "0", "--state", "state"],
        cwd=system.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert again.stdout is not None
    assert "Bamboo is up at" in again.stdout.readline()
    again.send_signal(signal.SIGINT)
    assert again.wait(STOP_SECONDS) == 0
    again.stdout.close()


# What can be wrong at the start


def refused(told: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One error, no traceback, nothing on stdout, this exit status, and these words."""
    assert told.returncode == status, told
    assert told.stderr.count("error: ") == 1, told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""
    for word in words:
        assert word in told.stderr


@pytest.mark.parametrize("command", [("up", "--port", "0"), ("demo",)], ids=lambda words: words[0])
def test_a_folder_in_which_a_system_is_up(start_system: Callable[..., RunningSystem], command: tuple[str, ...]) -> None:
    """A second one would put its address in the place of the first one's; a demo would empty the folder under it."""
    system = start_system()
    state = system.folder / "state"
    refused(system.run(*command, "--state", str(state)), 7, f"a system is up in {state}", "--state")
    assert (state / "url").read_text() == system.url
    task = system.client.run("echo hello > x.txt", outputs=("x.txt",), n_jobs=1)
    assert task.wait(timeout_seconds=PATIENCE_SECONDS).status == "done"


EVERY_PART = (("server",), ("jedi",), ("daemon",), ("up",), ("db", "check"), ("db", "upgrade"), ("storage", "list"))


@pytest.fixture
def ready(operator: Operator) -> Operator:
    """An operator whose daemon may start."""
    operator.environ["BAMBOO_DAEMON__ENABLE"] = "true"
    return operator


@pytest.mark.parametrize("part", EVERY_PART, ids=" ".join)
def test_a_database_that_does_not_answer(ready: Operator, part: tuple[str, ...]) -> None:
    away = ready.command(*part, "--db", UNREACHABLE)
    refused(away, 6, "127.0.0.1:1/nothing cannot be used", "refused", "is it running")
    assert "secret" not in away.stderr


@pytest.mark.parametrize("url", ["nonsense", "nonsense://x", "mysql+nonsense://x/y"])
def test_a_database_url_that_means_nothing(operator: Operator, url: str) -> None:
    refused(operator.command("up", "--db", url), 8, "the database's URL", "postgresql://user@host/name")


@pytest.mark.parametrize("part", [("server",), ("jedi",), ("daemon",), ("storage", "list")], ids=" ".join)
def test_a_part_does_not_start_on_another_schema(
    ready: Operator, sqlite_url: str, open_database: Callable[[str], sa.Engine], part: tuple[str, ...]
) -> None:
    with open_database(sqlite_url).begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
    refused(ready.command(*part, "--db", sqlite_url), 7, "at revision 0000", "run `bamboo db upgrade`")


def test_db_says_where_the_database_is(operator: Operator, tmp_path: Path) -> None:
    operator.environ["BAMBOO_DATABASE__URL"] = f"sqlite:///{tmp_path / 'bamboo.db'}"
    refused(operator.command("jedi"), 7, "no tables of ours", "run `bamboo db upgrade`")
    assert operator.command("db", "check").returncode == 1
    upgraded = [operator.command("db", "upgrade").stdout for _ in range(2)]
    assert upgraded == [f"at revision {migrate.head()} (was: empty)\n", f"at revision {migrate.head()} already\n"]
    assert operator.command("db", "check").returncode == 0


@pytest.mark.parametrize("part", ["server", "up", "demo"])
def test_a_port_in_use_is_refused(operator: Operator, part: str, sqlite_url: str) -> None:
    """The server's workers share their port, so a second server would quietly take half of the first one's requests."""
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 0))
        first.listen()
        port = str(first.getsockname()[1])
        database = [] if part == "demo" else ["--db", sqlite_url]
        refused(operator.command(part, "--port", port, *database), 7, f"127.0.0.1:{port}", "--port")


def test_the_last_connections_of_a_server_that_died_do_not_keep_the_next_from_starting() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the side that closes first keeps the address for a minute
    client.close()
    assert usable_port("127.0.0.1", port) == port


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_others_is_refused(operator: Operator, host: str, sqlite_url: str) -> None:
    refused(operator.command("server", "--host", host, "--db", sqlite_url), 8, host)


def test_a_bad_configuration_is_told_whole_by_every_command(ready: Operator, tmp_path: Path) -> None:
    (tmp_path / "panda_server.cfg").write_text("[server]\nport = abc\nportt = 1\n")
    ready.environ["BAMBOO_MASTER__ROUND_SECOND"] = "1"
    for command in (("config", "check"), ("server",), ("daemon",)):
        told = ready.command(*command)
        refused(told, 8, "panda_server.cfg:2", "panda_server.cfg:3", "did you mean 'port'", "ROUND_SECOND")
    refused(ready.command("config", "check", "--config", "no.cfg"), 8, "no.cfg")


def test_config_show_says_where_values_come_from(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "panda_server.cfg").write_text("[server]\nthreads = 7\n")
    operator.environ |= {"BAMBOO_SERVER__PORT": "25111", "BAMBOO_DATABASE__DBPASSWD": "swordfish"}
    shown = operator.command("config", "show", "--origin")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert any(line.startswith("threads = 7    # ") and "panda_server.cfg:2" in line for line in lines)
    assert any(line.startswith("port = 25111    # ") and "BAMBOO_SERVER__PORT" in line for line in lines)
    assert "log_level = INFO    # default" in lines
    assert "swordfish" not in shown.stdout
    assert operator.command("config", "check").returncode == 0


# Small manners


def test_help_is_quick(operator: Operator) -> None:
    """It imports no more than click: an import of anything large takes a multiple of the interpreter's own start."""
    script = (
        "import sys; from bamboo.__main__ import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.splitlines()[-1].split())
    assert "bamboo.client.cli" in loaded
    assert not loaded & {"sqlalchemy", "flask", "pydantic", "requests", "rich", "alembic"}
    for part in ("up", "demo", "server", "db", "pilot"):
        assert operator.command(part, "--help").returncode == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "bamboo", "completion", "bash"]
    reading, writing = os.pipe()
    os.close(reading)
    told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (told.returncode, told.stderr) == (141, "")
