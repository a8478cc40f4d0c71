"""The command that makes a line for the file of those who may come in: credential."""

from __future__ import annotations

import sys

import click

from worker.cli.arguments import TEXT
from worker.cli.printing import ask_password, say
from worker.errors import UsageError
from worker.web.doors.people import ROLES, fits_name, hash_password, hash_token, new_token

SHORTEST = 10


@click.command()
@click.argument("name", metavar="NAME", type=TEXT)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    help="A viewer looks; an operator acts too.",
)
@click.option("--token", "with_token", is_flag=True, help="Make a token for a program.")
@click.option(
    "--proxy", "by_proxy", is_flag=True, help="No secret: the proxy in front lets NAME in."
)
def credential(*, name: str, role: str, with_token: bool, by_proxy: bool) -> int:
    """Print a line for the file FLOWSHIFT_WEB_USERS, which says who may use `flowshift serve`.

    It asks for a password, or reads it from standard input, and prints only what scrypt makes of it.
    With --token it makes a token and says it once, on standard error: a program sends it as
    `Authorization: Bearer TOKEN`.

    \b
    Examples:
      flowshift credential ann --role operator >> users
      flowshift credential grafana --token >> users
    """
    if not fits_name(name):
        raise UsageError(f"{name!r} cannot be a user's name: blanks and colons are not allowed")
    if with_token and by_proxy:
        raise UsageError("use --token or --proxy, not both")
    say(f"{name} {role} {_secret(with_token=with_token, by_proxy=by_proxy)}")
    return 0


def _secret(*, with_token: bool, by_proxy: bool) -> str:
    if by_proxy:
        return "proxy"
    if with_token:
        token = new_token()
        say(f"the token, which is not shown again: {token}", err=True)
        return hash_token(token)
    return hash_password(_password())


def _password() -> str:
    password = ask_password() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if len(password) < SHORTEST:
        raise UsageError(f"a password has at least {SHORTEST} characters")
    return password
