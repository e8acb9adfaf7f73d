"""`bamboo web`: the server's pages in a browser, signed in as the user of this command line."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from .options import connected
from .output import note, say

if TYPE_CHECKING:
    from ..api import Client


@click.command()
@click.argument("page", default="/")
@click.option("--print", "only_print", is_flag=True, help="Print the address and open nothing.")
@connected
def web(client: Client, page: str, only_print: bool) -> None:
    """Open the server's pages in a browser, signed in, so that they show outputs and take commands.

    PAGE is one of them, or the id of a task or job. The address that is printed is good for a minute: whoever opens it
    is you.
    """
    place = f"/search?q={page}" if page.isdecimal() else page
    address = f"{client.web_address()}&page={quote(place, safe='/')}"
    if only_print or not webbrowser.open(address):
        say(address)
    else:
        note("opened in your browser")
