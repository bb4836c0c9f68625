"""How a server is reached over TLS, and why it was not: what is trusted, and what to mend.

What a connection may fail by is `FAULTS`; `unreachable` says each in a sentence with a next step.
Only this and `client` import httpx.
"""

import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from rediver_agent.errors import ConfigurationError, ServerUnavailable
from rediver_agent.settings import ServerSection

# TLS that breaks after the handshake (a corrupted record, a client certificate that is missed)
# comes through httpx as it is.
FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError)
PROXY_WANTS_A_KEY: Final = 407


def trusted(server: ServerSection) -> ssl.SSLContext | bool:
    """What to trust. Plain http needs none, and loading it costs an idle agent memory."""
    if urlsplit(server.base_url or "").scheme != "https":
        return False
    try:
        if server.ca_file:
            context = ssl.create_default_context(cafile=server.ca_file)
        else:
            context = httpx.create_ssl_context()  # the public authorities, or SSL_CERT_FILE
        if server.client_cert:
            context.load_cert_chain(server.client_cert, server.client_key, _no_password)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationError(
            "server.ca_file, client_cert or client_key, or SSL_CERT_FILE of the environment, "
            f"cannot be used: {fault}"
        ) from fault
    return context


@contextmanager
def usable_addresses(base_url: str) -> Generator[None]:
    """Where a client is made: an address that it cannot use is a `ConfigurationError`.

    Its own error would show the address of a proxy, and of a password what looks like a port.
    """
    try:
        httpx.URL(base_url)
    except httpx.InvalidURL as fault:
        raise ConfigurationError(f"server.base_url {base_url} is no address: {fault}") from fault
    try:
        yield
    except (httpx.InvalidURL, ValueError, ImportError):  # the last one: a SOCKS proxy
        raise ConfigurationError(
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY of the environment cannot be used; "
            "write a proxy like http://proxy.example.com:3128, and what is special in a user or "
            "password as %40 and the like"
        ) from None


def unreachable(url: httpx.URL, fault: Exception) -> ServerUnavailable:
    """Why there was no answer, and what to do where that is known."""
    causes = list(_causes(fault))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message.rstrip(".")
            return ServerUnavailable(
                f"{url} cannot be trusted: {why}; name the authority's certificate in "
                "server.ca_file, or the host as its certificate does in server.base_url"
            )
    if isinstance(fault, httpx.ProxyError):
        return proxy_refused(url, str(fault))
    if isinstance(fault, httpx.ReadTimeout | httpx.WriteTimeout):
        return ServerUnavailable(f"{url} did not answer in time; server.timeout is how long it has")
    if isinstance(fault, httpx.TimeoutException):
        why = "no connection in time"
    else:
        why = next((text for cause in causes if (text := str(cause))), type(fault).__name__)
    return ServerUnavailable(f"{url} cannot be reached: {why}{_step(url, fault)}")


def proxy_refused(url: httpx.URL, answer: str) -> ServerUnavailable:
    """A proxy was reached and the server was not."""
    variable = f"{url.scheme.upper()}_PROXY"
    step = f"see {variable} and NO_PROXY"
    if answer.startswith(str(PROXY_WANTS_A_KEY)):
        step = f"write its user and password into {variable}: http://user:password@proxy:3128"
    return ServerUnavailable(f"the proxy does not connect to {url}: {answer}; {step}")


def _step(url: httpx.URL, fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (fault.reason or ""):
        return "; set server.client_cert, without which this server says nothing"
    proxies = getproxies()
    by_proxy = (proxies.get(url.scheme) or proxies.get("all")) and not proxy_bypass(url.host)
    if by_proxy and isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout):
        return f"; {url.scheme.upper()}_PROXY is set: is that proxy there?"
    return ""


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


def _no_password() -> str:
    """Instead of OpenSSL's own question on the terminal, which would hold an agent for ever."""
    raise ConfigurationError(
        "the key of server.client_cert is encrypted; write it without a password into a file that "
        "only the agent can read, and name that in server.client_key"
    )
