"""Lenses: how samples of one type are seen, and written back, as samples of another.

A `Lens` is a pair of functions, `LensNetwork` the register in which `Dataset.as_type` looks one up by its two types.
Nothing here composes lenses on its own: a path from one type to another is walked only where each step was asked for.

Source: https://www.cis.upenn.edu/~bcpierce/papers/lenses-etapsslides.pdf (the laws of getter and putter).
"""

import functools
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

S = TypeVar("S")
V = TypeVar("V")


def _keep_source(view: Any, source: Any) -> Any:
    """The putter of a lens that was given none: what was changed in the view is not written back."""
    return source


def _annotations(get: Callable[..., Any]) -> tuple[Any, Any]:
    """The source and view type that a getter's annotations name."""
    signature = inspect.signature(get)
    parameters = list(signature.parameters.values())
    if len(parameters) != 1:
        # Existing code expects an AssertionError here; raised by hand, so that `python -O` does not take it away.
        raise AssertionError(
            f"a lens is a function of one parameter, {getattr(get, '__qualname__', get)} has {len(parameters)}"
        )
    source, view = parameters[0].annotation, signature.return_annotation
    if isinstance(source, str) or isinstance(view, str):
        try:
            hints = typing.get_type_hints(get)
        except NameError:
            return source, view  # a class local to some function: its name is all that postponed annotations leave
        return hints.get(parameters[0].name, source), hints.get("return", view)
    return source, view


class Lens(Generic[S, V]):
    """A two-way transformation between two sample types.

    Attributes:
        source_type: The type of the getter's parameter, as its annotation says.
        view_type: The type that the getter returns, as its annotation says.

    Example:
        >>> lens = Lens(len, lambda view, source: source[:view])
        >>> lens("abc"), lens.put(2, "abc")
        (3, 'ab')
    """

    source_type: type[S]
    view_type: type[V]

    def __init__(self, get: Callable[[S], V], put: Callable[[V, S], S] | None = None) -> None:
        """Make a lens from its functions.

        Args:
            get: Gives the view of a source. One parameter, annotated with the source type; the return annotation is
                the view type.
            put: Gives the source as a changed view wants it, from ``(view, source)``. None: the source unchanged.

        Raises:
            AssertionError: ``get`` has none or several parameters.
        """
        self.source_type, self.view_type = _annotations(get)
        functools.update_wrapper(self, get)
        self._getter = get
        self._putter: Callable[[V, S], S] = _keep_source if put is None else put

    def putter(self, put: Callable[[V, S], S]) -> Callable[[V, S], S]:
        """Set the putter; for use as a decorator. Returns the plain function."""
        self._putter = put
        return put

    def put(self, view: V, source: S) -> S:
        """The source as ``view`` wants it."""
        return self._putter(view, source)

    def get(self, source: S) -> V:
        """The view of ``source``."""
        return self._getter(source)

    def __call__(self, source: S) -> V:
        return self._getter(source)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # `@lens` leaves the lens under the name of its function, which pickle then refuses to take for the function.
        name = getattr(self, "__qualname__", "")
        home: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            home = getattr(home, part, None)
        if home is self:
            return str(name)
        return type(self), (self._getter, None if self._putter is _keep_source else self._putter)


class LensNetwork:
    """The register of lenses, one for the whole process: each call gives the same object."""

    _instance: ClassVar["LensNetwork | None"] = None
    _registry: dict[tuple[type, type], Lens[Any, Any]]

    def __new__(cls) -> "LensNetwork":
        if cls._instance is None:
            network = super().__new__(cls)
            network._registry = {}
            cls._instance = network
        return cls._instance

    def register(self, lens: Lens[Any, Any]) -> None:
        """Make ``lens`` the one between its two types, in place of an earlier one."""
        self._registry[lens.source_type, lens.view_type] = lens

    def transform(self, source: type[S], view: type[V]) -> Lens[S, V]:
        """The lens registered from ``source`` to ``view``, exactly.

        Raises:
            ValueError: None is registered for these two types.
        """
        lens = self._registry.get((source, view))
        if lens is None:
            raise ValueError(f"No registered lens from source {source} to view {view}")
        return lens


def lens(get: Callable[[S], V]) -> Lens[S, V]:
    """Make a lens of a function and register it; for use as a decorator.

    Example:
        >>> @lens
        ... def length(source: str) -> int:
        ...     return len(source)
        >>> LensNetwork().transform(str, int)("abc")
        3

    Raises:
        AssertionError: The function has none or several parameters.
    """
    made = Lens(get)
    LensNetwork().register(made)
    return made
