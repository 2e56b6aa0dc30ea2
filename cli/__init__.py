"""What does a person type, and what do they see?

The `outcrop` command: it parses arguments, calls the layers below, prints, and turns errors into exit codes. Nothing
is computed here. One module per command; `app` lists them, `command` gives all of them the same options, `output`
writes for people or for programs, `exit_codes` is the one table from errors to numbers.
"""

from outcrop.cli.app import main

__all__ = ["main"]
