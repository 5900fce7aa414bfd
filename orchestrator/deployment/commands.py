"""The commands that workloads run: those of `orchestrator`, word by word, with no shell between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Deployment, Workload

AGENT_GRACE: Final = 30
"""Seconds that agents have to end what they do."""
TRUST: Final = "/etc/orchestrator/trust"
"""Where agents in containers find the hubs' certificate, under the name that OpenSSL gives it."""
TRUSTED: Final = f"/etc/ssl/certs:{TRUST}"
"""What `SSL_CERT_DIR` is for them: the authorities of the image, and the hubs' certificate."""
HUB_DRAIN: Final = 15
"""Seconds that a hub takes to end at most: the window of its drain, and the grace after it."""


class Places(NamedTuple):
    """Where a workload finds its files."""

    program: str
    """`orchestrator`, or the path of it."""
    keys: str
    """The hub's key file."""
    certificate: str
    """The hub's certificate; its key lies beside it as ``tls.key``."""
    backplane: str
    """The address of the engine between the hubs, in a file."""
    overlay: str
    variables: str
    """The values of the topology's variables, keys among them."""


def hub_command(deployment: Deployment, places: Places, listen: str, *, tls: bool) -> list[str]:
    """Return how a hub is started. `tls`: it is reached from elsewhere, which agents do with TLS alone."""
    hub = deployment.hub
    assert hub is not None, "a hub that runs already has no command"
    words = [places.program, "hub", "serve", "--listen", f"{listen}:{hub.port}", "--keys", places.keys]
    if tls:
        words += ["--tls-cert", places.certificate, "--tls-key", places.certificate.replace("tls.crt", "tls.key")]
    if deployment.backplane is not None:
        words += ["--backplane-file", places.backplane]
    if tls:
        words += ["--connects-per-minute", str(hub.connects_per_minute)]
    return words


def run_command(
    deployment: Deployment, places: Places, workload: Workload, hub: str | None, number: str = ""
) -> list[str]:
    """Return how agents are started. `hub`: where their hub is; `None` = the topology says. `number`: which replica alone."""
    first, *more = deployment.sources.topology
    words = [places.program, "run", first]
    for file in (*more, places.overlay):
        words += ["-f", file]
    for profile in deployment.sources.profiles:
        words += ["--profile", profile]
    words += ["--env-file", places.variables]
    if deployment.sources.app_dir is not None:
        words += ["--app-dir", deployment.sources.app_dir]
    if workload.agent is not None:
        words += ["--only", f"{workload.agent}.{number}" if number else workload.agent, "--abort-on-failure"]
    if hub is not None:
        words += ["--hub", hub]
    return [*words, "--grace", str(AGENT_GRACE)]


def probe_command(deployment: Deployment, places: Places) -> list[str]:
    """Return what tells whether a run answers: it ends with 0 if it does."""
    return [places.program, "ps", deployment.sources.topology[0]]


def ready_command(deployment: Deployment) -> list[str]:
    """Return what tells, in a container without curl, whether its hub takes connections."""
    hub = deployment.hub
    assert hub is not None, "a hub that runs already is not looked after here"
    # The certificate names the service and not 127.0.0.1; nobody but the hub answers there.
    code = (
        "import ssl, urllib.request as r; c = ssl.create_default_context(); c.check_hostname = False; "
        f"c.verify_mode = ssl.CERT_NONE; r.urlopen('https://127.0.0.1:{hub.port}/readyz', timeout=3, context=c)"
    )
    return ["python", "-c", code]
