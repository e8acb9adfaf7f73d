"""`bamboo login` and `bamboo logout`: who you are, from your organisation's provider of identities."""

from __future__ import annotations

import time

import click

from .options import url_option
from .output import cell_text, note, say


@click.command()
@click.option("--vo", envvar="PANDA_AUTH_VO", help="Your organisation [env: PANDA_AUTH_VO; default: bamboo].")
@url_option
def login(url: str | None, vo: str | None) -> None:
    """Log in with your organisation's provider of identities.

    Prints the address of a page, where you say yes in any browser, on any machine. What comes back is kept in a file
    that only you can read, and renewed by itself for as long as the provider allows.
    """
    from ...core.addresses import is_confidential
    from ...core.clock import utc_now
    from ..identity import DEFAULT_VO, server_url
    from ..logins import Login, LoginStore
    from ..oidc import Application, Provider

    server = server_url(url)
    organisation = (vo or DEFAULT_VO).partition(":")[0]  # without the role that PanDA's clients may ask for
    if not is_confidential(server):
        note(f"warning: {server} is not https, so that others on the way can read the token that is sent there")
    application = Application.of(server, organisation)
    provider = Provider(application, utc_now)
    device = provider.begin()
    note(f"Open this page in a browser, on any machine:\n\n    {device.page}\n")
    if device.user_code:
        note(f"It has to show this code:  {device.user_code}\n")
    note(f"Waiting for your answer there until {cell_text(device.expires_at)} UTC …")
    tokens = provider.wait_for(device, time.sleep)
    found = Login(server, organisation, provider.issuer, application, tokens)
    store = LoginStore(server)
    with store.alone():
        store.write(found)
    say(f"logged in to {server} as {found.person}")


@click.command()
@url_option
def logout(url: str | None) -> None:
    """Forget a login, here and at the provider.

    What cannot be forgotten is the token that was sent last: it is good to its end, which is near.
    """
    from ...core.clock import utc_now
    from ...core.errors import BambooError
    from ..identity import server_url
    from ..logins import LoginStore
    from ..oidc import Provider

    store = LoginStore(server_url(url))
    with store.alone():
        try:
            found = store.read()
        finally:
            store.remove()
    if found is None:
        note(f"you were not logged in to {store.server}")
        return
    if found.tokens.refresh_token:
        try:
            Provider(found.application, utc_now).revoke(found.tokens.refresh_token)
        except BambooError as error:
            note(f"the provider was not told: {error.message}")
    say(f"logged out of {store.server}")
