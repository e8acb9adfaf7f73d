"""The commands that users type, one module a noun. Nothing is imported before it is asked for."""

#: name → (where it is, one line for the list of commands)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("bamboo.client.cli.run:run", "Run a command as a task: on nothing, on datasets, or on local files."),
    "task": ("bamboo.client.cli.task:task", "See tasks, wait for them, act on them, fetch what they made."),
    "job": ("bamboo.client.cli.job:job", "See the jobs of a task and their logs."),
    "dataset": ("bamboo.client.cli.dataset:dataset", "Make datasets of files, see them, fetch them."),
    "queue": ("bamboo.client.cli.queue:queue", "See and change the queues that pilots work for."),
    "top": ("bamboo.client.cli.top:top", "The whole system at a glance, over and over."),
    "why": ("bamboo.client.cli.why:why", "Why a task, a job or a queue is where it is, and what would help."),
    "login": ("bamboo.client.cli.login:login", "Log in with your organisation's provider of identities."),
    "logout": ("bamboo.client.cli.login:logout", "Forget a login."),
    "web": ("bamboo.client.cli.web:web", "Open the server's pages in a browser, signed in."),
    "whoami": ("bamboo.client.cli.whoami:whoami", "Whom the server takes you for, and why."),
    "secret": ("bamboo.client.cli.secret:secret", "Keep passwords and keys that your jobs need."),
    "completion": ("bamboo.client.cli.completion:completion", "Print the completion script for a shell."),
}
