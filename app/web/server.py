"""The parent application around the mounted Gradio pages, and the server that runs it."""

from __future__ import annotations

import errno
import logging
import os
import socket
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from app.auth import Role
from app.errors import InvalidInput, NotAllowed, StorageFailed
from app.settings import Settings
from app.web.audit_routes import audit_routes
from app.web.failures import on_http_error
from app.web.gate import Gate
from app.web.lock import lock_routes
from app.web.oidc_routes import oidc_routes
from app.web.pages import sign_in_routes
from app.web.ports import Services
from app.web.reading_routes import reading_routes
from app.web.routes import own_routes
from app.web.session import user_of
from app.web.surface import MOUNTS
from app.web.upload import sweep

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parents[2] / "assets" / "web"
BACKLOG = 128
QUEUE_SIZE = 200
SHUTDOWN_SECONDS = 3
GRADIO_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",  # else a table of timings after each event
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
WATCH = '<script src="/static/session.js" defer></script>'
"""Warns before a login ends, and locks the screen; part of every page."""
NO_ACCOUNTS = (
    "Lightbox opens to the network only once there is an administrator; start it on this machine "
    "(without --host), create the first administrator under /setup, and start it again."
)


@dataclass(frozen=True)
class MountSpec:
    """One Gradio page and where it is shown.

    Args:
        path: "/app" or "/admin".
        blocks: The page.
        who: Lowest role that may open it.
        css: Style sheet of the page.
        head: HTML for its head.
        js: Script run when it opens.
        theme: Gradio theme; None for the default.
        i18n: Translations.
    """

    path: str
    blocks: gr.Blocks
    who: Role = Role.READER
    css: str = ""
    head: str = ""
    js: str = ""
    theme: Any = None
    i18n: Any = None


def prepare_gradio(settings: Settings) -> None:
    """Set the environment that Gradio reads: no telemetry, nothing from the network, private files.

    To be called before Gradio is imported and before any page is built.

    Raises:
        StorageFailed: The folder for its files cannot be made.
    """
    folder = settings.workspace / "gradio"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:
        raise StorageFailed("The workspace cannot be written.") from None
    os.environ.update(GRADIO_ENVIRONMENT, GRADIO_TEMP_DIR=str(folder))


def create_app(
    services: Services, mounts: Sequence[MountSpec], *, hosts: Iterable[str] = ()
) -> FastAPI:
    """The whole application behind its gate.

    Args:
        services: What pages and routes call.
        mounts: Gradio pages; built after `prepare_gradio`.
        hosts: Further host names of this server, such as that of a reverse proxy.
    """
    prepare_gradio(services.settings)
    sweep(services.settings.workspace)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, on_http_error)
    app.include_router(sign_in_routes(services))
    app.include_router(lock_routes(services))
    app.include_router(oidc_routes(services))
    app.include_router(audit_routes(services))
    app.include_router(own_routes(services))
    app.include_router(reading_routes(services))
    _serve_assets(app)
    for spec in mounts:
        _mount(app, spec, services)
    app.add_middleware(Gate, services=services, hosts=tuple(hosts))
    return app


def serve(
    services: Services,
    app: FastAPI,
    settings: Settings,
    *,
    ready: Callable[[str], None] | None = None,
    opener: Callable[[str], object] = webbrowser.open,
) -> None:
    """Run the server in this thread until it is stopped.

    Args:
        services: To know whether there are accounts.
        app: What `create_app` made.
        settings: Host, port, and whether the browser is opened.
        ready: Called with the address once the server answers.
        opener: Opens an address in the browser.

    Raises:
        NotAllowed: The host is not loopback and there are no accounts.
        InvalidInput: The host or port cannot be listened on.
    """
    if not settings.is_loopback and not services.accounts.has_accounts():
        raise NotAllowed(NO_ACCOUNTS)
    listener = listen(settings.host, settings.port)

    def started() -> None:
        address = address_of(settings.host, listener.getsockname()[1])
        if ready is not None:
            ready(address)
        if settings.open_browser:
            Thread(target=_open, args=(opener, address), daemon=True).start()

    with listener:
        _run(app, listener, started)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to host and port; port 0 takes a free one.

    Raises:
        InvalidInput: That is not possible; the sentence says why.
    """
    try:
        found = socket.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = sorted(found, key=lambda each: each[0])[0]
        listener = socket.socket(family, kind, protocol)
    except OSError:
        raise InvalidInput("The host to listen on is not a name of this machine.") from None
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidInput(_bind_sentence(error, port)) from None
    return listener


def address_of(host: str, port: int) -> str:
    """The address to be typed into a browser on this machine."""
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def _bind_sentence(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is already in use; stop the other program, or choose another port "
            "with --port."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be used by this account; choose one above 1023 with --port."
    return "The host to listen on is not an address of this machine."


def _run(app: FastAPI, listener: socket.socket, started: Callable[[], None]) -> None:
    """Serve with one process and without an access log, since addresses name cases."""
    import uvicorn

    class Server(uvicorn.Server):
        """Says when it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    with suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listener])


def _open(opener: Callable[[str], object], address: str) -> None:
    """Open the browser; a machine without one is no reason to stop."""
    try:
        opener(address)
    except (OSError, webbrowser.Error):
        logger.warning("no browser could be opened")


def _mount(app: FastAPI, spec: MountSpec, services: Services) -> None:
    """Mount a Gradio page for the users of one role."""
    if spec.path not in MOUNTS:
        raise ValueError(f"the gate knows {MOUNTS}, not {spec.path!r}")
    import gradio as gr

    def name_of(request: Request) -> str | None:
        user = user_of(request, services)
        return user.name if user is not None and user.role.covers(spec.who) else None

    spec.blocks.queue(api_open=False, max_size=QUEUE_SIZE, default_concurrency_limit=4)
    gr.mount_gradio_app(
        app,
        spec.blocks,
        path=spec.path,
        auth_dependency=name_of,
        show_error=False,
        run_history=False,
        footer_links=[],
        allowed_paths=[],
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=spec.theme,
        css=spec.css or None,
        head=WATCH + spec.head,
        js=spec.js or None,
        i18n=spec.i18n,
    )
    spec.blocks.has_launched = True  # without it Gradio does not check the paths events name


def _serve_assets(app: FastAPI) -> None:
    """Style sheet, icon and manifest; the same for everybody."""

    async def icon(request: Request) -> Response:
        headers = {"cache-control": "public, max-age=86400"}
        return FileResponse(WEB / "icon.svg", media_type="image/svg+xml", headers=headers)

    async def manifest(request: Request) -> Response:
        mark = {"src": "/favicon.ico", "sizes": "any", "type": "image/svg+xml"}
        return JSONResponse(
            {
                "name": "Lightbox",
                "short_name": "Lightbox",
                "start_url": "/",
                "display": "standalone",
                "background_color": "#0f1114",
                "theme_color": "#0f1114",
                "icons": [mark],
            }
        )

    for prefix in ("", *MOUNTS):
        app.add_route(f"{prefix}/favicon.ico", icon, methods=["GET", "HEAD"])
        app.add_route(f"{prefix}/manifest.json", manifest, methods=["GET", "HEAD"])
    app.mount("/static", StaticFiles(directory=WEB))
