"""The routes of our own: the way in, pixels, reports, tables and uploads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.auth import Role, User, check
from app.services.evidence_tiles import Look, look
from app.web.ports import Layer, Services
from app.web.probe_routes import probe_routes
from app.web.session import user_of
from app.web.study_routes import study_routes
from app.web.upload import UploadLimits, keep_files, private_folder
from engine.io.limits import Limits

FOREVER = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"
NEVER = "no-store"
UPLOADS_AT_ONCE = 2


class Routes:
    """Handlers that send what a service gives; each service checks the user itself.

    Args:
        services: Where everything comes from.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._uploads = CapacityLimiter(UPLOADS_AT_ONCE)

    async def root(self, request: Request) -> Response:
        """To the worklist, or to the case that a link names."""
        case = request.query_params.get("case", "")
        query = f"?{urlencode({'case': case})}" if case else ""
        return RedirectResponse(f"/app/{query}", 307)

    async def health(self, request: Request) -> Response:
        """That the server answers."""
        return JSONResponse({"status": "ok"}, headers={"cache-control": NEVER})

    async def layer(self, request: Request) -> Response:
        """Raw pixels of one frame of a case."""
        at = request.path_params
        get = self._services.cases.layer
        return await self._pixels(
            request, lambda user: get(user, at["case"], at["position"], at["frame"])
        )

    async def heat(self, request: Request) -> Response:
        """Raw codes of one heat map."""
        at = request.path_params
        get = self._services.review.heat
        return await self._pixels(request, lambda user: get(user, at["explanation"], at["number"]))

    async def view(self, request: Request) -> Response:
        """What the viewer shows of a case, so far as it is stored.

        The query may name a `target` and a `method`. The page asks for it before and while a case
        is opened, so the trail calls it "prefetch"; the opening itself is the "view".
        """
        case, asked = request.path_params["case"], request.query_params
        user, make = user_of(request, self._services), self._services.review.preview
        target, method = asked.get("target") or None, asked.get("method") or None
        made = await to_thread.run_sync(lambda: make(user, case, target, method))
        return JSONResponse(made, headers={"cache-control": NEVER})

    async def evidence(self, request: Request) -> Response:
        """How far each map of a case can be trusted, so far as it is known; asked for again and
        again while computations go on, so that the trail does not mention it."""
        case, target = request.path_params["case"], request.query_params.get("target")
        user, make = user_of(request, self._services), self._services.evidence.panel
        made = await to_thread.run_sync(lambda: make(user, case, target or None))
        return JSONResponse(made, headers={"cache-control": NEVER})

    async def evidence_picture(self, request: Request) -> Response:
        """An image without heat, as a tile."""
        at, get = request.path_params, self._services.evidence.picture
        return await self._pixels(request, lambda user: get(user, at["case"], at["image"]))

    async def evidence_tile(self, request: Request) -> Response:
        """An image under one map."""
        at, get, drawn = request.path_params, self._services.evidence.tile, _look(request)
        return await self._pixels(
            request, lambda user: get(user, at["explanation"], at["number"], drawn)
        )

    async def evidence_consensus(self, request: Request) -> Response:
        """An image under what all maps have in common."""
        at, target = request.path_params, request.query_params.get("target")
        get, drawn = self._services.evidence.consensus, _look(request)
        return await self._pixels(
            request, lambda user: get(user, at["case"], at["image"], target or None, drawn)
        )

    async def evidence_sanity(self, request: Request) -> Response:
        """An image under a map of a model whose weights were destroyed in part."""
        at, get = request.path_params, self._services.evidence.sanity
        return await self._pixels(
            request, lambda user: get(user, at["number"], at["method"], at["stage"])
        )

    async def thumbnail(self, request: Request) -> Response:
        """The small picture of a case."""
        case = request.path_params["case"]
        get = self._services.cases.thumbnail
        return await self._pixels(request, lambda user: get(user, case))

    async def report(self, request: Request) -> Response:
        """The PDF of a case, as a download."""
        case, target = request.path_params["case"], request.query_params.get("target")
        user, make = user_of(request, self._services), self._services.reports.case_pdf
        made = await to_thread.run_sync(lambda: make(user, case, target or None))
        plain = re.sub(r"[^A-Za-z0-9_-]", "", case)[:64]
        return _download(made, f"lightbox-{plain}.pdf", "inline")

    async def ratings(self, request: Request) -> Response:
        """All ratings as a table, as a download."""
        user, make = user_of(request, self._services), self._services.ratings.export_csv
        made = await to_thread.run_sync(lambda: make(user))
        return _download(made, "lightbox-ratings.csv")

    async def upload(self, request: Request) -> Response:
        """Files become cases; the answer has one entry per case or failure."""
        user = check(user_of(request, self._services), Role.READER)
        settings, receive = self._services.settings, self._services.intake.receive
        limits = UploadLimits(settings.max_upload_bytes, Limits().max_files)
        async with private_folder(settings.workspace) as folder:
            await keep_files(request, folder, limits)
            outcomes = await to_thread.run_sync(
                lambda: receive(user, folder), limiter=self._uploads
            )
        return JSONResponse({"outcomes": outcomes})

    async def _pixels(self, request: Request, get: Callable[[User | None], Layer]) -> Response:
        """What a service gives, or 304 when the browser has it already."""
        user = user_of(request, self._services)
        found = await to_thread.run_sync(get, user)
        etag = f'"{found.etag}"'
        headers = {
            "etag": etag,
            "cache-control": FOREVER if "v" in request.query_params else ASK_AGAIN,
            "vary": "Cookie",
        }
        if etag in _etags(request):
            return Response(status_code=304, headers=headers)
        return Response(found.data, media_type=found.media_type, headers=headers)


def own_routes(services: Services) -> APIRouter:
    """Routes of our own."""
    routes, router = Routes(services), APIRouter()
    table: tuple[tuple[str, Any], ...] = (
        ("/", routes.root),
        ("/health", routes.health),
        ("/layers/{case}/{position:int}/{frame:int}.raw", routes.layer),
        ("/heat/{explanation}/{number:int}.raw", routes.heat),
        ("/view/{case}.json", routes.view),
        ("/evidence/picture/{case}/{image:int}.png", routes.evidence_picture),
        ("/evidence/tile/{explanation}/{number:int}.png", routes.evidence_tile),
        ("/evidence/consensus/{case}/{image:int}.png", routes.evidence_consensus),
        ("/evidence/sanity/{number}/{method}/{stage:int}.png", routes.evidence_sanity),
        ("/evidence/{case}.json", routes.evidence),
        ("/thumbnails/{case}.png", routes.thumbnail),
        ("/reports/{case}.pdf", routes.report),
        ("/exports/ratings.csv", routes.ratings),
    )
    for path, handler in table:
        router.add_route(path, handler, methods=["GET", "HEAD"])
    router.add_route("/upload", routes.upload, methods=["POST"])
    router.include_router(probe_routes(services, services.probe))
    router.include_router(study_routes(services))
    return router


def _look(request: Request) -> Look:
    asked = request.query_params
    return look(asked.get("smooth", ""), asked.get("native", ""), asked.get("scale", ""))


def _etags(request: Request) -> set[str]:
    stated = request.headers.get("if-none-match", "")
    return {each.strip().removeprefix("W/") for each in stated.split(",")}


def _download(made: Layer, name: str, kind: str = "attachment") -> Response:
    headers = {"cache-control": NEVER, "content-disposition": f'{kind}; filename="{name}"'}
    return Response(made.data, media_type=made.media_type, headers=headers)
