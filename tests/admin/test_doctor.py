"""`bamboo doctor`: each thing it looks at is really broken here, and it has to say which, and what to do."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from bamboo.__main__ import main
from bamboo.admin.database import opened
from bamboo.admin.doctor import clocks, database, disk, outside, permissions, plugins, tokens, work
from bamboo.admin.doctor.examination import examine
from bamboo.admin.doctor.findings import Finding, Verdict, worst
from bamboo.admin.doctor.patient import Measures, Patient
from bamboo.admin.state import StateFolder
from bamboo.admin.tokens import key_folder
from bamboo.core.clock import utc_now
from bamboo.core.service import Round
from bamboo.core.settings import load
from bamboo.sql import backups, grid_sources, migrate, queues, service_rounds
from bamboo.sql import tables as t
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def examined(tmp_path: Path, sqlite_url: str) -> Callable[..., list[Finding]]:
    """Examines an installation with a cfg file and variables, on a database at head unless another is given."""

    def _examined(
        cfg: str = "", db: str | None = None, state: StateFolder | None = None, **variables: str
    ) -> list[Finding]:
        file = tmp_path / "doctor.cfg"
        file.write_text(cfg)
        file.chmod(0o600)
        environ = {"BAMBOO_SERVER__CACHE_DIR": str(tmp_path / "cache"), "BAMBOO_SERVER__PORT": "1", **variables}
        return examine((file,), environ, db_url=sqlite_url if db is None else db, state=state)

    return _examined


@pytest.fixture
def patient(tmp_path: Path, engine: sa.Engine, database_url: str) -> Callable[..., Patient]:
    """An installation with settings from variables."""

    def _patient(environ: dict[str, str] | None = None, **more: object) -> Patient:
        settings = load((), environ or {}).settings
        given = {"config_files": (), "environ": environ or {}, "engine": engine, **more}
        return Patient(settings, database_url, **given)  # type: ignore[arg-type]

    return _patient


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    """What is not right: check and verdict."""
    return [(one.check, str(one.verdict)) for one in findings if one.verdict is not Verdict.OK]


def the_one(findings: list[Finding], words: str) -> Finding:
    """The one finding in which these words are; it is told what to do unless all is well."""
    (found,) = [one for one in findings if words in one.what]
    assert found.do or found.verdict is Verdict.OK
    return found


def test_nothing_is_wrong_with_a_sound_installation(examined: Callable[..., list[Finding]]) -> None:
    """Only nothing of it runs yet, it has no queues, and the daemon may be elsewhere: no faults."""
    found = examined()
    assert worst(found) is Verdict.WARNING
    assert sorted(check for check, _ in bad(found)) == ["plugins", "server", "work", "work"]
    groups = {"configuration", "database", "clocks", "disk", "permissions", "plugins", "tokens", "server", "work"}
    assert groups <= {one.check for one in found}


def test_a_configuration_that_cannot_be_read_ends_it(examined: Callable[..., list[Finding]]) -> None:
    found = examined("[server]\nprot = 25080\n[nonsense]\nx = 1\n")
    faults = [one for one in found if one.verdict is Verdict.FAULT]
    assert {one.check for one in faults} == {"configuration"}
    assert "port" in the_one(faults, "'prot'").do
    the_one(faults, "'nonsense'")
    assert the_one(found, "not looked at").verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no database is named"),
        ("no url", "Could not parse"),
        ("sqlite:////nowhere/at/all.db", "there is no such file"),
        ("postgresql://nobody@127.0.0.1:1/nothing", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used(examined: Callable[..., list[Finding]], url: str, words: str) -> None:
    """The checks that need none go on."""
    found = examined(db=url)
    assert the_one(found, words).verdict is Verdict.FAULT
    assert {"disk", "plugins", "tokens"} <= {one.check for one in found}
    assert not Path("/nowhere").exists()


def test_a_schema_that_is_not_of_this_version(
    tmp_path: Path, patient: Callable[..., Patient], engine: sa.Engine
) -> None:
    assert the_one(list(database.check(patient())), "its schema is at revision").verdict is Verdict.OK
    with engine.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    assert "bamboo db upgrade" in the_one(list(database.check(patient())), "at revision 0003").do
    with engine.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert "install the version" in the_one(list(database.check(patient())), "newer").do
    empty = open_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    found = list(database.check(Patient(load((), {}).settings, url, (), {}, engine=empty)))
    assert the_one(found, "no tables of ours").verdict is Verdict.FAULT
    empty.dispose()


def test_a_damaged_file(tmp_path: Path, sqlite_url: str) -> None:
    file = tmp_path / "damaged.db"
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), file)
    pages = bytearray(file.read_bytes())
    pages[8192:12288] = b"\xff" * 4096
    file.write_bytes(pages)
    found = examine((), {"BAMBOO_SERVER__PORT": "1"}, db_url=f"sqlite:///{file}")
    assert [one for one in found if one.verdict is Verdict.FAULT and one.check == "database"]


def test_a_postgres_that_forgets_and_one_that_may_only_be_read(postgres_url: str) -> None:
    """The tests' own server has its fsync off, as nobody cuts the power."""
    engine = open_engine(postgres_url)
    patient = Patient(load((), {}).settings, postgres_url, (), {}, engine=engine)
    told = the_one(list(database.check(patient)), "power cut")
    assert told.verdict is Verdict.FAULT
    assert "fsync = on" in told.do
    name = sa.make_url(postgres_url).database
    with engine.begin() as tx:
        tx.execute(sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    engine.dispose()
    assert the_one(list(database.check(patient)), "may only be read").verdict is Verdict.FAULT
    engine.dispose()


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, Verdict.OK), (10, Verdict.WARNING), (-10, Verdict.WARNING), (600, Verdict.FAULT)]
)
def test_a_clock_that_is_wrong(patient: Callable[..., Patient], seconds: int, verdict: Verdict) -> None:
    (found,) = clocks.check(patient(clock=lambda: utc_now() + timedelta(seconds=seconds)))
    assert found.verdict is verdict


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, patient: Callable[..., Patient]) -> None:
    (tmp_path / "file").touch()
    given = {"BAMBOO_SERVER__CACHE_DIR": str(tmp_path / "file"), "BAMBOO_COMMON__LOGDIR": "/proc/logs"}
    found = list(disk.check(patient(given)))
    assert the_one(found, "is no folder").where.startswith(str(tmp_path / "file"))
    assert the_one(found, "cannot write there").where.startswith("/proc/logs")


def test_a_disk_without_room(patient: Callable[..., Patient]) -> None:
    """The bar is moved, not the disk: what is free is measured."""
    huge = 1 << 60
    low = list(disk.check(patient(measures=Measures(low_disk_bytes=huge))))
    none = list(disk.check(patient(measures=Measures(no_disk_bytes=huge))))
    assert {one.verdict for one in low} == {Verdict.WARNING}
    assert {one.verdict for one in none} == {Verdict.FAULT}


def test_files_that_others_can_read_or_change(tmp_path: Path, examined: Callable[..., list[Finding]]) -> None:
    state = StateFolder(tmp_path / "state")
    keys = key_folder(state)
    keys.prepare(utc_now())
    trusted = {"BAMBOO_SERVER__TOKEN_KEYS": str(keys.trusted_keys), "BAMBOO_SERVER__AUTH_POLICIES": str(keys.policies)}
    given = {**trusted, "BAMBOO_SERVER__SECRETS_KEY": f"file:{keys.secrets_key}"}
    assert not [one for one in examined(state=state, **given) if (one.check, one.verdict) == ("permissions", "fault")]
    keys.secrets_key.chmod(0o644)
    keys.policies.chmod(0o666)
    shutil.copy(keys.signing_key, tmp_path / "private.pem")
    given["BAMBOO_SERVER__TOKEN_KEYS"] = f"{keys.trusted_keys},{tmp_path / 'private.pem'}"
    found = [one for one in examined(state=state, **given) if one.check == "permissions"]
    assert the_one(found, "a secret that others can read").where == str(keys.secrets_key)
    assert the_one(found, "others than its owner can change it").where == str(keys.policies)
    assert the_one(found, "a private key").where == str(tmp_path / "private.pem")


@pytest.mark.parametrize(
    ("cfg", "mode", "words"),
    [
        ("[database]\nbackend = postgres\ndbhost = h\ndbpasswd = s3cret\n", 0o644, "it holds a password"),
        ("[database]\nurl = postgresql://me:s3cret@h/b\n", 0o604, "it holds a password"),
        ("[server]\nport = 1\n", 0o646, "everybody on this machine can change it"),
        ("[server]\nport = 1\n", 0o644, ""),
    ],
)
def test_cfg_files_with_passwords(tmp_path: Path, cfg: str, mode: int, words: str) -> None:
    file = tmp_path / "panda_server.cfg"
    file.write_text(cfg)
    file.chmod(mode)
    patient = Patient(load([file]).settings, "", (file,), {})
    (found,) = permissions.check(patient)
    assert found.verdict is (Verdict.FAULT if words else Verdict.OK)
    assert words in found.what
    assert "s3cret" not in str(found)


def test_a_database_that_everybody_can_read(tmp_path: Path, sqlite_url: str) -> None:
    open_to_all = tmp_path / "all" / "bamboo.db"
    open_to_all.parent.mkdir(mode=0o755)
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), open_to_all)
    patient = Patient(load((), {}).settings, f"sqlite:///{open_to_all}", (), {})
    open_to_all.chmod(0o666)
    assert the_one(list(permissions.check(patient)), "change the database").verdict is Verdict.FAULT
    open_to_all.chmod(0o600)
    assert list(permissions.check(patient)) == []


def test_a_database_that_bamboo_makes_is_not_for_everybody(tmp_path: Path) -> None:
    made = tmp_path / "bamboo.db"
    with opened(f"sqlite:///{made}") as engine:
        migrate.upgrade(engine)
        backups.copy_sqlite(engine, tmp_path / "copy.db")
    assert [stat.S_IMODE(path.stat().st_mode) & 0o007 for path in (made, tmp_path / "copy.db")] == [0, 0]


def test_the_daemon_of_a_system_that_is_up(tmp_path: Path, examined: Callable[..., list[Finding]]) -> None:
    """`bamboo up` runs one without a word of it in the configuration."""
    found = examined(state=StateFolder(tmp_path / "state"))
    assert the_one(found, "chores can be run").verdict is Verdict.OK
    assert "plugins" not in [check for check, _ in bad(found)]


def test_plugins_and_chores_that_are_not_there(patient: Callable[..., Patient]) -> None:
    chores = {"adder": {"period": 1}, "wacher": {"period": 1}}
    given = {
        "BAMBOO_JOBBROKER__MODCONFIG": "any:any:no.such.module:Broker",
        "BAMBOO_DAEMON__CONFIG": json.dumps(chores),
        "BAMBOO_RETRY__RULES_FILE": "/no/such/rules.toml",
    }
    found = list(plugins.check(patient(given)))
    assert [one.verdict for one in found] == [Verdict.FAULT] * 3
    assert "no.such.module" in found[0].what
    assert "watcher" in the_one(found, "there is no module").do


def test_tokens_that_have_ended_or_are_not_trusted(tmp_path: Path, patient: Callable[..., Patient]) -> None:
    ours, others = key_folder(StateFolder(tmp_path / "ours")), key_folder(StateFolder(tmp_path / "others"))
    for keys in (ours, others):
        keys.prepare(NOW)
    trusted = {
        "BAMBOO_SERVER__TOKEN_AUTHTYPE": "oidc",
        "BAMBOO_SERVER__TOKEN_KEYS": str(ours.trusted_keys),
        "BAMBOO_SERVER__AUTH_POLICIES": str(ours.policies),
    }

    def told(token: str, at: datetime) -> Finding:
        asked = patient(trusted, clock=lambda: at)
        asked = Patient(asked.settings, asked.url, (), {"BAMBOO_TOKEN": token}, clock=asked.clock)
        return next(one for one in tokens.check(asked) if one.where == "$BAMBOO_TOKEN")

    mine = ours.issue("me", ("user",), now=NOW, days=10)
    assert told(mine, NOW).verdict is Verdict.OK
    assert told(mine, NOW + timedelta(days=8)).verdict is Verdict.WARNING
    assert "expired" in told(mine, NOW + timedelta(days=11)).what
    assert "not trusted" in told(others.issue("me", ("user",), now=NOW, days=10), NOW).what


def test_a_server_that_could_let_in_nobody(patient: Callable[..., Patient]) -> None:
    assert the_one(list(tokens.check(patient({"BAMBOO_SERVER__TOKEN_AUTHTYPE": "oidc"}))), "missing").do
    open_to_all = {"BAMBOO_SERVER__HOST": "192.0.2.1"}
    assert the_one(list(tokens.check(patient(open_to_all))), "callers need no token").verdict is Verdict.WARNING
    no_key = {"BAMBOO_SERVER__SECRETS_KEY": "env:NO_SUCH_VARIABLE"}
    assert the_one(list(tokens.check(patient(no_key))), "leads to no key").verdict is Verdict.FAULT


@pytest.fixture
def listener() -> Iterator[Callable[[bytes], int]]:
    """Something that answers whoever connects with these bytes, at the port returned."""
    opened: list[socket.socket] = []

    def _listen(answer: bytes) -> int:
        ear = socket.create_server(("127.0.0.1", 0))
        opened.append(ear)

        def serve() -> None:
            while True:
                try:
                    with ear.accept()[0] as caller:
                        caller.sendall(answer)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        return int(ear.getsockname()[1])

    yield _listen
    for ear in opened:
        ear.shutdown(socket.SHUT_RDWR)
        ear.close()


@pytest.mark.parametrize(
    ("greeting", "verdict"), [(b"220 mail.test ESMTP\r\n", Verdict.OK), (b"SSH-2.0-x\r\n", Verdict.FAULT)]
)
def test_a_mail_server_that_is_none(
    patient: Callable[..., Patient], listener: Callable[[bytes], int], greeting: bytes, verdict: Verdict
) -> None:
    given = {"BAMBOO_NOTIFY__SMTP_HOST": "127.0.0.1", "BAMBOO_NOTIFY__SMTP_PORT": str(listener(greeting))}
    (found,) = [one for one in outside.check(patient(given)) if one.check == "mail"]
    assert found.verdict is verdict


def test_a_mail_server_that_is_away(patient: Callable[..., Patient]) -> None:
    given = {"BAMBOO_NOTIFY__SMTP_HOST": "127.0.0.1", "BAMBOO_NOTIFY__SMTP_PORT": "1"}
    assert the_one(list(outside.check(patient(given))), "mail server does not answer").verdict is Verdict.FAULT


def test_a_server_that_is_away_or_cannot_work(
    patient: Callable[..., Patient], listener: Callable[[bytes], int]
) -> None:
    away = outside.check(patient({"BAMBOO_SERVER__PORT": "1"}))
    assert the_one(list(away), "no server answers").verdict is Verdict.WARNING
    port = listener(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    for where in ({"BAMBOO_SERVER__PORT": str(port)}, {"BAMBOO_URL": f"http://127.0.0.1:{port}/"}):
        broken = outside.check(patient(where))
        assert the_one(list(broken), "it cannot work (HTTP 503)").verdict is Verdict.FAULT


def test_message_processors_that_nobody_runs(patient: Callable[..., Patient]) -> None:
    given = {"BAMBOO_MSGPROCESSOR__PROCCONFIG": "any:any:1"}
    assert the_one(list(outside.check(patient(given))), "message processors").verdict is Verdict.WARNING


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_grid_documents_that_cannot_be_taken_in(patient: Callable[..., Patient], engine: sa.Engine) -> None:
    with engine.begin() as tx:
        kind = grid_sources.all_sources(tx)[0].kind
        grid_sources.failed(tx, kind, error="HTTP 500", now=NOW)
    assert the_one(list(outside.check(patient())), "HTTP 500").verdict is Verdict.WARNING


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_work_that_nobody_does(patient: Callable[..., Patient], engine: sa.Engine) -> None:
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"site": "S"}, now=NOW)
        tx.execute(sa.update(t.queues).values(storage="GONE"))
        tx.execute(
            sa.insert(t.tasks).values(
                task_name="x",
                user_name="u",
                vo="v",
                prod_source_label="user",
                status="ready",
                split_rule={},
                created_at=NOW,
                modified_at=NOW,
                state_changed_at=NOW,
                lease_owner="an agent that is gone",
                lease_until=NOW,
            )
        )
    found = list(work.check(patient()))
    assert the_one(found, "1 tasks ended").verdict is Verdict.FAULT
    assert the_one(found, "storage does not exist").where == "queue Q"


def test_agents_that_are_silent_or_fail_are_told(engine: sa.Engine, patient: Callable[..., Patient]) -> None:
    now = DatabaseClock(engine)()
    hour = timedelta(hours=1)
    for service, host, failures, at in (
        ("jedi/task_refiner", "here", 0, now),
        ("jedi/task_refiner", "there", 0, now - hour),  # somebody else is at work
        ("daemon/adder", "here", 0, now - hour),
        ("daemon/watcher", "here", 4, now),
    ):
        error = ValueError("no such thing") if failures else None
        with engine.begin() as tx:
            service_rounds.enter(tx, Round(service, 1.0, 5.0, error=error), host, failures=failures, now=at)
    found = {one.where: one for one in work.check(patient()) if "/" in one.where}
    assert found["jedi/task_refiner"].verdict is Verdict.OK
    assert found["daemon/adder"].verdict is Verdict.FAULT and "nothing was heard" in found["daemon/adder"].what
    assert found["daemon/watcher"].verdict is Verdict.FAULT and "no such thing" in found["daemon/watcher"].what


def test_a_check_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, sqlite_url: str, examined: Callable[..., list[Finding]]
) -> None:
    """Tables that are not there, though the revision says so."""
    engine = open_engine(sqlite_url)
    with engine.begin() as tx:
        tx.execute(sa.text("ALTER TABLE queues RENAME TO elsewhere"))
    engine.dispose()
    found = examined()
    assert the_one(found, "the check itself failed").where == "work"
    assert {"disk", "tokens", "server"} <= {one.check for one in found}


def test_the_command(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are no failure; a fault is exit status 1; --json has all, also what is right."""
    monkeypatch.setenv("BAMBOO_DATABASE__URL", sqlite_url)
    monkeypatch.setenv("BAMBOO_SERVER__PORT", "1")
    monkeypatch.setenv("BAMBOO_SERVER__CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    sound = CliRunner().invoke(main, ["doctor"], standalone_mode=False)
    assert (sound.exit_code, sound.exception) == (0, None)
    assert "0 faults" in sound.output
    assert "revision" not in sound.output
    everything = json.loads(CliRunner().invoke(main, ["doctor", "--json"], standalone_mode=False).output)
    assert {"ok", "warning"} == {row["verdict"] for row in everything}
    broken = CliRunner().invoke(main, ["doctor", "--db", "sqlite:////nowhere/at/all.db"], standalone_mode=False)
    assert broken.exit_code == 1
    assert " 1 fault, " in broken.output
    assert "FAULT    database" in broken.output
    assert migrate.head() in CliRunner().invoke(main, ["doctor", "--all"], standalone_mode=False).output
