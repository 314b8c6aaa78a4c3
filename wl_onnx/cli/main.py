"""The entry point: commands, and one line for every error."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

import wl_onnx
from wl_onnx.cli.compare import compare
from wl_onnx.cli.compress import compress, plan
from wl_onnx.cli.console import ERRORS
from wl_onnx.cli.convert import convert
from wl_onnx.cli.decompress import decompress
from wl_onnx.cli.demo import demo
from wl_onnx.cli.device import device
from wl_onnx.cli.finetune import finetune
from wl_onnx.cli.inspect import inspect
from wl_onnx.cli.report import report
from wl_onnx.cli.store import store
from wl_onnx.cli.sweep import sweep
from wl_onnx.cli.zoo import zoo
from wl_onnx.errors import WlOnnxError

__all__ = ["app", "main"]

_FAILED = 1
_MISUSED = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# typer does not export the base of its errors about arguments.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="wl-onnx",
    help="Compress the weights of ONNX models; onnxruntime decodes them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    demo, compress, plan, convert, decompress, inspect, compare, store, sweep, device, finetune,
    report,
)  # fmt: skip
for command in _COMMANDS:
    app.command()(command)
app.add_typer(zoo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wl-onnx {wl_onnx.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Takes the options that stand before a command."""


def main() -> None:
    """Runs the command line.

    An error is one line on standard error. The exit status is 0, 1 for an error, 2 for arguments
    that do not parse, and 130 after Ctrl-C.
    """
    try:
        status = app(prog_name="wl-onnx", standalone_mode=False)
    except WlOnnxError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message(), _MISUSED)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except MemoryError:
        _fail("cannot go on: memory ran out")
    except OSError as error:
        _fail(f"cannot access {error.filename or 'a file'}: {error.strerror or error}")
    if status == _INTERRUPTED:
        _fail("interrupted", _INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = _FAILED) -> NoReturn:
    if line := " ".join(message.split()):
        ERRORS.print(f"wl-onnx: {line}", soft_wrap=True)
    sys.exit(status)
