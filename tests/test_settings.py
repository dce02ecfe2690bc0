"""The settings of the owner: ``config.toml``."""

from pathlib import Path

import pytest

from atdata.errors import AuthenticationError, InvalidSyntaxError
from atdata.settings import S3Bucket, Settings, read_settings


def written(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    file = folder / "config.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_no_file_means_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))

    assert read_settings() == Settings()


def test_tables_become_buckets(tmp_path: Path) -> None:
    """In their order; tables of others are left alone."""
    text = '[[s3]]\nbucket = "a"\nanonymous = true\n[[s3]]\nendpoint = "https://x.example.com"\n[other]\nx = 1\n'

    assert read_settings(written(tmp_path, text)).s3 == (
        S3Bucket(bucket="a", anonymous=True),
        S3Bucket(endpoint="https://x.example.com"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[s3]]\nbuket = "a"', r"number 1: there is no key 'buket'; there are bucket,"),
        ("[[s3]]\nanonymous = 1", "anonymous must be true or false"),
        ("[[gs]]\nbucket = 1", "bucket must be a text"),
        ('[s3]\nbucket = "a"', r"\[\[s3\]\]"),
        ('[[s3]]\naccess_key_id = "a"', "belong together"),
        ("[[gs]]\nshared = true", "shared needs"),
        ("[[s3", "not TOML"),
        ('secret_access_key = "planted', "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    """Where and what; never with what stands in the file."""
    with pytest.raises(InvalidSyntaxError, match=words) as caught:
        read_settings(written(tmp_path, text))

    assert "planted" not in str(caught.value) + repr(caught.value.__context__)


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    """As ssh does it; without a secret the file may be open."""
    text = '[[s3]]\naccess_key_id = "a"\nsecret_access_key = "planted"\n'
    with pytest.raises(AuthenticationError, match="chmod 600") as caught:
        read_settings(written(tmp_path, text, mode=0o644))
    assert "planted" not in str(caught.value)

    assert "planted" not in repr(read_settings(written(tmp_path, text)))
    assert read_settings(written(tmp_path, '[[gs]]\nbucket = "a"\n', mode=0o644)).gs
