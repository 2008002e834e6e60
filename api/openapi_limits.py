"""What the limits that stand before all routes add to the OpenAPI document."""

from typing import Any

from api.auth import is_open
from api.limits import is_answering
from api.request_ids import HEADER
from api.routes.shared import JSON

_PROBLEM = {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REQUEST_ID = {
    "description": "Id of the request, as problems and the server's log have it.",
    "schema": {"type": "string"},
}
_SENT_ID = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "An id of the client's for this request: at most 64 letters, digits, '.', '-' and '_', a "
        "letter or digit first. Any other is replaced."
    ),
    "schema": {"type": "string"},
}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer"}}


def document_limits(document: dict[str, Any], *, with_keys: bool) -> None:
    """Add what a limit may answer to each operation of an OpenAPI document, in place."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scope = {"method": method.upper(), "path": path}
            responses = operation["responses"]
            if "requestBody" in operation:
                responses["408"] = _problem("Request Timeout: the body came too slowly")
            if with_keys and not is_open(method.upper(), path):
                responses["429"] = _problem("Too Many Requests of one key")
            if is_answering(scope):
                described = responses.setdefault("503", _problem(""))
                described["description"] = "Busy, or a model is missing or fails"
            for status, response in responses.items():
                headers = response.setdefault("headers", {})
                headers[HEADER] = _REQUEST_ID
                if status == "429" or (status == "503" and is_answering(scope)):
                    headers["Retry-After"] = _RETRY_AFTER
            operation.setdefault("parameters", []).append(_SENT_ID)


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": dict(_PROBLEM)}
