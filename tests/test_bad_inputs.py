"""Every number of the list of bad inputs is shown by a test, or has a reason; the page says which."""

from tests.bad_inputs import ELSEWHERE, NOT_HERE, SECTIONS, TESTS, cited, listed, page, shown, why_not


def test_every_number_has_a_test_or_a_reason():
    assert set(listed()) == (set(shown()) | set(why_not())) & set(listed())


def test_the_list_is_whole():
    counts = [sum(number.startswith(f"{section}.") for number in listed()) for section in SECTIONS]
    assert counts == [44, 44, 44, 41, 44, 40, 40, 44]


def test_no_reason_is_left_for_what_a_test_shows():
    """But for the 41 of 6.4, of which some hold for directions that are named in a job."""
    assert set(NOT_HERE) & set(shown()) <= {f"6.4.{n}" for n in range(1, 42)}


def test_tests_that_are_named_exist_and_cite_no_number_themselves():
    for number, (file, name) in ELSEWHERE.items():
        assert f"def {name}(" in (TESTS / file).read_text(), (number, name)
        assert number not in cited(), f"{number} is cited by now: it need not be listed"


def test_the_page_is_that_of_the_tests():
    assert (TESTS.parent / "docs" / "bad_inputs.md").read_text() == page(), "python -m tests.bad_inputs"
