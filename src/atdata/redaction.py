"""Secrets inside URLs: which URL carries one, and how a URL is shown without it.

Messages, logs and reprs show `redacted` URLs only; publishing asks `carries_secret`. What counts as a secret is the
table of query keys below; this module reads text and fetches nothing.

Sources of the keys: AWS Signature Version 4 query parameters, Google Cloud Storage signed URLs, Azure shared access
signatures, CloudFront signed URLs, RFC 6750 section 2.3.
"""

import re

SECRET_KEYS = frozenset({
    "access_key", "access_token", "accesskeyid", "api_key", "apikey", "auth", "authorization", "awsaccesskeyid",
    "client_secret", "code", "credential", "googleaccessid", "jwt", "key", "key-pair-id", "pass", "password", "passwd",
    "policy", "pwd", "secret", "session", "sessionid", "sig", "signature", "token", "x-amz-credential",
    "x-amz-security-token", "x-amz-signature", "x-goog-credential", "x-goog-signature",
})  # fmt: skip

_SHOWN = 200  # characters of a URL that a message repeats

_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)@")
_QUERY = re.compile(r"([?&;])([^=&;#]*)=([^&;#]*)")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def _is_secret_key(raw: str) -> bool:
    key = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), raw).lower()
    return key in SECRET_KEYS or key.endswith(("token", "secret", "signature", "password"))


def carries_secret(url: str) -> str | None:
    """Say which part of a URL is a secret: ``userinfo`` or the name of a query parameter; None where none is.

    Example:
        >>> carries_secret("https://example.com/a.tar?X-Amz-Signature=0f")
        'X-Amz-Signature'
    """
    if _USERINFO.match(url):
        return "userinfo"
    for match in _QUERY.finditer(url):
        if match[3] and _is_secret_key(match[2]):
            return match[2]
    return None


def redacted(url: str) -> str:
    """A URL as it may be shown: userinfo and the values of secret query parameters become ``***``.

    Example:
        >>> redacted("https://me:pw@example.com/a.tar?part=1&token=0f")
        'https://***@example.com/a.tar?part=1&token=***'
    """
    url = _USERINFO.sub(r"\1***@", url)
    return _QUERY.sub(lambda match: f"{match[1]}{match[2]}=***" if _is_secret_key(match[2]) else match[0], url)


def shown(url: str) -> str:
    """A URL as an error message quotes it: redacted, and cut where it is very long."""
    text = redacted(url)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
