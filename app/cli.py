"""The command line: serve, explain, benchmark, report, train, phantoms, ratings, study, audit."""

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

study = typer.Typer(no_args_is_help=True, help="Reader studies.")
app.add_typer(study, name="study")

audit = typer.Typer(no_args_is_help=True, help="The trail of who did what.")
app.add_typer(audit, name="audit")

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
            help="npz, png, nifti, dicom, dicom-seg, dicom-sr: repeat it, or separate by commas; "
            "npz,png if none.",
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
    out: Annotated[Path, typer.Option(help="File to write.")],
    target: Annotated[str | None, typer.Option(help="Class to explain.")] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="pdf, json, dicom-pdf (encapsulated) or dicom-sr; pdf if none."
        ),
    ] = "pdf",
    workspace: Workspace = None,
    database: Database = None,
    device: Device = None,
) -> None:
    """Write the report of a stored case."""
    from app.commands.workspace import report_to

    flags = {"workspace": workspace, "database": database, "device": device}
    report_to(out, case, target, flags, form)


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


@app.command()
def agreement(
    file: Annotated[
        Path, typer.Argument(help="CSV: reader_id, case_id, question_id, answer; others ignored.")
    ],
    scale: Annotated[
        str, typer.Option(help="Labels of the scale in their order, separated by commas.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of every bootstrap.")] = 0,
) -> None:
    """Measure how far readers agree, from a CSV of their answers; exit 2 if it cannot be used."""
    from app.commands.agreement import run

    raise typer.Exit(run(file, scale.split(","), as_json=as_json, seed=seed))


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


@study.command("analyse")
def analyse_study(
    source: Annotated[
        Path,
        typer.Argument(help="Folder or zip of an export, study.json, or CSV, a row per answer."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of every bootstrap; that of the export.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=10, max=100_000, help="Of every bootstrap.")
    ] = None,
    arm: Annotated[str, typer.Option(help="Only this arm.")] = "",
    group: Annotated[str, typer.Option(help="Only this case group.")] = "",
) -> None:
    """Analyse a reader study from its export; exit 2 if it cannot be used."""
    from app.commands.study import run

    raise typer.Exit(run(source, as_json=as_json, seed=seed, draws=draws, arm=arm, group=group))


@audit.command("verify")
def verify_audit(
    workspace: Workspace = None,
    database: Database = None,
    head: Annotated[
        str | None,
        typer.Option(help="POSITION:DIGEST of a row noted earlier, which must still be there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check that no row of the trail was changed, removed or put in between; exit 1 if one was."""
    from app.commands.audit import verify

    flags = {"workspace": workspace, "database": database}
    raise typer.Exit(verify(flags, as_json=as_json, head=head))


@audit.command("export")
def export_audit(
    out: Annotated[Path, typer.Option(help="File to write, .csv or .json.")],
    workspace: Workspace = None,
    database: Database = None,
    who: Annotated[str, typer.Option(help="Only of this account.")] = "",
    action: Annotated[str, typer.Option(help="Only of this action, such as “sign in”.")] = "",
    since: Annotated[str, typer.Option(help="From this day or time (UTC) on.")] = "",
    until: Annotated[str, typer.Option(help="Up to this day, or before this time.")] = "",
) -> None:
    """Write the trail to a file, oldest row first."""
    from app.commands.audit import export

    flags = {"workspace": workspace, "database": database}
    export(out, flags, who=who, action=action, since=since, until=until)


@audit.command("trim")
def trim_audit(
    out: Annotated[Path, typer.Option(help="New JSON file for the rows that are removed.")],
    workspace: Workspace = None,
    database: Database = None,
) -> None:
    """Remove rows older than the setting audit_days, after writing them to a file."""
    from app.commands.audit import trim

    trim(out, {"workspace": workspace, "database": database})


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
