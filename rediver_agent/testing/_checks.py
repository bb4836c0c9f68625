"""What is checked of plugins of every kind. What is wrong is an `AssertionError` that says so."""

import json
import re
from collections.abc import Collection
from typing import Final, NoReturn

from pydantic import BaseModel, ValidationError

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.interfaces import AnyCollector, AnyScanner, Notice, ToolInfo

SECRET_WORDS: Final = frozenset({"token", "secret", "password", "passphrase", "key", "apikey"})


def check_name_and_options(plugin: AnyScanner | AnyCollector) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", plugin.name):
        fail(f"name {plugin.name!r}: use small letters, digits and -, like a command line")
    options = plugin.options
    if not issubclass(options, BaseModel) or options.model_config.get("extra") != "forbid":
        fail('options is a pydantic model with extra="forbid", so that no key is ignored')


def check_event(event: object, secrets: Collection[str]) -> None:
    if isinstance(event, Finding | Asset):
        try:
            type(event).model_validate(event.model_dump())
        except ValidationError as fault:
            what = "a finding" if isinstance(event, Finding) else "an asset"
            fail(f"{what} is not valid, build it with {type(event).__name__}(...): {fault}")
        if isinstance(event, Finding) and event.fingerprint is not None:
            fail("a finding has a fingerprint: leave it out, the agent sets it")
        shown = event.model_dump_json()
    elif isinstance(event, Notice | ToolInfo):
        shown = json.dumps(repr(event))
    else:
        fail(f"a {type(event).__name__} is yielded: yield Finding, Notice or ToolInfo")
    if any(secret in shown for secret in secrets):
        fail(f"a secret shows in a {type(event).__name__}: mask it before it is yielded")


def fail(sentence: str) -> NoReturn:
    raise AssertionError(sentence)
