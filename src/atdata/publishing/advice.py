"""Where shards had best lie: on a PDS up to some size, at URLs beyond it; and what a PDS would cost.

A PDS is made for posts and pictures. The rate limits are those that the reference PDS has where its operator has
switched them on; a server that has others says so while uploading, and is obeyed then.

Source: https://docs.bsky.app/docs/advanced-guides/rate-limits, and the reference PDS: uploadBlob, rate-limits
"""

from atdata.errors import LimitError

AUTO_BYTES = 100_000_000  # bytes that are uploaded without being asked
BLOB_BYTES = 10_000_000_000  # bytes beyond which blobs are refused unless forced
UPLOADS_PER_DAY = 1000
CREATE_POINTS = 3  # write points that creating one record costs
POINTS_PER_HOUR = 5000
POINTS_PER_DAY = 35_000

_ELSEWHERE = "put them where others can fetch them (S3, R2, GCS, any web server) and give the URLs (urls=, --url)"


def cost(uploads: int) -> str:
    """What a number of blobs costs, in words."""
    days = days_for(uploads)
    counted = f"{uploads:,} upload{'' if uploads == 1 else 's'} and {days:,} day{'' if days == 1 else 's'}"
    return f"{counted} under the usual rate limit of a PDS ({UPLOADS_PER_DAY:,} uploads a day)"


def days_for(uploads: int) -> int:
    """Days on which something is uploaded, under the usual rate limit."""
    return -(-uploads // UPLOADS_PER_DAY)


def wait_for(uploads: int, records: int) -> int:
    """Seconds that the usual rate limits of a PDS make one wait between the first upload and the last record."""
    points = CREATE_POINTS * records
    return max(
        max(0, uploads - 1) // UPLOADS_PER_DAY * 86_400,
        max(0, points - 1) // POINTS_PER_HOUR * 3600,
        max(0, points - 1) // POINTS_PER_DAY * 86_400,
    )


def check_auto(size: int, uploads: int) -> None:
    """Refuse to upload much that nobody has asked to upload.

    Raises:
        LimitError: More than 100 MB.
    """
    if size > AUTO_BYTES:
        raise LimitError(
            f"the shards have {size:,} bytes in all, and up to {AUTO_BYTES:,} are uploaded as blobs without being "
            f"asked: {_ELSEWHERE}; or say storage='blobs' (--storage blobs) to upload them all the same, which costs "
            f"{cost(uploads)}; storage='url' publishes the paths of this machine",
            limit=AUTO_BYTES,
        )


def check_blobs(size: int, uploads: int, *, force: bool) -> str | None:
    """What is to be said about shards that are to be blobs; None where that is a good place for them.

    Raises:
        LimitError: More than 10 GB, and not ``force``.
    """
    if size <= AUTO_BYTES:
        return None
    if size > BLOB_BYTES and not force:
        raise LimitError(
            f"the shards have {size:,} bytes in all, and more than {BLOB_BYTES:,} do not belong on a PDS: as blobs "
            f"they would cost {cost(uploads)}; {_ELSEWHERE}, or say force=True (--force)",
            limit=BLOB_BYTES,
        )
    return (
        f"{size:,} bytes are much for a PDS: as blobs they cost {cost(uploads)}; beyond {AUTO_BYTES:,} bytes URLs are "
        "the better place"
    )
