"""The `outcrop` command: the list of its commands, and the options that may stand before them."""

import importlib.metadata
import sys
from typing import Annotated

import typer

from outcrop.cli.build import build
from outcrop.cli.command import (
    ApiKeyOption,
    CaOption,
    CertificateOption,
    EndpointOption,
    JsonOption,
    Options,
    PathOption,
    PrivateKeyOption,
    QuietOption,
    VerboseOption,
    add_command,
)
from outcrop.cli.dataset import group as dataset
from outcrop.cli.demo import DEMO_PATH, demo
from outcrop.cli.doctor import doctor
from outcrop.cli.eval import evaluate
from outcrop.cli.features import group as features
from outcrop.cli.graph import group as graph
from outcrop.cli.inspect import inspect
from outcrop.cli.key import group as key
from outcrop.cli.place import Given
from outcrop.cli.plan import group as plan
from outcrop.cli.search import search
from outcrop.cli.serve import serve_command
from outcrop.cli.snapshot import group as snapshot
from outcrop.cli.train import train
from outcrop.cli.verify import verify

app = typer.Typer(
    name="outcrop",
    help="Vector search larger than memory: what is hot in memory, the rest on SSD.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"outcrop {importlib.metadata.version('outcrop')}\n")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(
    ctx: typer.Context,
    path: PathOption = None,
    endpoint: EndpointOption = None,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    private_key: PrivateKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    version: VersionOption = False,
) -> None:
    given = Given(path, endpoint, api_key, ca, certificate, private_key)
    ctx.obj = Options(given, as_json, quiet, verbose)


add_command(app, demo, default_path=DEMO_PATH, local=True)
add_command(app, build)
add_command(app, search)
add_command(app, evaluate, name="eval")
for _command in (inspect, verify, doctor):
    add_command(app, _command)
app.add_typer(graph, name="graph", help="Import graphs to train on, look at them, make them.")
app.add_typer(features, name="features", help="Import rows of features, look at them.")
app.add_typer(plan, name="plan", help="Sample minibatches ahead and pack their rows; look at plans.")
add_command(app, train)
app.add_typer(snapshot, name="snapshot", help="Keep what is there now; write it to a file; bring it back.")
add_command(app, serve_command, name="serve", local=True)
app.add_typer(dataset, name="dataset", help="Make, convert, look at and fetch files of vectors; make graphs.")
app.add_typer(key, name="key", help="Make, list and revoke the API keys of a server.")


def main() -> None:
    """Run the `outcrop` command with the arguments of the process, and exit with a code of outcrop.cli.exit_codes."""
    app(prog_name="outcrop")
