"""How a bucket is reached: where its service is, and with which credentials, as the owner of the machine configured.

``config.toml`` (`atdata.settings`) comes first; then, for buckets of one's own at AWS and Google, the variables and
files that their own tools use. Nothing here connects: where instance metadata is configured, obstore asks for it.
Nothing of it is ever pickled: another process reads the configuration again.

Sources: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Environment variables"; Google
Cloud, "How Application Default Credentials works"
"""

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path

from atdata.errors import AuthenticationError, NotFoundError
from atdata.settings import GsBucket, S3Bucket, Settings
from atdata.storage.object_url import GOOGLE, parse_endpoint

# Where in a profile credentials come from elsewhere: by a program, a web login, or another role.
_ELSEWHERE = ("credential_process", "sso_session", "sso_start_url", "role_arn", "web_identity_token_file")


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Credentials of AWS's kind. Only the id is shown."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("credentials are not pickled; another process reads its configuration again")


@dataclass(frozen=True, slots=True)
class S3Access:
    """How one bucket is reached.

    Attributes:
        endpoint: Base URL of the service; None for AWS.
        region: None where nobody said.
        keys: To sign with.
        instance_metadata: Credentials are the machine's, by its metadata address.
        path_style: The bucket stands in the path; None: as is usual.
        source: Where this comes from, for messages.
        explicit: It was configured for this bucket or endpoint, not found in the environment.
    """

    endpoint: str | None = None
    region: str | None = None
    keys: S3Keys | None = None
    instance_metadata: bool = False
    path_style: bool | None = None
    source: str = "no configuration"
    explicit: bool = False

    @property
    def is_signed(self) -> bool:
        """Whether requests are signed."""
        return self.keys is not None or self.instance_metadata


@dataclass(frozen=True, slots=True)
class GsAccess:
    """How one bucket of Google Cloud Storage is reached.

    Attributes:
        endpoint: Base URL of the service.
        credentials: File of a service account or of application default credentials.
        instance_metadata: Credentials are the machine's, by its metadata address.
        source: Where this comes from, for messages.
        explicit: It was configured for this bucket, not found in the environment.
    """

    endpoint: str = GOOGLE
    credentials: Path | None = None
    instance_metadata: bool = False
    source: str = "no configuration"
    explicit: bool = False

    @property
    def is_signed(self) -> bool:
        """Whether requests are signed."""
        return self.credentials is not None or self.instance_metadata


def s3_access(
    bucket: str, *, own: bool, settings: Settings, endpoint: str | None = None, region: str | None = None
) -> S3Access:
    """How an S3 bucket is reached.

    Args:
        own: The caller typed the URL, or the caller's own repository gave it. Else only what is configured as
            ``shared`` for exactly this bucket counts.
        settings: Of ``config.toml``.
        endpoint: That came with the URL; None: AWS, or what is configured.
        region: That came with the URL.

    Raises:
        NotFoundError: There is no profile of the name that is configured.
        AuthenticationError: The profile has credentials of a kind that is not read here.
    """
    endpoint = None if endpoint is None else parse_endpoint(endpoint)
    for number, entry in enumerate(settings.s3, 1):
        if _fits(entry, bucket, endpoint) and (own or entry.shared):
            return _configured_s3(entry, f"[[s3]] number {number} in config.toml", endpoint, region)
    return _ambient_s3(endpoint, region) if own else S3Access(endpoint, region)


def gs_access(bucket: str, *, own: bool, settings: Settings) -> GsAccess:
    """How a bucket of Google Cloud Storage is reached; as `s3_access`."""
    for number, entry in enumerate(settings.gs, 1):
        if (own or entry.shared) and entry.bucket in (None, bucket):
            return _configured_gs(entry, f"[[gs]] number {number} in config.toml")
    return _ambient_gs() if own else GsAccess()


def _fits(entry: S3Bucket, bucket: str, endpoint: str | None) -> bool:
    at = None if entry.endpoint is None else parse_endpoint(entry.endpoint)
    if entry.bucket is None:
        return at == endpoint
    # A bucket that is typed without an endpoint lies where it was configured.
    return entry.bucket == bucket and endpoint in (at, None)


def _configured_s3(entry: S3Bucket, source: str, endpoint: str | None, region: str | None) -> S3Access:
    keys = None
    profile: dict[str, str] = {}
    if entry.access_key_id and entry.secret_access_key:
        keys = S3Keys(entry.access_key_id, entry.secret_access_key, entry.session_token)
    elif entry.profile is not None:
        profile = _profile(entry.profile)
        keys = _profile_keys(profile, entry.profile)
    return S3Access(
        endpoint=endpoint or (parse_endpoint(entry.endpoint) if entry.endpoint else None),
        region=entry.region or region or profile.get("region"),
        keys=None if entry.anonymous else keys,
        instance_metadata=entry.instance_metadata and keys is None and not entry.anonymous,
        path_style=entry.path_style,
        source=source,
        explicit=True,
    )


def _ambient_s3(endpoint: str | None, region: str | None) -> S3Access:
    """What AWS's own tools would use, for AWS or the one endpoint that is set for them."""
    environment = os.environ.get
    name = environment("AWS_PROFILE") or environment("AWS_DEFAULT_PROFILE")
    profile = _profile(name) if name else _profiles().get("default", {})
    usual = environment("AWS_ENDPOINT_URL_S3") or environment("AWS_ENDPOINT_URL") or profile.get("endpoint_url")
    usual = parse_endpoint(usual) if usual else None
    if endpoint is not None and endpoint != usual:
        return S3Access(endpoint, region)  # these credentials are not for others to see requests signed by them
    usual_region = environment("AWS_REGION") or environment("AWS_DEFAULT_REGION") or profile.get("region")
    key, secret = environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY")
    if key and secret and not environment("AWS_PROFILE"):
        keys = S3Keys(key, secret, environment("AWS_SESSION_TOKEN") or None)
        return S3Access(usual, region or usual_region, keys, source="AWS_ACCESS_KEY_ID")
    if name or "aws_access_key_id" in profile:
        keys = _profile_keys(profile, name or "default")
        return S3Access(usual, region or usual_region, keys, source=f"profile {name or 'default'}")
    return S3Access(usual, region)


def _profile(name: str) -> dict[str, str]:
    profiles = _profiles()
    if name not in profiles:
        raise NotFoundError(f"there is no profile {name!r} in ~/.aws/credentials or ~/.aws/config")
    return profiles[name]


def _profiles() -> dict[str, dict[str, str]]:
    """The profiles of AWS's two files; what ``credentials`` says counts more than ``config``."""
    found: dict[str, dict[str, str]] = {}
    for variable, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        path = Path(os.environ.get(variable) or Path.home() / ".aws" / file).expanduser()
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            # The parser's message repeats the line, which may be a secret.
            raise AuthenticationError(f"{path} cannot be read ({type(error).__name__})") from None
        for section in parser.sections():
            found.setdefault(section.removeprefix("profile ").strip(), {}).update(parser[section])
    return found


def _profile_keys(profile: dict[str, str], name: str) -> S3Keys:
    key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if key and secret:
        return S3Keys(key, secret, profile.get("aws_session_token"))
    kind = next((kind for kind in _ELSEWHERE if kind in profile), None)
    raise AuthenticationError(
        f"the profile {name!r} has no access key of its own{f' but {kind}' if kind else ''}; unset AWS_PROFILE, "
        f"and put into the environment what this says: aws configure export-credentials --profile {name} --format env"
    )


def _configured_gs(entry: GsBucket, source: str) -> GsAccess:
    file = Path(entry.credentials).expanduser() if entry.credentials and not entry.anonymous else None
    if file is not None and not file.is_file():
        raise NotFoundError(f"{source}: there is no file {file}")
    return GsAccess(
        endpoint=parse_endpoint(entry.endpoint) if entry.endpoint else GOOGLE,
        credentials=file,
        instance_metadata=entry.instance_metadata and file is None and not entry.anonymous,
        source=source,
        explicit=True,
    )


def _ambient_gs() -> GsAccess:
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        if not Path(named).is_file():
            raise NotFoundError(f"GOOGLE_APPLICATION_CREDENTIALS names {named}, and there is no such file")
        return GsAccess(credentials=Path(named), source="GOOGLE_APPLICATION_CREDENTIALS")
    # Where ``gcloud auth application-default login`` puts its file.
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud").expanduser()
    usual = folder / "application_default_credentials.json"
    return GsAccess(credentials=usual, source=str(usual)) if usual.is_file() else GsAccess()
