"""`/api/v1/openapi.json` for programs and `/api/v1/docs` for people: the contract.

The page is made of files of this package and of Swagger UI's, which another package carries.
Nothing is fetched from elsewhere: a server may have no internet.
"""

from functools import cache
from pathlib import Path
from typing import Final

import flask_swagger_ui
from flask import Blueprint, Response, send_from_directory
from pydantic_core import to_json

from rediver_agent.contract import routes
from rediver_agent.contract.openapi import openapi_document
from rediver_server.errors import not_found

_PAGE: Final = Path(__file__).parent / "docs_page"
_SWAGGER_UI: Final = Path(flask_swagger_ui.__file__).parent / "dist"
_FILES: Final = {
    **dict.fromkeys(("index.html", "start.js"), _PAGE),
    **dict.fromkeys(("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"), _SWAGGER_UI),
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

blueprint = Blueprint("docs", __name__)


@blueprint.get(routes.OPENAPI)
def openapi() -> Response:
    return Response(_document(), mimetype="application/json")


@blueprint.get(routes.DOCS)
@blueprint.get(routes.DOCS_FILE.replace("{file}", "<name>"))
def page(name: str = "index.html") -> Response:
    if name not in _FILES:
        raise not_found("page")
    response = send_from_directory(_FILES[name], name)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@cache
def _document() -> bytes:
    return to_json(openapi_document())
