"""The one shape of every error that the gateway answers: OpenAI's, on every route and for every cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.responses import Response


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
    from harness.serve.protocol import RequestError

    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, RequestError):
        return invalid(str(problem), problem.param)
    if isinstance(problem, SignoffError):
        return ApiError(500, str(problem))
    if isinstance(problem, HTTPException):
        code = {404: "unknown_route", 405: "method_not_allowed"}.get(problem.status_code)
        return ApiError(problem.status_code, str(problem.detail), code=code)
    return ApiError(500, "internal error; the server's log has the details under this x-request-id")
