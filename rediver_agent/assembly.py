"""The executor with a handler for everything that needs no running agent.

For the agent itself, and for the commands that do one thing and end.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rediver_agent.configuration import Configuration
from rediver_agent.enrichment import enrichment_of
from rediver_agent.executor import Executor, Handler
from rediver_agent.handlers.cancel import CancelHandler
from rediver_agent.handlers.collect import CollectHandler
from rediver_agent.handlers.plugin_command import PluginCommandHandler
from rediver_agent.handlers.scan import ScanHandler
from rediver_agent.policy import Policy
from rediver_agent.registry import Registry
from rediver_agent.spool import Spool


def utc_now() -> datetime:
    """The clock that is handed to everything that needs one."""
    return datetime.now(UTC)


def build_executor(
    configuration: Configuration,
    registry: Registry,
    spool: Spool,
    *,
    now: Callable[[], datetime] = utc_now,
    clock_skew: Callable[[], timedelta] = timedelta,
    ci_environment: Mapping[str, str] | None = None,
) -> Executor:
    """The one consumer, with a handler for everything that needs no running agent.

    Raises `ConfigurationError` where an enricher that is listed cannot be used.
    """
    settings = configuration.settings
    policy = Policy(settings.security.allowed_command_types, settings.allowed_roots())
    enrichment = enrichment_of(settings, registry)
    handlers: dict[str, Handler] = {
        "scan": ScanHandler(
            registry,
            configuration,
            policy,
            spool,
            now,
            enrichment,
            ci_environment=ci_environment or {},
        ),
        "collect": CollectHandler(registry, configuration, spool, now, enrichment),
    }
    for command_type, plugin in registry.handlers.items():
        handlers[command_type] = PluginCommandHandler(plugin, configuration, policy, spool)
    executor = Executor(
        handlers,
        policy=policy,
        spool=spool,
        max_concurrent=settings.agent.max_concurrent,
        now=now,
        clock_skew=clock_skew,
    )
    executor.kept_for_server = int(settings.agent.enable_command_polling)
    executor.add_handler("cancel", CancelHandler(executor.cancel))
    return executor
