"""The base of everything on the wire."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Base of all wire objects."""

    model_config = ConfigDict(frozen=True, extra="forbid")
