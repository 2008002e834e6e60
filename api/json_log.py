"""Log lines as JSON objects, without content: no message is repeated that somebody sent."""

import datetime
import json
import logging

from api.errors import kind_and_place


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, request id, and a request's fields or a message.

    Of an exception only its class and place are told, as its message may hold a question.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
        }
        fields = getattr(record, "fields", None)
        line |= fields if isinstance(fields, dict) else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = kind_and_place(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True)
