"""From projects and their findings, as Dependency-Track has them, to events for the agent.

A project that may not be read is an asset with an error, so that nothing of it counts as mended;
one finding that makes no sense is a warning, and the others are kept.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rediver_agent import (
    Asset,
    CollectContext,
    CollectEvent,
    Notice,
    ToolInfo,
    severity_from_word,
)
from rediver_agent.contract import (
    Finding,
    FindingType,
    Remediation,
    Severity,
    Suppression,
    Vulnerability,
)
from rediver_dependency_track import Options
from rediver_dependency_track._api import Api, Refused

SECONDS = 30.0  # for one answer


class Project(BaseModel):
    uuid: str
    name: str
    version: str | None = None


class Component(BaseModel):
    name: str
    group: str | None = None
    version: str | None = None
    purl: str | None = None


class Weakness(BaseModel):
    cweId: int  # noqa: N815 - the API's word, as those below


class Known(BaseModel):
    vulnId: str = Field(max_length=1000)  # noqa: N815
    source: str | None = None
    title: str | None = None
    description: str | None = None
    recommendation: str | None = None
    severity: str = "UNASSIGNED"
    cwes: list[Weakness] | None = None


class Analysis(BaseModel):
    state: str | None = None
    isSuppressed: bool = False  # noqa: N815


class Said(BaseModel):
    """A finding of the API: what is not used here is not looked at."""

    component: Component
    vulnerability: Known
    analysis: Analysis = Analysis()


async def collected(ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
    """Everything that there is now, project by project."""
    async with httpx.AsyncClient(
        base_url=str(options.url),
        headers={"X-Api-Key": options.token.get_secret_value()},
        timeout=SECONDS,
    ) as client:
        api = Api(client)
        projects = await _projects(api, options.projects)
        for number, project in enumerate(projects):
            ctx.progress(100 * number / len(projects), f"reading {project.name}")
            yield _asset(project, options)
            yield ToolInfo("dependency-track")
            try:
                async for page in api.pages(
                    f"api/v1/finding/project/{project.uuid}", suppressed="true"
                ):
                    for raw in page:
                        yield _event(raw)
            except Refused as fault:  # of this project; where nobody answers, the next is no better
                yield Notice("error", str(fault), project.name)


async def _projects(api: Api, names: list[str]) -> list[Project]:
    """Each once, all of them before the first is read: they may change meanwhile."""
    found: dict[str, Project] = {}
    told = 0
    async for page in api.pages("api/v1/project", excludeInactive="true"):
        try:
            some = TypeAdapter(list[Project]).validate_python(page)
        except ValidationError as fault:
            raise Refused(
                f"the list of projects makes no sense: {fault.errors()[0]['msg']}"
            ) from fault
        found |= {project.uuid: project for project in some}
        told += len(some)
    if len(found) < told:  # one has moved to the next page, so that another may have been passed
        raise Refused("the list of projects has changed while it was read: collect again")
    if missing := sorted(set(names) - {project.name for project in found.values()}):
        raise Refused(f"there is no active project {', '.join(missing)} that the token may see")
    return [project for project in found.values() if not names or project.name in names]


def _asset(project: Project, options: Options) -> Asset:
    title = " ".join(filter(None, (project.name, project.version)))
    address = f"{str(options.url).rstrip('/')}/projects/{project.uuid}"
    return Asset(id="target", type="project", value=address, name=title)


def _event(raw: dict[str, Any]) -> Finding | Notice:
    try:
        return _finding(Said.model_validate(raw))
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return Notice("warning", f"a finding makes no sense: {place}: {first['msg']}")


def _finding(said: Said) -> Finding:
    part, known = said.component, said.vulnerability
    package = "/".join(filter(None, (part.group, part.name)))
    state = said.analysis.state
    accepted = Suppression(kind="external", justification=state)
    return Finding(
        type=FindingType.VULNERABILITY,
        title=(known.title or f"{known.vulnId} in {package}")[:1000],
        severity=severity_from_word(known.severity) or Severity.INFO,
        description=known.description,
        rule_id=known.vulnId,
        vulnerability=Vulnerability(
            cve_id=known.vulnId if known.vulnId.startswith("CVE-") else None,
            cwe_ids=[f"CWE-{weakness.cweId}" for weakness in known.cwes or ()],
            package=package,
            purl=part.purl,
            affected_version=part.version,
        ),
        remediation=Remediation(recommendation=known.recommendation),
        suppression=accepted if said.analysis.isSuppressed else None,
        properties={"source": known.source, "severity_source": known.severity, "state": state},
    )
