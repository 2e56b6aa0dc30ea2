"""From what a call carries to an `Identity`: an API key first, else a certificate, else nobody's name."""

from outcrop.errors import Unauthenticated
from outcrop.server.identity import ANONYMOUS, Identity
from outcrop.server.keys import KeyRing
from outcrop.server.settings import ServerSettings

_SCHEME = "bearer "


class Authenticator:
    """Who calls? For any number of threads."""

    def __init__(self, settings: ServerSettings) -> None:
        """Read the keys. Raises CorruptFile, UnsupportedFormat, StorageFailure."""
        self._ring = KeyRing(settings.keys_path)
        self._certificates_needed = settings.tls.client_ca is not None
        self._certificate_role = settings.tls.client_role
        self._closed = not (settings.listen.is_loopback or settings.insecure)

    def identify(self, authorization: str | None, common_name: str | None = None) -> Identity:
        """Return who calls.

        authorization: the call's metadata of that name, `Bearer oc_<id>_<secret>`. common_name: of the certificate that
        TLS has checked. A key that is given must be good, even where none is needed.
        Raises Unauthenticated, Unavailable when the keys cannot be read.
        """
        if authorization is not None:
            if not authorization.lower().startswith(_SCHEME):
                raise Unauthenticated("authorization: expected `Bearer` and an API key")
            return self._ring.identify(authorization[len(_SCHEME) :].strip())
        if common_name is not None and self._certificates_needed:
            return Identity(common_name, self._certificate_role)
        if self._ring.required or self._certificates_needed or self._closed:
            raise Unauthenticated("no API key: pass api_key=, or send the metadata `authorization: Bearer <key>`")
        return ANONYMOUS
