"""Settings: one schema for cfg files and environment, checked before anything starts.

PanDA's files stay (`panda_common.cfg`, `panda_server.cfg`, `panda_jedi.cfg`; manual ch. 8.1.2, 9.1.3, 9.2.3, 11),
all read into one `Settings`. `BAMBOO_SECTION__KEY` in the environment wins over the files. Unknown keys are errors.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from .errors import BadSettings, Fault
from .nearby import guess
from .selectors import ModEntry, ProcEntry, parse_mod_config, parse_proc_config

ENV_PREFIX = "BAMBOO_"
Seconds = Annotated[float, Field(gt=0)]
ModConfig = Annotated[
    tuple[ModEntry, ...], BeforeValidator(lambda text: parse_mod_config(text) if isinstance(text, str) else text)
]
ProcConfig = Annotated[
    tuple[ProcEntry, ...], BeforeValidator(lambda text: parse_proc_config(text) if isinstance(text, str) else text)
]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class CommonSection(Section):
    """panda_common.cfg: logging."""

    logdir: Path | None = None  #: one file per process there; none: to the terminal
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    loghost: str = ""  #: accepted for PanDA's sake: nothing is sent to a monitor host


class DatabaseSection(Section):
    """The one database, by URL or by PanDA's keys."""

    url: str = ""  #: SQLAlchemy URL; wins over the keys below
    pool_size: int = Field(5, ge=1)  #: connections a process keeps; as many again in need
    statement_seconds: int = Field(60, ge=1)  #: a statement that takes longer is ended
    backend: Literal["oracle", "mysql", "postgres", "sqlite"] = "oracle"
    dbhost: str = ""
    dbport: int | None = None
    dbuser: str = ""
    dbpasswd: SecretStr = SecretStr("")
    dbname: str = ""
    dbhostmysql: str = ""
    dbportmysql: int = 3306
    dbnamemysql: str = ""
    dbusermysql: str = ""
    dbpasswdmysql: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _complete(self) -> DatabaseSection:
        if self.backend == "mysql" and not self.url and self.dbhost and not self.dbhostmysql:
            raise ValueError("backend is mysql: give dbhostmysql, dbusermysql, dbpasswdmysql and dbnamemysql")
        return self

    def sqlalchemy_url(self) -> str:
        """The URL to open, from `url` or from PanDA's keys; empty when there is neither."""
        if self.url:
            return self.url
        if self.backend == "mysql" and self.dbhostmysql:
            password = self.dbpasswdmysql.get_secret_value()
            return f"mysql+mysqldb://{self.dbusermysql}:{password}@{self.dbhostmysql}:{self.dbportmysql}/{self.dbnamemysql}"
        if not self.dbhost:
            return ""
        driver = {"oracle": "oracle+oracledb", "postgres": "postgresql+psycopg"}.get(self.backend, self.backend)
        port = f":{self.dbport}" if self.dbport else ""
        return f"{driver}://{self.dbuser}:{self.dbpasswd.get_secret_value()}@{self.dbhost}{port}/{self.dbname}"


class IssuerEntry(Section):
    """Somebody who issues tokens: what is said of the first of them by `token_issuer` and its like."""

    issuer: str = ""
    keys: str = ""
    audience: str = ""
    policies: str = ""


class ServerSection(Section):
    """panda_server.cfg: the web application."""

    host: str = "127.0.0.1"
    port: int = Field(25080, ge=0, le=65535)
    workers: int = Field(2, ge=1)  #: processes (PanDA: WSGI daemons)
    threads: int = Field(4, ge=1)  #: requests that one process works on at a time
    max_waiting: int = Field(500, ge=1)  #: requests that wait for one of them; more are told to come again
    max_streams: int = Field(200, ge=0)  #: live views that one process sends at a time; more are told to come again
    max_listening_pilots: int = Field(2000, ge=0)  #: told of orders at once, by one process; 0: with heartbeats alone
    requests_per_minute: int = Field(3000, ge=0)  #: of one user to one process; pilots have no limit; 0: nobody has
    lock_seconds: int = Field(20, ge=1)  #: a request that waits for a lock of PostgreSQL's for longer is given up
    public_url: str = ""  #: how pilots reach the server; default: http://host:port
    cache_dir: Path = Path("cache")  #: where uploaded sandboxes are kept
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    max_sandbox_bytes: int = Field(768 * 1024 * 1024, ge=1024)  #: archives named sources.*
    max_small_sandbox_bytes: int = Field(50 * 1024 * 1024, ge=1024)  #: other archives
    lease_seconds: int = Field(1800, ge=5)  #: a pilot that is quiet for longer loses its job
    heartbeat_seconds: int = Field(600, ge=1)  #: how often a pilot is asked to report
    patience_seconds: int = Field(10800, ge=5)  #: the same for pilots of PanDA's, which report each 30 minutes
    collect_seconds: float = Field(0.25, ge=0, le=60)  #: heartbeats are written together after so long; 0: at once
    sent_seconds: int = Field(1800, ge=2)  #: a pilot that never speaks of the job it took loses it (manual ch. 12.1.3)
    pserveralias: str = ""  #: accepted for PanDA's sake
    adder_plugins: str = ""  #: accepted for PanDA's sake: plugins are chosen in the section [adder]
    setupper_plugins: str = ""  #: accepted for PanDA's sake: plugins are chosen in the section [tasksetup]
    token_authType: Literal["oidc", "x509", "none"] = "none"  # noqa: S105 - a kind of token, none itself
    auth_config: str = ""  #: folder of `<vo>_auth_config.json`, which clients are shown (manual ch. 7.6.3)
    auth_policies: str = ""  #: JSON file: which groups of tokens have which roles (manual ch. 7.6.3)
    token_keys: str = ""  #: public keys of who issues tokens: JWKS or PEM files, https:// addresses, with commas
    token_keys_copy: str = ""  #: folder where keys from addresses are kept for a restart; empty: in memory only
    token_issuer: str = ""  #: what `iss` of a token must be; empty: anything
    token_audience: str = ""  #: what `aud` of a token must have, one of several with commas; empty: anything
    more_issuers: Annotated[tuple[IssuerEntry, ...], BeforeValidator(_json)] = ()  #: JSON list (docs/identity.md)
    trusted_front_ends: str = ""  #: addresses, with commas, of front ends believed about certificates; empty: none
    front_end_secret: str = ""  #: `file:PATH` or `env:NAME`: what these front ends show to prove that it is them
    open_pages: bool = True  #: whether pages are for everybody; else for those who are signed in (`bamboo web`)
    user_labels: str = "user,panda,test"  #: what users may give as prodSourceLabel; others are for production
    max_user_priority: int = 1100  #: of users' tasks, as `prun --priority` says (client protocol 7.4)
    secrets_key: str = ""  #: `file:PATH` or `env:NAME`: Fernet keys, one a line, the first encrypts; empty: no secrets

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> ServerSection:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                "lease_seconds must be at least twice heartbeat_seconds, or one late heartbeat loses the job"
            )
        return self


class DaemonEntry(Section):
    """One entry of the daemon's JSON (manual ch. 11.1.4)."""

    period: Seconds
    enable: bool = True
    module: str | None = None
    sync: bool = False
    loop: bool = False
    arguments: tuple[str | int | float | bool, ...] = ()


class DaemonSection(Section):
    """The cron replacement (manual ch. 11.1.3)."""

    enable: bool = False
    uname: str = "nobody"
    gname: str = "nobody"
    package: str = "bamboo.daemon.chores"
    n_proc: int = Field(1, ge=1)
    proc_lifetime: Seconds = 28800
    lease_seconds: Seconds = 120  #: a chore with `sync` whose process vanished is taken over after so long
    config: Annotated[dict[str, DaemonEntry], BeforeValidator(_json)] = Field(default_factory=dict)


class ConfiguratorSection(Section):
    """panda_server.cfg: where queues, sites and storages are described (manual ch. 17), as https:// or file:// URLs."""

    CRIC_URL_SCHEDCONFIG: str = ""  #: queues
    CRIC_URL_SITES: str = ""  #: sites
    CRIC_URL_DDMENDPOINTS: str = ""  #: storages
    CRIC_URL_DDMBLACKLIST: str = ""  #: storages that may not be written to
    CRIC_URL_CM: str = ""  #: how near sites are to each other
    CRIC_URL_TAGS: str = ""  #: the software at queues
    NWS_URL: str = ""  #: what was measured of the network between sites
    connect_seconds: Seconds = 10  #: a source that says nothing for so long is down
    total_seconds: Seconds = 120  #: and one that takes longer than this to say all of it
    max_bytes: int = Field(128 * 1024 * 1024, ge=1024)  #: a longer document is refused
    history_days: Seconds = 365  #: how long the history of queues is kept


class MasterSection(Section):
    """panda_jedi.cfg: the master."""

    uname: str = "nobody"
    gname: str = "nobody"
    period_seconds: Seconds = 5  #: an agent that found nothing to do looks again after this
    lease_seconds: Seconds = 120  #: how long an agent holds a task without a sign of life
    stop_seconds: Seconds = 10  #: agents that are not gone after this are killed
    restart_seconds: Seconds = 60  #: the longest pause before an agent is started again that dies over and over
    round_seconds: Seconds = 900  #: an agent that hangs in one round for longer is killed


class AgentSection(Section):
    """panda_jedi.cfg: one agent or component."""

    modConfig: ModConfig = ()
    procConfig: ProcConfig = ()


class NotifySection(AgentSection):
    """panda_jedi.cfg: who is told how tasks ended; the built-in plugin sends mails."""

    smtp_host: str = ""  #: the mail server; empty: ends of tasks are only logged
    smtp_port: int = Field(25, ge=1, le=65535)
    starttls: bool = False  #: encrypt, and check the server's certificate
    smtp_user: str = ""  #: log in with this name; empty: without
    smtp_password: SecretStr = SecretStr("")
    sender: str = "bamboo@localhost"
    recipient: str = "{user}@localhost"  #: the address of a user; `{user}` stands for the name
    seconds: Seconds = 30  #: how long to wait for the mail server


class GeneratorSection(AgentSection):
    """panda_jedi.cfg: the Job Generator."""

    jobs_per_transaction: int = Field(2000, ge=1)
    tasks_per_round: int = Field(20, ge=1)
    max_queued_jobs_per_queue: int = Field(200_000, ge=1)


class RetrySection(AgentSection):
    """The job retry module (manual ch. 20)."""

    rules_file: str = ""  #: TOML file of retry rules; empty: those that are shipped


class TimeoutsSection(Section):
    """How long a job may be in a state, in hours (manual ch. 12.1.3)."""

    pending: Seconds = 1
    defined: Seconds = 4
    waiting: Seconds = 24
    assigned: Seconds = 12
    throttled: Seconds = 168
    activated: Seconds = 48
    stalled: Seconds = 4  #: activated or starting, urgent, at queues that start nothing
    running: Seconds = 504
    holding: Seconds = 48
    holding_urgent: Seconds = 3
    transferring: Seconds = 48
    transferring_urgent: Seconds = 24
    pending_task: Seconds = 24 * 14
    exhausted_task: Seconds = 24 * 30


class RetentionSection(Section):
    """How long things are kept, in days."""

    sandboxes: Seconds = 30
    archive_jobs: Seconds = 3  #: finished jobs move to the archive after this
    archived_jobs: Seconds = 365  #: and are forgotten after this; on PostgreSQL when their whole month is older
    tasks: Seconds = 730  #: tasks that are over and have no jobs any more; what they made stays in the catalogue
    workers: Seconds = 30  #: batch jobs of which nobody speaks any more
    scratch: Seconds = 1
    premerged: Seconds = 1 / 24  #: intermediate files are removed when their job is over for this long


class Settings(Section):
    """Everything that can be configured, a section a model."""

    common: CommonSection = CommonSection()
    database: DatabaseSection = DatabaseSection()
    server: ServerSection = ServerSection()
    daemon: DaemonSection = DaemonSection()
    configurator: ConfiguratorSection = ConfiguratorSection()
    master: MasterSection = MasterSection()
    ddm: AgentSection = AgentSection()
    confeeder: AgentSection = AgentSection()
    taskrefine: AgentSection = AgentSection()
    taskbroker: AgentSection = AgentSection()
    jobbroker: AgentSection = AgentSection()
    jobthrottle: AgentSection = AgentSection()
    jobsplitter: AgentSection = AgentSection()
    jobgen: GeneratorSection = GeneratorSection()
    tasksetup: AgentSection = AgentSection()
    postprocessor: AgentSection = AgentSection()
    watchdog: AgentSection = AgentSection()
    tcommando: AgentSection = AgentSection()
    msgprocessor: AgentSection = AgentSection()
    notify: NotifySection = NotifySection()
    adder: AgentSection = AgentSection()
    retry: RetrySection = RetrySection()
    timeouts: TimeoutsSection = TimeoutsSection()
    retention: RetentionSection = RetentionSection()


#: Keys that PanDA's files have in other sections than ours: (section, key) there -> (section, key) here.
MOVED_KEYS = {
    **{("server", key): ("database", key) for key in DatabaseSection.model_fields if key not in ("url", "pool_size")},
    **{("db", key): ("database", key) for key in DatabaseSection.model_fields},
    **{
        (section, key): ("common", key) for section in ("server", "master", "log") for key in CommonSection.model_fields
    },
    **{
        (section, key): ("configurator", key)
        for section in ("server", "daemon")
        for key in ConfiguratorSection.model_fields
        if key.startswith("CRIC_URL_") or key == "NWS_URL"
    },
    ("server", "nDBConForFastCGIWSGI"): ("database", "pool_size"),
    ("server", "nDBConnection"): ("database", "pool_size"),
    ("db", "nWorkers"): ("database", "pool_size"),
    ("server", "dbtimeout"): ("database", "statement_seconds"),
    ("db", "dbtimeout"): ("database", "statement_seconds"),
}
#: Keys of PanDA's files that mean nothing here; they are accepted and left.
IGNORED_KEYS = re.compile(r"^(schema[A-Z]+|usedbtimeout|dbbridgeverbose|dump_sql|dbengine)$")


@dataclass(frozen=True)
class Loaded:
    """Settings and where each value that is not a default came from: {(section, key): "file:line" or variable}."""

    settings: Settings
    origins: Mapping[tuple[str, str], str]


def load(paths: Iterable[Path] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    """Read files in their order, then the environment; raises `BadSettings` with all faults at once."""
    values: dict[str, dict[str, Any]] = {}
    origins: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    given = [*_from_files(paths, faults), *_from_environment(environ or {})]
    for origin, section, key, value in given:
        place = MOVED_KEYS.get((section, key), (section, key))
        fault = _unknown(*place, origin) if not IGNORED_KEYS.match(key) else None
        if fault:
            faults.append(fault)
        elif not IGNORED_KEYS.match(key):
            values.setdefault(place[0], {})[place[1]] = value
            origins[place] = origin
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_fault(detail, origins) for detail in error.errors()]
    if faults:
        raise BadSettings("the configuration cannot be used", faults)
    return Loaded(settings, origins)


def _from_files(paths: Iterable[Path], faults: list[Fault]) -> Iterable[tuple[str, str, str, str]]:
    for path in paths:
        parser = configparser.ConfigParser(
            interpolation=None, strict=True, allow_no_value=False, default_section="common"
        )
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            text = path.read_text()
            parser.read_string(text, str(path))
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            faults.append(Fault(str(path), " ".join(str(error).split()), "correct the file"))
            continue
        for section in [*parser.sections(), *(["common"] if parser.defaults() else [])]:
            own = parser.defaults() if section == "common" else parser[section]
            for key in own:
                if section == "common" or key not in parser.defaults():
                    yield f"{path}:{_line_of(text, section, key)}", section, key, own[key]


def _line_of(text: str, section: str, key: str) -> int:
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\[(.+?)\]", line)
        inside = header.group(1) if header else inside
        if inside == section and re.match(rf"{re.escape(key)}\s*[=:]", line):
            return number
    return 0


def _from_environment(environ: Mapping[str, str]) -> Iterable[tuple[str, str, str, str]]:
    for variable, value in sorted(environ.items()):
        section, separator, key = variable.removeprefix(ENV_PREFIX).partition("__")
        if variable.startswith(ENV_PREFIX) and separator:
            section = section.lower()
            model = Settings.model_fields.get(section)
            keys = {name.lower(): name for name in model.annotation.model_fields} if model else {}  # type: ignore[union-attr]
            yield f"${variable}", section, keys.get(key.lower(), key.lower()), value


def _unknown(section: str, key: str, origin: str) -> Fault | None:
    field = Settings.model_fields.get(section)
    if field is None:
        return Fault(f"{origin} [{section}]", f"unknown section {section!r}", guess(section, Settings.model_fields))
    known = field.annotation.model_fields  # type: ignore[union-attr]
    if key not in known:
        return Fault(f"{origin} [{section}]", f"unknown key {key!r}", guess(key, known))
    return None


def _fault(detail: Any, origins: Mapping[tuple[str, str], str]) -> Fault:
    place = [str(part) for part in detail["loc"]]
    origin = origins.get((place[0], place[1]), "") if len(place) > 1 else ""
    where = f"{origin} [{place[0]}] {'.'.join(place[1:])}".strip()
    return Fault(where, detail["msg"].removeprefix("Value error, "), f"given: {str(detail['input'])[:80]!r}")
