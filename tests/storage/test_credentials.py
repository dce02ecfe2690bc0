"""Which credentials go with which bucket; and which never do."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from atdata.errors import AuthenticationError, NotFoundError
from atdata.settings import GsBucket, S3Bucket, Settings
from atdata.storage.credentials import GsAccess, S3Access, S3Keys, gs_access, s3_access

MINIO = "https://minio.example.com:9000"
Configure = Callable[[str], Path]


@pytest.fixture(autouse=True)
def home(configured: Configure) -> None:
    """A home without any configuration, and no variables."""


def keys_of(access: S3Access) -> str | None:
    return access.keys.access_key_id if access.keys else None


def test_nothing_configured_means_nothing_signed() -> None:
    """And no question to the metadata of a machine."""
    access, google = (
        s3_access("bucket", own=True, settings=Settings()),
        gs_access("bucket", own=True, settings=Settings()),
    )

    assert (access.is_signed, access.instance_metadata, access.endpoint) == (False, False, None)
    assert (google.is_signed, google.instance_metadata) == (False, False)


def test_tables_fit_by_bucket_and_endpoint() -> None:
    """The first that fits counts; a bucket that is typed without an endpoint lies where it was configured."""
    settings = Settings(
        s3=(
            S3Bucket(bucket="one", endpoint=MINIO, access_key_id="ONE", secret_access_key="s"),
            S3Bucket(endpoint=MINIO, access_key_id="ALL", secret_access_key="s"),
            S3Bucket(bucket="mine", region="eu-west-1", access_key_id="AWS", secret_access_key="s"),
        )
    )

    def found(bucket: str, endpoint: str | None = None) -> tuple[str | None, str | None]:
        access = s3_access(bucket, own=True, settings=settings, endpoint=endpoint)
        return keys_of(access), access.endpoint

    assert found("one") == ("ONE", MINIO)
    assert found("one", MINIO + "/") == ("ONE", MINIO)
    assert found("one", "https://other.example.com") == (None, "https://other.example.com")
    assert found("two", MINIO) == ("ALL", MINIO)
    assert found("two") == (None, None)
    assert found("mine") == ("AWS", None)
    assert found("mine", MINIO) == ("ALL", MINIO)


def test_other_peoples_records_need_a_shared_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is configured for oneself nor what is in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://intranet.example.com")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", __file__)
    mine = S3Bucket(bucket="mine", access_key_id="MINE", secret_access_key="s")
    ours = S3Bucket(bucket="ours", access_key_id="OURS", secret_access_key="s", shared=True)
    settings = Settings(s3=(mine, ours), gs=(GsBucket(bucket="mine", credentials=__file__),))

    assert [keys_of(s3_access(name, own=False, settings=settings)) for name in ("mine", "ours", "any")] == [
        None, "OURS", None,
    ]  # fmt: skip
    assert s3_access("any", own=False, settings=settings).endpoint is None
    assert not gs_access("mine", own=False, settings=settings).is_signed


def test_variables_are_for_aws_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that a record names gets no request signed with AWS's credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    aws = s3_access("bucket", own=True, settings=Settings())
    assert (keys_of(aws), aws.region) == ("AMBIENT", "eu-west-1")
    assert keys_of(s3_access("bucket", own=True, settings=Settings(), endpoint=MINIO)) is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", MINIO + "/")
    assert keys_of(s3_access("bucket", own=True, settings=Settings(), endpoint=MINIO)) == "AMBIENT"
    anonymous = Settings(s3=(S3Bucket(bucket="bucket", anonymous=True),))
    assert not s3_access("bucket", own=True, settings=anonymous).is_signed


def test_profiles_are_read_as_by_awss_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys from ``credentials``, region and endpoint from ``config``; what is not there is named."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id=W\naws_secret_access_key=s%(x\n")
    (tmp_path / "config").write_text(
        f"[profile work]\nregion=eu-west-2\nendpoint_url={MINIO}\n[profile sso]\nsso_session=x\n"
    )
    entry = Settings(s3=(S3Bucket(bucket="bucket", profile="work"),))
    access = s3_access("bucket", own=True, settings=entry)
    assert (keys_of(access), access.region, access.endpoint) == ("W", "eu-west-2", None)

    monkeypatch.setenv("AWS_PROFILE", "work")
    access = s3_access("bucket", own=True, settings=Settings())
    assert (keys_of(access), access.endpoint) == ("W", MINIO)
    monkeypatch.setenv("AWS_PROFILE", "sso")
    with pytest.raises(AuthenticationError, match=r"sso_session.*export-credentials"):
        s3_access("bucket", own=True, settings=Settings())
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(NotFoundError, match="typo"):
        s3_access("bucket", own=True, settings=Settings())
    (tmp_path / "credentials").write_text("planted-secret without a section\n")
    with pytest.raises(AuthenticationError) as caught:
        s3_access("bucket", own=True, settings=Settings())
    assert "planted" not in str(caught.value) + repr(caught.value.__cause__)


def test_google_credentials_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The table, the variable, the file of gcloud."""
    account, variable = tmp_path / "account.json", tmp_path / "variable.json"
    usual = tmp_path / "gcloud" / "application_default_credentials.json"
    usual.parent.mkdir()
    for file in (account, variable, usual):
        file.write_text("{}")
    settings = Settings(gs=(GsBucket(bucket="mine", credentials=str(account)), GsBucket(bucket="open", anonymous=True)))

    monkeypatch.setenv("CLOUDSDK_CONFIG", str(usual.parent))
    assert gs_access("any", own=True, settings=settings).credentials == usual
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(variable))
    assert gs_access("any", own=True, settings=settings).credentials == variable
    assert gs_access("mine", own=True, settings=settings).credentials == account
    assert gs_access("open", own=True, settings=settings) == GsAccess(
        source="[[gs]] number 2 in config.toml", explicit=True
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone"))
    with pytest.raises(NotFoundError, match="gone"):
        gs_access("any", own=True, settings=settings)


def test_metadata_only_where_it_is_configured() -> None:
    """The word of the owner of the machine, for each bucket."""
    settings = Settings(s3=(S3Bucket(bucket="cloud", instance_metadata=True),), gs=(GsBucket(instance_metadata=True),))

    assert s3_access("cloud", own=True, settings=settings).instance_metadata
    assert not s3_access("other", own=True, settings=settings).instance_metadata
    assert gs_access("any", own=True, settings=settings).instance_metadata
    assert not gs_access("any", own=False, settings=settings).instance_metadata


def test_keys_are_never_shown_nor_pickled() -> None:
    """Whatever holds them."""
    keys = S3Keys("planted-id", "planted-secret", "planted-token")

    assert "planted" not in repr(keys) + repr(S3Access(keys=keys))
    with pytest.raises(TypeError):
        pickle.dumps(S3Access(keys=keys))
