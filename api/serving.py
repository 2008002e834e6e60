"""How the server logs: as uvicorn does, or as JSON; without keys, with the id of each request."""

import copy
from typing import Any, Literal

from uvicorn.config import LOGGING_CONFIG


def log_config(form: Literal["text", "json"] = "text") -> dict[str, Any]:
    """Return uvicorn's logging with filters that take out keys and note the request's id.

    As JSON, requests are logged by `api.request_log` instead: uvicorn's lines have whole URLs.
    """
    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {
        "without_keys": {"()": "api.auth.WithoutKeys"},
        "request_id": {"()": "api.request_ids.WithRequestId"},
    }
    for handler in config["handlers"].values():
        handler["filters"] = ["without_keys", "request_id"]
    if form == "text":
        for formatter in config["formatters"].values():
            formatter["fmt"] += " [%(request_id)s]"
        return config
    config["formatters"] = {name: {"()": "api.json_log.JsonLines"} for name in config["formatters"]}
    config["loggers"]["uvicorn.access"] = {"handlers": [], "level": "ERROR", "propagate": False}
    config["loggers"]["rag.access"] = {"handlers": ["access"], "level": "INFO", "propagate": False}
    config["root"] = {"handlers": ["default"], "level": "WARNING"}
    for name in ("api", "knowledge_bases"):
        config["loggers"][name] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config
