"""How the server logs: as uvicorn does, without keys, with the id of each request."""

import copy
from typing import Any

from uvicorn.config import LOGGING_CONFIG


def log_config() -> dict[str, Any]:
    """Return uvicorn's logging with filters that take out keys and note the request's id."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {
        "without_keys": {"()": "api.auth.WithoutKeys"},
        "request_id": {"()": "api.request_ids.WithRequestId"},
    }
    for handler in config["handlers"].values():
        handler["filters"] = ["without_keys", "request_id"]
    for formatter in config["formatters"].values():
        formatter["fmt"] += " [%(request_id)s]"
    return config
