"""``corereg completion``."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands in a shell.

    \b
      source <(corereg completion bash)                                    in ~/.bashrc
      source <(corereg completion zsh)                                     in ~/.zshrc
      corereg completion fish > ~/.config/fish/completions/corereg.fish
    """  # noqa: D301 - click looks for the character, not for its name
    from click.shell_completion import get_completion_class

    from corereg.cli.root import cli

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    click.echo(kind(cli, {}, "corereg", "_COREREG_COMPLETE").source())
