"""`outcrop serve`: a root for many clients."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outcrop.cli.command import Run

if TYPE_CHECKING:
    from outcrop.server.serve import Serving
    from outcrop.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class ServeResult:
    """A server that answers. url: for `outcrop.connect`. metrics: HOST:PORT, None when off. processes: by what they
    do."""

    url: str
    metrics: str | None
    path: str
    processes: dict[str, int]


def serve_command(
    run: Run,
    config: Annotated[
        Path | None, typer.Option(help="Settings, as --print-config prints them.", metavar="TOML")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="[default: 127.0.0.1:7443].", metavar="HOST:PORT")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer [default: 1].")] = None,
    threads: Annotated[int | None, typer.Option(help="Of each process [default: all cores].")] = None,
    memory: Annotated[str | None, typer.Option(help="For what is open [default: 1GiB].", metavar="SIZE")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Port of metrics and probes, or off [default: 127.0.0.1:9464].", metavar="ADDRESS"),
    ] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve a status page there.")] = False,
    keys: Annotated[Path | None, typer.Option(help="API keys [default: those of the root].", metavar="FILE")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of the server (PEM).", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.", metavar="FILE")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="Who signs clients' certificates.", metavar="FILE")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve other machines without asking for keys.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings, and do not serve.")] = False,
) -> None:
    """Serve a root folder over gRPC until Ctrl-C or SIGTERM; calls under way then end.

    Settings are flags, then OUTCROP_* variables, then the file of --config, then defaults; --print-config shows what
    comes of them, and all there are. With several workers one more process writes.
    """
    # Not above: all commands would wait for what only this one needs.
    from outcrop.server.serve import serve
    from outcrop.server.settings_sources import load_settings, to_toml

    settings = load_settings(
        config,
        {
            "path": None if run.path_is_default else run.path,
            "listen": listen,
            "workers": workers,
            "threads": threads,
            "memory": memory,
            "keys": keys,
            "insecure": insecure or None,
            "metrics": {"listen": metrics, "dashboard": dashboard or None},
            "tls": {"cert": tls_cert, "key": tls_key, "client_ca": tls_client_ca},
        },
    )
    if print_config:
        run.output.result(settings.model_dump(mode="json"), text=to_toml(settings).rstrip())
        return
    serve(settings, lambda serving: _announce(run, settings, serving))


def _announce(run: Run, settings: "ServerSettings", serving: "Serving") -> None:
    scheme = "grpcs" if settings.tls.enabled else "grpc"
    metrics = None if serving.metrics is None else str(serving.metrics)
    result = ServeResult(f"{scheme}://{serving.address}", metrics, str(settings.path), dict(serving.processes))
    run.output.result(result, text=_text(result, settings))
    sys.stdout.flush()  # whoever started it may be waiting for this line


def _text(result: ServeResult, settings: "ServerSettings") -> str:
    lines = [f"serving {result.path} at {result.url}"]
    if result.metrics is not None:
        page = f", status page at http://{result.metrics}/" if settings.metrics.dashboard else ""
        lines.append(f"metrics at http://{result.metrics}/metrics{page}")
    return "\n".join(lines)
