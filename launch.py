"""Start Lightbox: `python launch.py --help` lists the options."""

from __future__ import annotations

import typer

from app.cli import guarded, serve

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(serve)

if __name__ == "__main__":
    guarded(app)
