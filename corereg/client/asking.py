"""What a command asks a person: yes or no, and passwords. Never where there is nobody to ask."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from corereg.client.errors import Misuse
from corereg.client.target import LONGEST_SECRET, decoded_secret, secret_of


def can_ask() -> bool:
    """Whether there is a terminal with somebody at it; COREREG_NO_INPUT=1 says that there is not."""
    return sys.stdin.isatty() and os.environ.get("COREREG_NO_INPUT", "0") in {"", "0"}


def confirm(question: str, *, yes: bool) -> None:
    """Return when the answer is yes, or `yes` says so beforehand. Raises click.Abort for a no, Misuse for nobody."""
    if yes:
        return
    if not can_ask():
        message = "this wants to be confirmed, and there is no terminal to ask on"
        raise Misuse(message, hint="Use --yes to go on without being asked.")
    click.confirm(question, abort=True, err=True)


def password(file: Path | None, *, stdin: bool, prompt: str = "Password", twice: bool = False) -> str:
    """A password from standard input, a file, or the terminal. Never from the command line: `ps` shows that."""
    if stdin and file is not None:
        message = "--password-stdin and --password-file exclude each other"
        raise Misuse(message)
    if stdin:
        return decoded_secret(sys.stdin.buffer.read(LONGEST_SECRET + 1), "standard input")
    if file is not None:
        return secret_of(file)
    if not can_ask():
        message = "there is no terminal to ask for the password"
        raise Misuse(message, hint="Use --password-stdin or --password-file.")
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return answer
