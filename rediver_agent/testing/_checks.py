"""What is checked of plugins of every kind. What is wrong is an `AssertionError` that says so."""

import inspect
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NoReturn, cast

from pydantic import BaseModel, SecretStr, ValidationError

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.interfaces import Notice, ToolInfo

ADDRESS_WORDS: Final = frozenset(
    {"url", "uri", "address", "endpoint", "host", "hostname", "server", "port", "proxy"}
)
SECRET_WORDS: Final = frozenset({"token", "secret", "password", "passphrase", "key", "apikey"})


def check_instance(plugin: object, base: type[Any]) -> None:
    if isinstance(plugin, type):
        name = plugin.__name__
        fail(f"{name} is a class: give the check what the hook yields, {name}()")
    if not isinstance(plugin, base):
        fail(f"{plugin!r} is no {base.__name__}: derive its class from it")


def check_name(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        fail(f"the name {name!r}: use small letters, digits and -, like a command line")


def check_model(what: str, model: object) -> None:
    """Of options and payloads: no key may be ignored."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        fail(f"{what} is {model!r}: name a pydantic model, or leave it out for NoOptions")
    if model.model_config.get("extra") != "forbid":
        fail(f'{what} is a pydantic model with extra="forbid", so that no key is ignored')


def check_name_and_options(plugin: Any, base: type[Any]) -> None:
    check_instance(plugin, base)
    check_name(getattr(plugin, "name", None))
    check_model("options", plugin.options)


def check_defaults(options: type[BaseModel]) -> None:
    """Of what runs without a configuration, too."""
    try:
        options()
    except ValidationError as fault:
        fail(f"options() must be valid: give every option a default ({fault})")


def valid_options(plugin: Any, options: Mapping[str, Any]) -> Any:
    try:
        return plugin.options.model_validate(options)
    except ValidationError as fault:
        fail(f"the options that the check was given are not valid: {fault}")


def check_async(plugin: object, method: str) -> None:
    if not inspect.iscoroutinefunction(getattr(plugin, method)):
        fail(f"{method}() is not async: write it as `async def {method}`")


def check_secret_option(name: str, annotation: object) -> None:
    if annotation not in (SecretStr, SecretStr | None):
        fail(f"the option {name}: make it a SecretStr, so that it is never shown")


def check_from_command(names: Collection[str], options: type[BaseModel]) -> None:
    for name in sorted(names):
        if name not in options.model_fields:
            fail(f"from_command or choose_assets name {name!r}, which is none of the options")


def check_nothing_of_the_operator(names: Collection[str]) -> None:
    for name in sorted(names):
        if (SECRET_WORDS | ADDRESS_WORDS) & set(name.split("_")):
            fail(f"from_command names {name!r}: addresses and secrets are the operator's alone")


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


def secrets_of(options: object) -> Iterator[str]:
    """The value of every SecretStr in a model, at any depth."""
    if isinstance(options, SecretStr):
        yield options.get_secret_value()
    elif isinstance(options, BaseModel):
        for name in type(options).model_fields:
            yield from secrets_of(getattr(options, name))
    elif isinstance(options, dict):
        for value in cast("dict[object, object]", options).values():
            yield from secrets_of(value)
    elif isinstance(options, list | tuple | set | frozenset):
        for value in cast("Collection[object]", options):
            yield from secrets_of(value)


def texts_in(document: object) -> Iterator[str]:
    """Every text of a JSON document, keys too."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in cast("dict[object, object]", document).items():
            yield from texts_in(key)
            yield from texts_in(value)
    elif isinstance(document, list):
        for value in cast("list[object]", document):
            yield from texts_in(value)


def shows(secrets: Collection[str], document: object) -> bool:
    """Whether one of these secrets is in a JSON document."""
    return any(secret in text for text in texts_in(document) for secret in secrets if secret)


def fail(sentence: str) -> NoReturn:
    raise AssertionError(sentence)
