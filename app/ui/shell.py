"""The edge between pages and services: who asks, and errors in the user's words."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from app.auth import Role, User, check
from app.errors import AppError, unforeseen
from app.services import Services
from engine.errors import EngineError
from reports.errors import ReportError

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]


def guarded(services: Services, role: Role = Role.OBSERVER) -> Callable[[Handler], Handler]:
    """Turn `handler(user, *inputs)` into a Gradio handler that checks the user on every call.

    Errors meant for users become a notice and leave the page as it is; anything else is logged
    under a short reference. The guarded handler carries `required_role`, so that a test can list
    what is unguarded.

    Args:
        services: Knows the users. role: The least role; the services ask for more where more
            is needed.
    """

    def guard(handler: Handler) -> Handler:
        parameters = list(inspect.signature(handler).parameters.values())[1:]

        def wrapper(asked: gr.Request, *inputs: Any) -> Any:
            try:
                return handler(check(user_of(services, asked), role), *inputs)
            except (AppError, EngineError, ReportError) as error:
                gr.Warning(str(error))
            except Exception as error:
                gr.Warning(unforeseen(error, logger, "page handler failed, "))
            return gr.skip()

        marked: Any = wrapper
        first = inspect.Parameter(
            "asked", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request
        )
        hints = inspect.get_annotations(handler, eval_str=True)
        marked.__signature__ = inspect.Signature(
            [first, *(p.replace(annotation=hints.get(p.name, p.annotation)) for p in parameters)]
        )
        names = {p.name: hints[p.name] for p in parameters if p.name in hints}
        marked.__annotations__ = {"asked": gr.Request, **names}
        marked.__name__ = handler.__name__
        marked.required_role = role
        return wrapper

    return guard


def user_of(services: Services, request: gr.Request) -> User | None:
    """Who sends a request: the name that the mount's login check found, looked up anew."""
    return services.user(request.username)


def unguarded(demo: gr.Blocks) -> list[str]:
    """Names of event handlers and server functions without a guard."""
    found = [
        str(block.api_name)
        for block in demo.fns.values()
        if block.fn is not None and not hasattr(block.fn, "required_role")
    ]
    for component in demo.blocks.values():
        functions = getattr(component, "server_fns", None) or []
        found += [f.__name__ for f in functions if not hasattr(f, "required_role")]
    return found
