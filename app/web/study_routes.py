"""Reports and exports of reader studies, as downloads."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.auth import User
from app.web.ports import Layer, Services
from app.web.session import user_of

NEVER = "no-store"


def study_routes(services: Services) -> APIRouter:
    """Routes below /studies; the service checks the user itself.

    The names of the files hold the number of the study only, never its title or a condition.

    Args:
        services: Know who is asking, and make what is sent.
    """

    async def report(request: Request) -> Response:
        return await send(request, services.study_analysis.report_pdf, "report.pdf", "inline")

    async def report_json(request: Request) -> Response:
        return await send(request, services.study_analysis.report_json, "report.json")

    async def export(request: Request) -> Response:
        return await send(request, services.study_analysis.export_zip, "export.zip")

    async def send(
        request: Request,
        make: Callable[[User | None, int], Layer],
        name: str,
        kind: str = "attachment",
    ) -> Response:
        user, number = user_of(request, services), int(request.path_params["study"])
        made = await to_thread.run_sync(make, user, number)
        stated = f'{kind}; filename="lightbox-study-{number}-{name}"'
        headers = {"cache-control": NEVER, "content-disposition": stated}
        return Response(made.data, media_type=made.media_type, headers=headers)

    router = APIRouter()
    for path, handler in (
        ("/studies/{study:int}/report.pdf", report),
        ("/studies/{study:int}/report.json", report_json),
        ("/studies/{study:int}/export.zip", export),
    ):
        router.add_route(path, handler, methods=["GET"])
    return router
