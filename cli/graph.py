"""`outcrop graph`: graphs to train on."""

import typer

from outcrop.cli.command import add_command
from outcrop.cli.graph_make import make

group = typer.Typer(no_args_is_help=True)


for _command in (make,):
    add_command(group, _command)
