"""Settings: PanDA's files as they stand, all faults at once, and where each value came from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bamboo.core.errors import BadSettings
from bamboo.core.settings import load

#: The examples of PanDA's manual: ch. 11.1.2, 5.4 and 8.1.2.
PANDA_SERVER = """
[server]
logdir = /var/log/panda
dbhost = db.example.org
dbuser = panda
dbpasswd = swordfish
nDBConForFastCGIWSGI = 1
backend = oracle
pserveralias = panda.example.org
token_authType = oidc
auth_config = /etc/panda/auth
auth_policies = /etc/panda/policies.json
schemaPANDA = ATLAS_PANDA
schemaJEDI = ATLAS_PANDA
usedbtimeout = True
dbtimeout = 300

[daemon]
# whether to run daemons for PanDA
enable = True
uname = atlpan
gname = zp
package = pandaserver.daemons.scripts
n_proc = 4
proc_lifetime = 14400
config = {
        "dummy_test": {"enable": true, "period": 120},
        "add_main": {"enable": true, "period": 240, "loop": true},
        "copyArchive": {"enable": true, "period": 2400, "sync": true},
        "proxyCache": {"module": "panda_activeusers_query", "enable": true, "period": 600},
        "network_configurator": {
            "enable": true, "module": "configurator", "arguments": ["--network"], "period": 400, "sync": true}
    }
"""
PANDA_JEDI = """
[db]
nWorkers = 8

[ddm]
modConfig = wlcg:1:pandajedi.jediddm.GenDDMClient:GenDDMClient

[confeeder]
procConfig = wlcg:any:1

[taskrefine]
modConfig = wlcg:any:pandajedi.jedirefine.GenTaskRefiner:GenTaskRefiner
procConfig = ::1

[jobgen]
procConfig = wlcg:any:1:

[watchdog]
modConfig = wlcg:any:pandajedi.jedidog.GenWatchDog:GenWatchDog
procConfig = wlcg:managed|test:2
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_pandas_examples_are_accepted_as_they_stand(tmp_path: Path) -> None:
    files = [write(tmp_path, "panda_server.cfg", PANDA_SERVER), write(tmp_path, "panda_jedi.cfg", PANDA_JEDI)]
    settings = load(files).settings
    assert settings.database.sqlalchemy_url() == "oracle+oracledb://panda:swordfish@db.example.org/"
    assert (settings.database.statement_seconds, settings.database.pool_size) == (300, 8)
    assert settings.daemon.config["network_configurator"].arguments == ("--network",)
    assert settings.daemon.config["add_main"].loop
    assert settings.common.logdir == Path("/var/log/panda")
    assert settings.watchdog.procConfig[0].scope.labels == {"managed", "test"}
    assert settings.jobgen.procConfig[0].n_processes == 1


def test_mysql_is_chosen_by_backend(tmp_path: Path) -> None:
    text = "[server]\nbackend = mysql\ndbhostmysql = db\ndbusermysql = u\ndbpasswdmysql = p\ndbnamemysql = panda\n"
    settings = load([write(tmp_path, "a.cfg", text)]).settings
    assert settings.database.sqlalchemy_url() == "mysql+mysqldb://u:p@db:3306/panda"


def test_the_environment_wins_and_origins_are_known(tmp_path: Path) -> None:
    path = write(tmp_path, "a.cfg", "[server]\nport = 1234\n[jobgen]\nprocConfig = ::2\n")
    loaded = load([path], {"BAMBOO_SERVER__PORT": "4321", "BAMBOO_JOBGEN__PROCCONFIG": "::3", "BAMBOO_URL": "x"})
    assert loaded.settings.server.port == 4321
    assert loaded.settings.jobgen.procConfig[0].n_processes == 3
    assert loaded.origins[("server", "port")] == "$BAMBOO_SERVER__PORT"
    assert load([path]).origins[("server", "port")] == f"{path}:2"


def test_all_faults_are_told_at_once_with_place_and_remedy(tmp_path: Path) -> None:
    text = """[server]
prot = 1
heartbeat_seconds = 60
lease_seconds = 61
[jobgenn]
procConfig = ::1
[taskrefine]
modConfig = wlcg:any:OnlyThree
[daemon]
config = {"a": {"period": 0, "perod": 2}}
n_proc = many
"""
    path = write(tmp_path, "a.cfg", text)
    with pytest.raises(BadSettings) as caught:
        load([path], {"BAMBOO_MASTER__STOPSECONDS": "1"})
    told = [str(fault) for fault in caught.value.faults]
    expected = [
        rf"{path}:2 \[server\]: unknown key 'prot' \(did you mean 'port'\?\)",
        rf"{path}:6 \[jobgenn\]: unknown section 'jobgenn' \(did you mean 'jobgen'\?\)",
        r"\$BAMBOO_MASTER__STOPSECONDS \[master\]: unknown key 'stopseconds' \(did you mean 'stop_seconds'\?\)",
        r"\[server\]: lease_seconds must be at least twice heartbeat_seconds",
        rf"{path}:8 \[taskrefine\] modConfig: 'wlcg:any:OnlyThree' is not vo:label:module:Class",
        rf"{path}:10 \[daemon\] config.a.period: .*greater than 0",
        rf"{path}:10 \[daemon\] config.a.perod: ",
        rf"{path}:11 \[daemon\] n_proc: .*valid integer",
    ]
    for pattern in expected:
        assert any(re.match(pattern, line) for line in told), (pattern, told)
    assert len(told) == len(expected)


@pytest.mark.parametrize("text", ["[server\nport = 1", "port = 1\n[server", "[daemon]\nconfig = {not json"])
def test_files_that_cannot_be_read_say_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load([write(tmp_path, "a.cfg", text), tmp_path / "missing.cfg"])
    assert "a.cfg" in str(caught.value)
    assert "missing.cfg" in str(caught.value)


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    settings = load([write(tmp_path, "panda_server.cfg", PANDA_SERVER)]).settings
    assert "swordfish" not in repr(settings)
    assert "swordfish" not in settings.model_dump_json()
