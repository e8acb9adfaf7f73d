"""Tells ends of tasks by mail, or, where no mail server is configured, in the log."""

from __future__ import annotations

import logging
import re
import smtplib
import ssl
from email.message import EmailMessage

from ...core.errors import Retriable
from ..contracts import Ending, PluginContext, TaskView
from ..hookspecs import hookimpl

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+")


class MailNotifier:
    """Sends a mail through `[notify] smtp_host`, to the address that `[notify] recipient` makes of the user's name."""

    def __init__(self, context: PluginContext) -> None:
        self._mail = context.settings.notify

    @hookimpl
    def notify(self, task: TaskView, ending: Ending) -> str | None:
        subject = f"task {task.jeditaskid} is {ending.state}: {task.task_name}"
        log.info(subject, extra={"event": "task_ended", "task": task.jeditaskid, "why": ending.why})
        if not ending.wanted:
            return "logged: the user wants no mail"
        if not self._mail.smtp_host:
            return "logged: [notify] smtp_host is not set"
        address = self._address(task.user_name)
        if address is None:
            return f"logged: {task.user_name!r} makes no mail address by [notify] recipient"
        try:
            self._send(address, subject, text_of(task, ending))
        except (OSError, smtplib.SMTPException) as error:
            server = f"{self._mail.smtp_host}:{self._mail.smtp_port}"
            raise Retriable(f"the mail server {server} does not take a mail to {address}: {error}") from error
        return f"mailed to {address}"

    def _address(self, user_name: str) -> str | None:
        address = user_name if "@" in user_name else self._mail.recipient.replace("{user}", user_name)
        return address if _ADDRESS.fullmatch(address) else None

    def _send(self, address: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, self._mail.sender, address
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's vacation program answers
        message.set_content(text)
        mail = self._mail
        with smtplib.SMTP(mail.smtp_host, mail.smtp_port, timeout=mail.seconds) as server:
            if mail.starttls:
                server.starttls(context=ssl.create_default_context())
            if mail.smtp_user:
                server.login(mail.smtp_user, mail.smtp_password.get_secret_value())
            server.send_message(message)


def text_of(task: TaskView, ending: Ending) -> str:
    """The mail: what became of the task, and what its user may do now."""
    tally = ending.tally
    lines = [
        f"Task {task.jeditaskid} ({task.task_name}) is {ending.state} since {ending.at:%Y-%m-%d %H:%M} UTC.",
        f"Reason: {ending.why}",
        f"Inputs: {tally.n_files}, of which {tally.n_finished} were processed and {tally.n_failed} failed.",
        "",
        f"See `bamboo task show {task.jeditaskid}` and `bamboo task why {task.jeditaskid}`.",
    ]
    if tally.n_failed or ending.state == "exhausted":
        lines.append(f"`bamboo task retry {task.jeditaskid}` tries again what failed.")
    return "\n".join(lines) + "\n"
