"""How the processes of a run know the hub that the run has started with a certificate of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def trusting(certificate: str) -> ssl.SSLContext | None:
    """Return what trusts a hub that shows the certificate in this file, whatever name it is reached by: inside a run that is
    an address, which certificates seldom name. `None` for no file: then whom the system trusts is trusted.

    Raises `OSError` for a file that cannot be read.
    """
    if not certificate:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself will do, whoever has signed it
    context.load_verify_locations(certificate)
    return context
