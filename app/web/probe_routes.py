"""Pictures of the counterfactual probe, and its value while a computation goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.auth import User
from app.web.ports import Layer, ProbeParts, Services
from app.web.session import user_of

PRIVATE = "private, max-age=3600"
NEVER = "no-store"


def probe_routes(services: Services, probe: ProbeParts) -> APIRouter:
    """Routes below /probe; the service checks the user itself.

    Args:
        services: Know who is asking. probe: Gives what is sent.
    """

    async def picture(request: Request) -> Response:
        at = request.path_params
        return await send(request, lambda u: probe.picture(u, at["case"], at["image"], at["frame"]))

    async def tile(request: Request) -> Response:
        at = request.path_params
        return await send(request, lambda user: probe.tile(user, at["answer"], at["number"]))

    async def panel(request: Request) -> Response:
        case, target = request.path_params["case"], request.query_params.get("target")
        user = user_of(request, services)
        made = await to_thread.run_sync(lambda: probe.panel(user, case, target or None))
        return JSONResponse(made, headers={"cache-control": NEVER})

    async def send(request: Request, get: Callable[[User | None], Layer]) -> Response:
        found = await to_thread.run_sync(get, user_of(request, services))
        headers = {"cache-control": PRIVATE, "vary": "Cookie", "etag": f'"{found.etag}"'}
        return Response(found.data, media_type=found.media_type, headers=headers)

    router = APIRouter()
    table: tuple[tuple[str, Any], ...] = (
        ("/probe/picture/{case}/{image:int}/{frame:int}.png", picture),
        ("/probe/tile/{answer}/{number:int}.png", tile),
        ("/probe/{case}.json", panel),
    )
    for path, handler in table:
        router.add_route(path, handler, methods=["GET", "HEAD"])
    return router
