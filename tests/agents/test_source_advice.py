"""What a second look says: the worst measure of each of the most complex functions, with its place."""

from __future__ import annotations

import pytest

from agents.source_advice import advise

NESTED = """
def f(a):
    for b in a:
        while b:
            with c:
                try:
                    if d:
                        if e:
                            return
                finally:
                    pass
"""
CHAIN = (
    "def f(a):\n if a == 0: return\n" + "".join(f" elif a == {n}: return\n" for n in range(1, 12)) + " else: return\n"
)
PARAMETERS = "class C:\n def f(self, a, b, /, c, d, *rest, e, f, **more): pass\n"
LONG = "def f():\n    '''Said.'''\n    with a:\n" + "        b()\n" * 30 + "    c()\n" * 30
SMALL = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    ("source", "suggestion"),
    [
        (NESTED, "line 8 begins the innermost of 6 nested blocks: return early, or give the inner ones a function"),
        (CHAIN, "the `if` chain from line 2 has 13 branches: a `match` or a table would name each"),
        (PARAMETERS, "6 parameters: those that travel together want an object of their own"),
        (LONG, "63 lines: the `with` block of 31 lines from line 3 could become a function"),
        (SMALL, "within every limit: leave it as it is"),
    ],
    ids=["nesting", "branches", "parameters", "length", "small"],
)
def test_the_worst_measure_is_the_one_that_is_advised_on(source: str, suggestion: str) -> None:
    (advice,) = advise(source.encode())
    assert advice.suggestion.startswith(suggestion)


def test_an_elif_is_no_deeper_than_its_if_and_an_if_below_an_else_is() -> None:
    (chained,) = advise(b"def f():\n if a: pass\n elif b: pass\n elif c: pass\n")
    (nested,) = advise(b"def f():\n if a: pass\n else:\n  if b: pass\n  else:\n   if c: pass\n")
    assert (chained.nesting, nested.nesting) == (1, 3)


def test_what_an_inner_function_does_is_its_own_nesting() -> None:
    outer, inner = advise(b"def f():\n if a:\n  def g():\n   if b:\n    if c: pass\n")
    assert (outer.name, outer.nesting) == ("f", 1)
    assert (inner.name, inner.nesting) == ("f.g", 2)


def test_the_most_complex_functions_come_first_and_are_few() -> None:
    source = "".join(f"def f{n}():\n" + " if a: pass\n" * n + " pass\n" for n in range(6))
    assert [advice.name for advice in advise(source.encode())] == ["f5", "f4", "f3"]


def test_a_file_without_functions_needs_no_advice() -> None:
    assert advise(b"a = 1\n") == ()
