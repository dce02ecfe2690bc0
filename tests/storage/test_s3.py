"""Public S3: regions that AWS names, answers that are explained. The transport's answers are written here."""

from dataclasses import dataclass, field

import pytest
from tests.storage.faults import Answer, serving

from atdata.errors import AuthenticationError, NotFoundError, UnavailableError
from atdata.net import Policy, Response, Transport
from atdata.net.response import Explain
from atdata.storage.base import read_all
from atdata.storage.s3 import S3Store, bucket_region


@dataclass
class Aws:
    """AWS as far as regions go: a bucket lies in one region, the others say which. In the place of a `Transport`."""

    region: str
    told: str | None = None
    asked: list[str] = field(default_factory=list)

    def head_size(self, url: str, *, explain: Explain) -> int:
        self.asked.append(url)
        if f".s3.{self.region}.amazonaws.com/" in url or f"//s3.{self.region}.amazonaws.com/" in url:
            return 5
        headers = {"x-amz-bucket-region": self.region if self.told is None else self.told}
        explain(Response(301, headers, b"<Code>PermanentRedirect</Code>", url))
        raise UnavailableError(f"{url}: the server answered 301")

    def request(self, method: str, url: str, *, redirect: bool) -> Response:
        self.asked.append(url)
        return Response(403, {"x-amz-bucket-region": self.region}, b"", url)


def store(aws: Aws, *, region: str | None = None) -> S3Store:
    return S3Store(aws, region=region)  # type: ignore[arg-type]  # stands in for what speaks to Amazon


@pytest.mark.parametrize("region", [None, "us-east-1"])
def test_the_region_that_aws_names_is_taken_and_kept(region: str | None) -> None:
    """Asked once; from then on every object of the bucket is asked for at the right place."""
    aws = Aws("eu-central-1")
    reader = store(aws, region=region)

    assert reader.size("s3://my.bucket/a.tar") == reader.size("s3://my.bucket/b.tar") == 5
    assert aws.asked[1:] == [f"https://s3.eu-central-1.amazonaws.com/my.bucket/{name}.tar" for name in "ab"]


@pytest.mark.parametrize("told", ["evil.com/", "eu-central-1.evil.com", "eu-central-1@evil.com", "", "a b", "x"])
def test_a_region_that_is_none_is_not_followed(told: str) -> None:
    """It would name the host of the next request."""
    aws = Aws("eu-central-1", told=told)
    with pytest.raises(UnavailableError):
        store(aws).size("s3://bucket/a.tar")

    assert len(aws.asked) == 1


def test_two_regions_that_name_each_other_end() -> None:
    """One change of region, not one after another."""
    aws = Aws("nowhere", told="eu-west-1")
    with pytest.raises(UnavailableError):
        store(aws).size("s3://bucket/a.tar")

    assert len(aws.asked) == 2


def test_aws_tells_the_region_of_a_bucket() -> None:
    """Also of a private one."""
    aws = Aws("eu-west-3")

    assert bucket_region(aws, "my-bucket") == "eu-west-3"  # type: ignore[arg-type]  # as above
    assert aws.asked == ["https://my-bucket.s3.amazonaws.com/"]


def test_services_name_no_region() -> None:
    """A stranger's endpoint cannot send us to AWS by a header."""
    answer = Answer(301, headers={"x-amz-bucket-region": "eu-central-1"})
    with serving({"/bucket/a.tar": [answer]}) as server:
        reader = S3Store(Transport(Policy(allow_private=True)), endpoint=server.url(""))
        with pytest.raises(UnavailableError):
            reader.open("s3://bucket/a.tar")
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirects_of_a_service_are_followed_with_care(status: int) -> None:
    """To where the policy lets us go."""
    with serving({"/there.tar": [Answer(body=b"there")]}) as other:
        answer = Answer(status, headers={"Location": other.url("/there.tar")})
        with serving({"/bucket/a.tar": [answer]}) as server:
            reader = S3Store(Transport(Policy(allow_private=True)), endpoint=server.url(""))
            assert read_all(reader, "s3://bucket/a.tar", limit=9) == b"there"


def test_what_is_not_public_is_explained() -> None:
    """403 says how private data is reached; 404 what is missing."""
    denied = Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")
    missing = Answer(404, body=b"<Error><Code>NoSuchBucket</Code></Error>")
    with serving({"/bucket/a.tar": [denied], "/none/a.tar": [missing]}) as server:
        reader = S3Store(Transport(Policy(allow_private=True)), endpoint=server.url(""))
        with pytest.raises(AuthenticationError, match=r"s3://bucket/a\.tar.*AccessDenied.*config\.toml.*'access'"):
            reader.open("s3://bucket/a.tar")
        with pytest.raises(NotFoundError, match="no such bucket"):
            reader.open("s3://none/a.tar")
