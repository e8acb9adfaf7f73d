"""The commands that operators type. Nothing is imported before it is asked for."""

#: name → (where it is, one line for the list of commands)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("bamboo.admin.cli.demo:demo", "Start everything, run a real task over real files, show its outputs."),
    "up": ("bamboo.admin.cli.up:up", "Run server, JEDI, daemon and local pilots in the foreground."),
    "client": ("bamboo.admin.cli.client:client", "Set up PanDA's client and scripts for the system of `bamboo up`."),
    "server": ("bamboo.admin.cli.parts:server", "Run the web server."),
    "jedi": ("bamboo.admin.cli.parts:jedi", "Run the JEDI master and its agents."),
    "daemon": ("bamboo.admin.cli.parts:daemon", "Run the daemon and its chores."),
    "pilot": ("bamboo.admin.cli.pilot:pilot", "Run a pilot, or build one to carry elsewhere."),
    "db": ("bamboo.admin.cli.db:db", "Bring the database to this version's schema, or check it."),
    "queue": ("bamboo.admin.cli.queue:queue", "See, change and import the queues that pilots work for."),
    "plan": ("bamboo.admin.cli.plan:plan", "Show what an edit of queues or shares would do to the work that is there."),
    "storage": ("bamboo.admin.cli.storage:storage", "See and change the storages that queues name."),
    "settings": ("bamboo.admin.cli.settings:settings", "See and change the numbers of algorithms, while they run."),
    "retry-rules": ("bamboo.admin.cli.retry_rules:retry_rules", "Say what is done about failures, by error."),
    "share": (
        "bamboo.admin.cli.share:share",
        "See and change global shares, and how they stand against their targets.",
    ),
    "doctor": ("bamboo.admin.cli.doctor:doctor", "Say what is wrong with an installation, and what to do."),
    "audit": ("bamboo.admin.cli.audit:audit", "Say who changed shares, storages and retry rules."),
    "config": ("bamboo.admin.cli.config:config", "Check and show the configuration."),
}
