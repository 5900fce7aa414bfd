"""A section of a topology file in Python: a frozen class whose annotations are the keys that it may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    NamedTuple,
    NoReturn,
    Self,
    TypeAlias,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

Reader: TypeAlias = Callable[[Any], Any]
"""Returns what a value stands for, or raises `Wanted` or `Refused`."""


class Listed(NamedTuple):
    """Under a key stands a list: it becomes a tuple."""

    each: Kind


class Named(NamedTuple):
    """Under a key stands a mapping whose keys are names."""

    name: Reader
    each: Kind


class Field(NamedTuple):
    """What one key of a section holds."""

    kind: Kind
    required: bool
    default: Any
    """`None` also where there is none because the key is required."""


EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
"""The default of a mapping: every section that leaves it out has the same one."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Section:
    """A section holds the keys that were given, and has the defaults of its class for all others.

    An annotation names its reader, ``Annotated[int, read_count]``, or another section, a tuple or a mapping of those;
    with ``| None`` it may be left out, but is still never written as nothing. The constructor takes finished values
    and looks at none of them: it is `validate` that reads what stands in a file.

    Of the class keywords, `hidden` names keys that no `repr` shows, and `beside` attributes that are no key of the
    file and make no difference to whether two sections are equal.
    """

    keys: ClassVar[tuple[str, ...]] = ()
    _needed: ClassVar[frozenset[str]] = frozenset()
    _taken: ClassVar[frozenset[str]] = frozenset()
    _hidden: ClassVar[frozenset[str]] = frozenset()
    _beside: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, hidden: tuple[str, ...] = (), beside: tuple[str, ...] = ()) -> None:
        own = [key for key, hint in cls.__annotations__.items() if not str(hint).startswith("ClassVar")]
        cls.keys = tuple(dict.fromkeys([*cls.keys, *(key for key in own if key not in beside)]))
        cls._hidden, cls._beside = cls._hidden.union(hidden), cls._beside.union(beside)
        cls._taken = cls._beside.union(cls.keys)
        cls._needed = frozenset(key for key in cls.keys if not hasattr(cls, key))

    def __init__(self, **given: Any) -> None:
        """Raises `TypeError` for a key that the section does not have, or that it needs and is not given."""
        if not self._needed <= given.keys() <= self._taken:
            wrong = sorted((self._needed - given.keys()) | (given.keys() - self._taken))
            raise TypeError(f"missing from {type(self).__name__}, or unknown to it: {', '.join(wrong)}")
        vars(self).update(given)

    @classmethod
    def fields(cls) -> Mapping[str, Field]:
        """Return what each key holds, in the order of the class, inherited keys first."""
        if "_fields" not in vars(cls):  # once it is asked for: of most classes nobody asks
            hints = get_type_hints(cls, include_extras=True)
            cls._fields = {
                key: Field(_kind(hints[key]), key in cls._needed, getattr(cls, key, None)) for key in cls.keys
            }
        return cls._fields

    _fields: ClassVar[Mapping[str, Field]]

    @property
    def given(self) -> frozenset[str]:
        """The keys that have a value of their own, be it that of the default."""
        return frozenset(vars(self)) - self._beside

    def as_dict(self) -> dict[str, Any]:
        """Return the values of all keys, defaults too; sections among them stay sections."""
        return {key: getattr(self, key) for key in self.keys}

    def replace(self, **changes: Any) -> Self:
        return type(self)(**{**vars(self), **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, key) == getattr(other, key) for key in self.keys)

    def __repr__(self) -> str:
        shown = (f"{key}={value!r}" for key, value in vars(self).items() if key not in self._hidden | self._beside)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} does not change; replace() makes another")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} does not change; replace() makes another")


Kind: TypeAlias = Reader | type[Section] | Listed | Named


def _kind(hint: Any) -> Kind:
    origin, arguments = get_origin(hint), get_args(hint)
    kind: Kind
    if origin is Annotated:
        kind = arguments[1]
    elif origin in (Union, UnionType):
        [one] = [each for each in arguments if each is not NoneType]
        kind = _kind(one)
    elif origin is tuple:
        kind = Listed(_kind(arguments[0]))
    elif origin is Mapping:
        kind = Named(arguments[0].__metadata__[0], _kind(arguments[1]))
    else:
        kind = hint
    return kind
