import pytest
from hypothesis import given
from hypothesis import strategies as st

from generative.editing.layers import format_layers, parse_layers


@pytest.mark.parametrize(
    "text, layers",
    [
        ("all", (0, 1, 2, 3, 4, 5)),
        ("0-3,5", (0, 1, 2, 3, 5)),
        ("4-", (4, 5)),
        ("5,0, 2-2", (0, 2, 5)),
        ("1,1-2", (1, 2)),
    ],
)
def test_ranges_are_read_as_people_mean_them(text, layers):
    assert parse_layers(text, 6) == layers


@pytest.mark.parametrize("text", ["", "6", "0-6", "3-2", "-1", "a", "1--2", "1-2-3", "1,", "0x1", "1.5", "²"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="layers"):
        parse_layers(text, 6)


@given(st.sets(st.integers(0, 30), min_size=1))
def test_what_is_written_is_read_back(layers):
    assert parse_layers(format_layers(sorted(layers)), 31) == tuple(sorted(layers))
