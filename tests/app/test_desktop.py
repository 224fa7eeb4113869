"""The window of its own."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from app import desktop
from app.commands import serve
from app.errors import InvalidInput


def test_a_window_shows_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    fake = SimpleNamespace(
        create_window=lambda *args, **options: calls.append(args),
        start=lambda: calls.append("start"),
    )
    monkeypatch.setitem(sys.modules, "webview", fake)
    desktop.main("http://127.0.0.1:7860")
    assert calls == [("Lightbox", "http://127.0.0.1:7860"), "start"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="desktop"):
        serve.desktop_opener()


def test_with_the_extra_the_window_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(serve, "find_spec", lambda name: object())
    monkeypatch.setattr(serve.subprocess, "Popen", started.append)
    serve.desktop_opener()("http://127.0.0.1:1")
    assert started[0][1:] == ["-m", "app.desktop", "http://127.0.0.1:1"]
