"""The one shape of every error that the gateway answers: OpenAI's, on every route and for every cause."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.responses import Response

    from harness.errors import SignoffError


class ApiError(Exception):
    """An answer other than 200. ``param`` names the body field at fault; ``code`` is for machines."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error as clients of OpenAI expect it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The error as an HTTP response."""
        import orjson
        from starlette.responses import Response

        return Response(orjson.dumps(self.body()), self.status, self.headers, media_type="application/json")


def invalid(message: str, param: str | None = None) -> ApiError:
    """A 400: the request must be mended by its sender."""
    return ApiError(400, message, param=param)


def no_model(name: str) -> ApiError:
    """A 404, the same for a model that is not there and for one that the key may not call: names do not leak."""
    message = f"The model `{name[:200]}` does not exist or you do not have access to it"
    return ApiError(404, message, param="model", code="model_not_found")


def as_api_error(problem: BaseException) -> ApiError:
    """What the caller may know of ``problem``; the text of unforeseen errors stays in the server's log."""
    from starlette.exceptions import HTTPException

    from harness.errors import SignoffError
    from harness.serve.protocol import OverloadedError, RequestError

    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, RequestError):
        return invalid(str(problem), problem.param)
    if isinstance(problem, OverloadedError):
        return ApiError(429, str(problem), code="overloaded", headers=retry_after(problem.retry_after_s))
    if isinstance(problem, SignoffError):
        return _of_step(problem) or _of_endpoint(problem) or ApiError(500, str(problem))
    if isinstance(problem, HTTPException):
        code = {404: "unknown_route", 405: "method_not_allowed"}.get(problem.status_code)
        return ApiError(problem.status_code, str(problem.detail), code=code, headers=problem.headers)
    return ApiError(500, "internal error; the server's log has the details under this x-request-id")


def retry_after(seconds: float) -> dict[str, str]:
    """When asking again makes sense. Clients of OpenAI read the milliseconds first; others know whole seconds only."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def _of_step(problem: SignoffError) -> ApiError | None:
    from harness.serve.gateway.served import BrokenStepError

    if not isinstance(problem, BrokenStepError):
        return None
    status = {"timeout": 504, "unreachable": 502, "failed": 500}[problem.trouble]
    return ApiError(status, str(problem), code=f"step_{problem.trouble}")


def _of_endpoint(problem: SignoffError) -> ApiError | None:
    # What another server said, and where it is, is for the log.
    from harness.serve.remote import EndpointError

    if not isinstance(problem, EndpointError):
        return None
    if problem.timed_out:
        return ApiError(504, "the model's endpoint did not answer in time", code="endpoint_timeout")
    return ApiError(502, "the model's endpoint did not answer as it should", code="endpoint_failed")
