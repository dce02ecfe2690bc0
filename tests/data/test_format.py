"""docs/format.md and the bytes are the same thing."""

from tests.data import decoder
from tests.data.format_example import ROOT, dump, shard


def test_the_dump_of_the_page_is_the_shard() -> None:
    """What the page shows is what is written today; it may never change."""
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")

    assert "```\n" + "\n".join(dump(shard())) + "\n```\n" in page


def test_the_independent_decoder_reads_it() -> None:
    """Written from the page alone."""
    found = decoder.decode(shard())
    values = [decoder.msgpack(sample[0][1]) for sample in found.members]

    assert found.keys == ["000000-00000000", "000000-00000001"]
    assert [value["label"] for value in values] == [7, 1000]  # type: ignore[index] # maps
    assert found.cid.hex() in (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
