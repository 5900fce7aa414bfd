"""How the files that hold secrets are made: commands for a shell, which the exported files never hold the results of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.deployment.brokers import SERVED, account_lines, backplane_address, store_address
from orchestrator.deployment.shape import HUB_KEY
from orchestrator.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.deployment.shape import Broker, Deployment, Engine

_PASSWORD: Final = '"$password"'


def commands(deployment: Deployment, folder: str, hosts: Mapping[Engine, str]) -> list[str]:
    """Return the commands that write all secrets into `folder`, for their owner alone. `hosts`: where each broker is found."""
    variables = f"{folder}/topology.env"
    lines = ["umask 077", f"mkdir -p {folder}/hub"]
    if deployment.hub is not None:
        made = f"$(orchestrator keys new --keys {folder}/hub/keys.yaml)"
        lines.append(f"""printf "{HUB_KEY}='%s'\\n" "{made}" > {variables}""")
    else:
        lines.append(
            f"""printf "{HUB_KEY}='%s'\\n" "${{{HUB_KEY}:?}}" > {variables}  # the key of the hub that runs already"""
        )
    for broker in deployment.brokers:
        lines += _made(broker, folder, hosts[broker.engine]) if broker.written else _given(broker, folder)
    for variable in deployment.variables:
        if variable.required:
            lines.append(f"""printf "{variable.name}='%s'\\n" "${{{variable.name}:?}}" >> {variables}""")
    return lines


def certificate_commands(folder: str, host: str) -> list[str]:
    """Return the commands that make the hubs' certificate, and have agents trust it; `host`: what they call the hubs."""
    cert, key = f"{folder}/hub/tls.crt", f"{folder}/hub/tls.key"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj /CN=hub"
    return [
        f"{made} -addext subjectAltName=DNS:{host},DNS:localhost -keyout {key} -out {cert}",
        f'mkdir -p trust && cp {cert} "trust/$(openssl x509 -hash -noout -in {cert}).0"',
    ]


def _made(broker: Broker, folder: str, host: str) -> Iterator[str]:
    """Yield what makes a password, and writes it down for the broker and for its clients."""
    yield "password=$(python3 -c 'import secrets; print(secrets.token_hex(24))')"
    accounts = f"{folder}/{SERVED[broker.engine].accounts}"
    for number, line in enumerate(account_lines(broker, "%s")):
        given = f" {_PASSWORD}" if "%s" in line else ""
        yield f"""printf '{line}\\n'{given} {">>" if number else ">"} {accounts}"""
    if broker.keeps_tasks:
        url = store_address(broker, host, "%s")
        yield f"""printf "{broker.variable}='{url}'\\n" {_PASSWORD} >> {folder}/topology.env"""
    if broker.joins_hubs:
        yield f"""printf '{backplane_address(broker, host, "%s")}\\n' {_PASSWORD} > {folder}/backplane"""


def _given(broker: Broker, folder: str) -> Iterator[str]:
    """Yield what writes down the addresses of a broker that runs already, from two variables of the shell."""
    if broker.keeps_tasks:
        yield f"""printf "{broker.variable}='%s'\\n" "${{{broker.variable}:?}}" >> {folder}/topology.env"""
    if broker.joins_hubs:
        yield f"""printf '%s\\n' "${{BACKPLANE_URL:?}}" > {folder}/backplane"""


def optional(deployment: Deployment) -> str:
    """Return what else the file of variables may hold."""
    names = [variable.name for variable in deployment.variables if not variable.required]
    more = f"{listed(names)}, where the topology's own default is not meant, and " if names else ""
    return (
        f"The file topology.env may also hold {more}what your handlers read from their environment, such as keys of "
        "services: agents inherit all of it but the hub's key and the brokers' addresses."
    )
