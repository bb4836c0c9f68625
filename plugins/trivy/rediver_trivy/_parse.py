"""Reads trivy's JSON (schema 2, and the report on a Kubernetes cluster), one finding at a time.

A clean report has no `Results`; it is clean only if the rest is a report. Secrets, which trivy
masks by as many stars as they have characters, get the one mark that tells nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_pascal

from rediver_agent import (
    MASK,
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    ToolInfo,
    outline,
    severity_from_word,
    top_level,
)
from rediver_agent.contract import (
    Finding,
    FindingType,
    Location,
    Misconfiguration,
    Remediation,
    Secret,
    Severity,
    Suppression,
    Vulnerability,
)
