"""What the errors of S3 and Google Cloud Storage mean for who reads a dataset."""

import re
from urllib.parse import urlsplit

from atdata.errors import AtdataError, AuthenticationError, NotFoundError
from atdata.net import Response
from atdata.redaction import redacted

HOW_TO_CONFIGURE = (
    "credentials for its bucket go into config.toml in the folder of settings (docs/places.md); how to get them, the "
    "publisher says under 'access', which atdata info shows"
)

_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


def explain_answer(path: str, response: Response) -> AtdataError | None:
    """The error that an answer is to a read without credentials; None for what is no matter of S3.

    Args:
        path: The ``s3://`` or ``gs://`` URL.
    """
    match = _CODE.search(response.body)
    code = match[1].decode() if match else ""
    label = redacted(path)
    if response.status in (404, 410):
        what = "there is no such bucket" if code == "NoSuchBucket" else "there is no such object"
        return NotFoundError(f"{label}: {what} ({response.status}{f' {code}' if code else ''})")
    is_r2 = (urlsplit(response.url).hostname or "").endswith(".r2.cloudflarestorage.com")
    if response.status in (401, 403) or (is_r2 and response.status == 400):
        hint = f"{response.status}{f' {code}' if code else ''}"
        if is_r2:
            why = "Cloudflare R2 gives nothing without credentials at its S3 endpoint; public buckets have https URLs"
        else:
            why = "the object is not public, or not there"
        return AuthenticationError(f"{label}: {why} ({hint}). If the dataset is private: {HOW_TO_CONFIGURE}")
    return None
