"""How the server logs: as uvicorn does, without keys."""

import copy
from typing import Any

from uvicorn.config import LOGGING_CONFIG


def log_config() -> dict[str, Any]:
    """Return uvicorn's logging with a filter that takes out keys, should a URL hold one."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {"without_keys": {"()": "api.auth.WithoutKeys"}}
    for handler in config["handlers"].values():
        handler["filters"] = ["without_keys"]
    return config
