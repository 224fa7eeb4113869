"""The audit trail as a file, for administrators."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.web.ports import Services
from app.web.session import user_of

FILTERS = ("who", "action", "object", "since", "until")


class AuditRoutes:
    """The handler.

    Args:
        services: Where the trail comes from; it checks the user itself.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def export(self, request: Request) -> Response:
        """The rows that fit the query, oldest first."""
        kind = str(request.path_params["kind"])
        user, make = user_of(request, self._services), self._services.administration.audit_export
        asked = {name: request.query_params.get(name, "") for name in FILTERS}
        made = await to_thread.run_sync(lambda: make(user, kind, **asked))
        name = f'attachment; filename="lightbox-audit.{"json" if kind == "json" else "csv"}"'
        headers = {"cache-control": "no-store", "content-disposition": name}
        return Response(made.data, media_type=made.media_type, headers=headers)


def audit_routes(services: Services) -> APIRouter:
    """Routes of the audit trail."""
    router = APIRouter()
    router.add_route("/exports/audit.{kind}", AuditRoutes(services).export, methods=["GET", "HEAD"])
    return router
