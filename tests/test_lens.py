"""Laws of `atdata.lens`."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from atdata.lens import Lens, LensNetwork, lens


@dataclass
class Person:
    name: str
    age: int


@dataclass
class Name:
    name: str


@lens
def name_of(person: Person) -> Name:
    """Only the name."""
    return Name(person.name)


@name_of.putter
def rename(view: Name, person: Person) -> Person:
    return Person(view.name, person.age)


def age_only(person: Person) -> Name:
    return Name(str(person.age))


def test_getting_and_putting() -> None:
    """A call and ``get`` give the view, ``put`` the source as the view wants it."""
    person = Person("Ada", 36)

    assert name_of(person) == name_of.get(person) == Name("Ada")
    assert name_of.put(Name("Grace"), person) == Person("Grace", 36)


def test_a_well_behaved_lens_obeys_its_laws() -> None:
    """What was put is got, and putting back what was got changes nothing."""
    person = Person("Ada", 36)

    assert name_of.get(name_of.put(Name("Grace"), person)) == Name("Grace")
    assert name_of.put(name_of.get(person), person) == person


def test_types_come_from_the_annotations() -> None:
    """``source_type`` and ``view_type`` are the classes that the getter's annotations name."""
    assert name_of.source_type is Person
    assert name_of.view_type is Name


def test_types_written_as_strings_are_resolved() -> None:
    """Annotations written as strings, or postponed, name the same classes."""

    def get(person: "Person") -> "Name":
        return Name(person.name)

    assert Lens(get).source_type is Person
    assert Lens(get).view_type is Name


def test_names_that_cannot_be_resolved_stay_names() -> None:
    """A string that names a class local to a function is kept; the lens itself still works."""

    @dataclass
    class Local:
        name: str

    def get(local: "Local") -> "Local":
        return Local(local.name)

    assert Lens(get).view_type == "Local"  # type: ignore[comparison-overlap]  # the name is all there is
    assert Lens(get)(Local("x")) == Local("x")


def test_the_lens_looks_like_its_function() -> None:
    """Name and docstring of the function are those of the lens."""
    assert name_of.__name__ == "name_of"  # type: ignore[attr-defined]  # set by functools.update_wrapper
    assert name_of.__doc__ == "Only the name."


def test_putter_returns_the_plain_function() -> None:
    """The decorator for a putter leaves the function itself under its name."""
    assert rename(Name("Grace"), Person("Ada", 36)) == Person("Grace", 36)
    assert not isinstance(rename, Lens)


def test_without_a_putter_the_source_stays() -> None:
    """The putter of a lens that was given none returns the source, unchanged."""
    person = Person("Ada", 36)

    assert Lens(age_only).put(Name("x"), person) is person


@pytest.mark.parametrize("get", [lambda: None, lambda a, b: None])
def test_a_getter_has_one_parameter(get: Callable[..., None]) -> None:
    """None or two parameters are an AssertionError, as they have always been."""
    with pytest.raises(AssertionError, match="one parameter"):
        Lens(get)


def test_there_is_one_network() -> None:
    """Each ``LensNetwork()`` is the same object, with what was registered before."""
    assert LensNetwork() is LensNetwork()
    assert LensNetwork().transform(Person, Name) is name_of
    assert (Person, Name) in LensNetwork()._registry


def test_the_last_registration_wins() -> None:
    """Registering a second lens between the same types replaces the first."""

    @dataclass
    class View:
        name: str

    @lens
    def first(person: Person) -> View:
        return View("first")

    @lens
    def second(person: Person) -> View:
        return View("second")

    assert LensNetwork().transform(Person, View) is second


def test_lookup_is_exact() -> None:
    """A missing lens is a ValueError that names both types; nothing is composed or reversed."""
    with pytest.raises(ValueError, match=r"No registered lens from source .*Name.* to view .*Person"):
        LensNetwork().transform(Name, Person)


def test_lenses_can_be_pickled() -> None:
    """A decorated lens is found again by its name, another by its functions, for loader workers."""
    assert pickle.loads(pickle.dumps(name_of)) is name_of

    copy = pickle.loads(pickle.dumps(Lens(age_only, rename)))
    assert copy(Person("Ada", 36)) == Name("36")
    assert copy.put(Name("Grace"), Person("Ada", 36)) == Person("Grace", 36)
