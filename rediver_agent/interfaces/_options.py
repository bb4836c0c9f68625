"""What plugins of every kind share: how their options are declared, and their log."""

from logging import Logger, LoggerAdapter

from pydantic import BaseModel
from typing_extensions import TypeVar


class NoOptions(BaseModel, extra="forbid"):
    """Of a plugin that has nothing to set: any key is refused by name."""


Options = TypeVar("Options", bound=BaseModel, default=NoOptions)
Log = LoggerAdapter[Logger]
