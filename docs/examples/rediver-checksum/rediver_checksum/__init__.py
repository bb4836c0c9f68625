"""The command type `checksum`: is this file on every host the one that was built?

It reads regular files below the roots that the operator allows, and tells of each its digest and
nothing of what is in it.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from rediver_agent import CommandHandler, HandlerContext, hookimpl

rediver_api = 1

AT_ONCE = 100  # files a run of the program, so that progress can be told

Name = Annotated[str, Field(min_length=1, max_length=4096)]


class Payload(BaseModel, extra="forbid"):
    """What a command says."""

    path: str = Field(description="A directory of the agent's host")
    files: list[Name] = Field(min_length=1, max_length=1000, description="Files in it")


class Options(BaseModel, extra="forbid"):
    """What the operator says."""

    algorithm: Literal["sha256", "sha512"] = "sha256"


class Checksum(CommandHandler[Payload, Options]):
    """Runs `sha256sum` or `sha512sum` on the files that a command names."""

    command_type = "checksum"
    payload = Payload
    options = Options
    timeout_seconds = 600

    def target(self, payload: Payload) -> str:
        """The agent opens it below an allowed root, or refuses the command."""
        return payload.path

    async def handle(
        self, ctx: HandlerContext, payload: Payload, options: Options
    ) -> Mapping[str, JsonValue]:
        """The digest of each file, by its name as the command has it."""
        digests: dict[str, JsonValue] = {}
        names = iter(dict.fromkeys(payload.files))
        while some := list(islice(names, AT_ONCE)):
            ctx.progress(100 * len(digests) / len(payload.files), f"reading {some[0]}")
            files = [ctx.file_in_target(name) for name in some]  # no link, nothing outside
            done = await ctx.run(f"{options.algorithm}sum", "--zero", "--", *files)
            lines = os.fsdecode(done.stdout.read_bytes()).split("\0")[:-1]
            told = (line.partition("  ")[0] for line in lines)
            digests |= dict(zip(some, told, strict=True))
        return {"algorithm": options.algorithm, "checksums": digests}


@hookimpl
def rediver_handlers() -> Iterator[Checksum]:
    """The handler."""
    yield Checksum()
