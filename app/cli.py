"""The command line: serve, explain, benchmark, report, train, phantoms, ratings."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.errors import AppError
from app.version import VERSION
from engine.errors import EngineError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Lightbox: see why an imaging model said what it said.",
)
ratings = typer.Typer(no_args_is_help=True, help="Answers of readers.")
app.add_typer(ratings, name="ratings")

FULL = "The disk is full, so the command could not finish."
UNUSABLE = "A file or folder that you named could not be read or written."

Workspace = Annotated[Path | None, typer.Option(help="Folder of cases, database and key.")]
Database = Annotated[str | None, typer.Option(help="SQLAlchemy URL; SQLite in the workspace.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Interface to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workspace: Workspace = None,
    database: Database = None,
    device: Device = None,
    open_browser: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the browser.")
    ] = None,
    window: Annotated[
        bool, typer.Option("--window", help="Open a window of its own (desktop extra).")
    ] = False,
    demonstration: Annotated[
        bool,
        typer.Option(help="Let a workspace without accounts be an open demonstration."),
    ] = True,
) -> None:
    """Serve Lightbox to browsers."""
    from app.commands.serve import run

    flags = {
        "host": host,
        "port": port,
        "workspace": workspace,
        "database": database,
        "device": device,
        "open_browser": open_browser,
    }
    run(flags, demonstration=demonstration, window=window)


@app.command()
def explain(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zip archives.")],
    out: Annotated[Path, typer.Option(help="Folder for the results, one folder a case.")],
    methods: Annotated[
        str, typer.Option(help='Explanation methods, separated by commas; or "all" or "fast".')
    ] = "rollout,gradcam,relevance,cross_modal",
    target: Annotated[str | None, typer.Option(help="Class to explain; the leading one.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of a model card, or the path of one.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    setting: Annotated[
        list[str] | None,
        typer.Option(help="method.setting=value, such as rollout.head_fusion=max; repeat it."),
    ] = None,
    scores: Annotated[
        bool, typer.Option(help="Measure each map; takes longer than the maps themselves.")
    ] = True,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="npz, png, nifti, dicom: repeat it, or separate by commas; npz,png if none.",
        ),
    ] = None,
    names: Annotated[
        bool,
        typer.Option(
            "--names/--no-names",
            help="Tell file names on the terminal; file names may identify patients.",
        ),
    ] = False,
) -> None:
    """Predict and explain the cases in files or folders; exit 1 if any could not be served."""
    from app.commands.explain import run

    chosen, written = _listed([methods]), _listed(formats or ["npz,png"])
    raise typer.Exit(
        run(
            paths, out, chosen, target, model, device, names=names, formats=written,
            scores=scores, settings=setting or (),
        )
    )  # fmt: skip


def _listed(texts: list[str]) -> list[str]:
    """Words between commas, of an option that may be repeated."""
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


@app.command("benchmark-explainers")
def benchmark_explainers(
    out: Annotated[
        Path | None, typer.Option(help="JSON to write; the table alone if none.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Explanation methods, separated by commas; all if none.")
    ] = "",
    model: Annotated[str | None, typer.Option(help="Name of a model card.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cases: Annotated[int, typer.Option(min=1, help="Phantoms with a lesion.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of the first phantom.")] = 5_000_000,
    arms: Annotated[
        str, typer.Option(help="mammogram (alone), pathology (with it), or both.")
    ] = "mammogram,pathology",
    slow: Annotated[
        bool, typer.Option("--slow/--no-slow", help="Methods that run the model many times.")
    ] = True,
    slow_cases: Annotated[int, typer.Option(min=0, help="Cases for slow methods.")] = 10,
    sanity_cases: Annotated[
        int, typer.Option(min=0, help="Cases on which all weights are destroyed.")
    ] = 4,
    stability_cases: Annotated[
        int, typer.Option(min=0, help="Cases whose images are changed a little.")
    ] = 4,
    slow_checks: Annotated[
        int, typer.Option(min=0, help="Of these, cases with slow methods too.")
    ] = 1,
) -> None:
    """Measure every explanation method on phantoms: which one to trust with this model."""
    from app.commands.benchmark import run
    from engine.benchmark.run import Plan

    plan = Plan(
        tuple(_listed([arms])), slow, slow_cases, sanity_cases, stability_cases, slow_checks
    )
    run(out, _listed([methods]), model, device, cases, seed, plan)


@app.command()
def methods(
    model: Annotated[
        str | None, typer.Option(help="Name or path of a model card; says what it cannot serve.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    markdown: Annotated[bool, typer.Option("--markdown", help="As tables.")] = False,
) -> None:
    """List the explanation methods: what each shows, and what it cannot say."""
    from app.commands.methods import run

    run(model, device, markdown=markdown)


@app.command()
def report(
    case: Annotated[str, typer.Argument(help="Pseudonym of a stored case.")],
    out: Annotated[Path, typer.Option(help="PDF to write.")],
    target: Annotated[str | None, typer.Option(help="Class to explain.")] = None,
    workspace: Workspace = None,
    database: Database = None,
    device: Device = None,
) -> None:
    """Write the PDF report of a stored case."""
    from app.commands.workspace import report_to

    report_to(out, case, target, {"workspace": workspace, "database": database, "device": device})


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, TOML.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; resumes what is there.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, such as optimiser.epochs=3; repeatable."),
    ] = None,
) -> None:
    """Train a model by a recipe; writes weights and a model card."""
    from app.commands.train import run

    run(recipe, out, device, change or [])


@app.command("bring-model")
def bring_model(
    checkpoint: Annotated[Path, typer.Argument(help=".safetensors, .pt or .pth.")],
    architecture: Annotated[str, typer.Option(help="Name of the architecture in timm.")],
    out: Annotated[Path, typer.Option(help="Folder for the model card and the weights.")],
    classes: Annotated[
        Path | None, typer.Option(help="Text file of class names, one a line, in output order.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(min=0, max=100_000, help="Number of classes without names; 0: features only."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the card; the architecture's.")] = "",
    title: Annotated[str, typer.Option(help="Name for people.")] = "",
    training_data: Annotated[str, typer.Option(help="What it was trained on, one sentence.")] = "",
    size: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Side of its images, pixels.")
    ] = None,
    mean: Annotated[str, typer.Option(help="Mean of its input, such as 0.5,0.5,0.5.")] = "",
    std: Annotated[str, typer.Option(help="Standard deviation of its input.")] = "",
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match tensors by their order, not their names.")
    ] = False,
) -> None:
    """Make a model card of a checkpoint that was trained elsewhere."""
    from app.commands.bring import run

    run(
        checkpoint, architecture, out, classes=classes, count=num_classes, name=name, title=title,
        training_data=training_data, size=size, mean=mean, std=std, by_order=by_order,
    )  # fmt: skip


@app.command()
def phantoms(
    out: Annotated[Path, typer.Option(help="Folder for the cases, one folder each.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; the next add one each.")] = 0,
    label: Annotated[str | None, typer.Option(help="Class of all of them; drawn if none.")] = None,
) -> None:
    """Make test cases of known truth."""
    from engine.phantoms import phantom_case, write_case

    for number in range(seed, seed + count):
        case = phantom_case(number, label)
        write_case(case, out / case.id)
    typer.echo(f"{count} phantom case(s) written.")


@app.command(hidden=True)
def work(
    run: Annotated[int, typer.Option(min=1, help="Number of the run.")],
    workspace: Workspace = None,
    database: Database = None,
    device: Device = None,
) -> None:
    """Do one run in this process; the server calls it."""
    from app.commands.work import run as do

    raise typer.Exit(do(run, {"workspace": workspace, "database": database, "device": device}))


@ratings.command("export")
def export_ratings(
    out: Annotated[Path, typer.Option(help="CSV to write.")],
    workspace: Workspace = None,
    database: Database = None,
) -> None:
    """Write all answers that count as CSV."""
    from app.commands.workspace import ratings_to

    ratings_to(out, {"workspace": workspace, "database": database})


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Lightbox: see why an imaging model said what it said."""
    if show:
        typer.echo(f"Lightbox {VERSION}")
        raise typer.Exit


def main() -> None:
    """Run a command; what a user can act upon is one sentence on standard error."""
    guarded(app)


def guarded(command: typer.Typer) -> None:
    """Run a typer application with our errors told in one sentence."""
    from reports.errors import ReportError

    try:
        command()
    except (AppError, EngineError, ReportError) as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        typer.echo(FULL if is_full else UNUSABLE, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
