"""`/api/v1/enrollment-tokens` and `/api/v1/enroll`: agents that make themselves a source."""

from datetime import timedelta

from flask import Blueprint, Response
from sqlalchemy import select, update

from rediver_agent import contract
from rediver_agent.contract import routes
from rediver_agent.contract.queries import PageQuery
from rediver_server import sources
from rediver_server.auth import ENROLLS, caller, is_live, new_secret, requires, wrong_key
from rediver_server.db import Transaction, database
from rediver_server.errors import not_found
from rediver_server.http_json import no_content, read_body, read_query, reply, rule
from rediver_server.idempotency import Made, creating
from rediver_server.models import EnrollmentToken, Role, new_id
from rediver_server.pages import page

blueprint = Blueprint("enrollment", __name__)


@blueprint.post(rule(routes.ENROLLMENT_TOKENS))
@requires(Role.ADMIN)
def create_token() -> Response:
    wanted = read_body(contract.EnrollmentTokenCreate)

    def create(tx: Transaction) -> Made:
        row = EnrollmentToken(id=new_id("enr"), tenant_id=caller().tenant_id, created_at=tx.now)
        row.expires_at = tx.now + timedelta(seconds=wanted.ttl_seconds)
        row.max_uses = wanted.max_uses
        token, row.token_prefix, row.sha256 = new_secret(ENROLLS)
        tx.add(row)
        shown = {"id": row.id, "token": token}
        shown |= {"expires_at": row.expires_at, "max_uses": row.max_uses}
        return Made(shown, routes.ENROLLMENT_TOKEN.format(id=row.id), secret=True)

    return creating(create)


@blueprint.get(rule(routes.ENROLLMENT_TOKENS))
@requires(Role.VIEWER)
def list_tokens() -> Response:
    query, tokens = read_query(PageQuery), EnrollmentToken
    mine = select(tokens).where(tokens.tenant_id == caller().tenant_id, tokens.revoked_at.is_(None))
    with database().read() as tx:
        rows, cursor = page(tx, mine, tokens.created_at, tokens.id, query)
    shown = [contract.EnrollmentToken.model_validate(row, from_attributes=True) for row in rows]
    return reply(contract.EnrollmentTokenList(enrollment_tokens=shown, next_cursor=cursor))


@blueprint.delete(rule(routes.ENROLLMENT_TOKEN))
@requires(Role.ADMIN)
def delete_token(item: str) -> Response:
    """It enrolls nobody any more; whom it has enrolled stays."""
    tokens = EnrollmentToken
    mine = (tokens.id == item, tokens.tenant_id == caller().tenant_id, tokens.revoked_at.is_(None))
    with database().write() as tx:
        ended = update(tokens).where(*mine).values(revoked_at=tx.now).returning(tokens.id)
        if tx.scalar(ended) is None:
            raise not_found("enrollment token")
    return no_content()


@blueprint.post(rule(routes.ENROLL))
@requires(Role.ENROLLMENT)
def enroll() -> Response:
    wanted = read_body(contract.Enroll)
    known = contract.dump(wanted)
    source = contract.SourceCreate(name=known.pop("name"), type="agent", metadata=known)

    def create(tx: Transaction) -> Made:
        token = tx.get_one(EnrollmentToken, caller().key_id, with_for_update=True)
        if not is_live(token, tx.now):  # since it was read
            raise wrong_key()
        token.uses += 1
        made = sources.create(tx, token.tenant_id, source)
        return Made(made, routes.SOURCE.format(id=made["id"]), secret=True)

    return creating(create)
