from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.topology import values
from orchestrator.topology.values import Refused, Text, Wanted


def plain(text: str) -> Text:
    return Text(text, text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("150ms", 0.15), ("30s", 30), ("2m", 120), ("1h", 3600), ("1.5h", 5400), ("45", 45), ("0.25", 0.25), ("0s", 0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert values.read_duration(plain(text)) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1d", "1 s", "-1s", "+1", "1e3", "1:30", ".5", "1.", "٣s", "01", "inf", "nan"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Wanted, match="a duration such as 150ms"):
        values.read_duration(plain(text))


@given(st.integers(0, 9_999_999), st.sampled_from([("ms", 0.001), ("s", 1.0), ("m", 60.0)]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: tuple[str, float]) -> None:
    name, seconds = unit
    if number * seconds <= values.MAX_SECONDS:
        assert values.read_duration(f"{number}{name}") == pytest.approx(number * seconds)


@given(st.floats(0, values.MAX_SECONDS))
def test_a_duration_in_code_is_a_number_of_seconds(seconds: float) -> None:
    assert values.read_duration(seconds) == seconds


READERS = [getattr(values, name) for name in dir(values) if name.startswith("read_")]


@given(st.text() | st.sampled_from(["true", "1", "local", "sk_id_a:sk_secret_b", "ws://[", "127.0.0.1:0", "app:W"]))
@example("ws://[::1")
@example("ws://h:99999")
@example("9" * 5000)
@example("\ud800")
def test_no_reader_is_surprised_by_a_text(text: str) -> None:
    """Each accepts it, or raises an error that has a sentence of its own."""
    for reader in READERS:
        for value in (text, plain(text)):
            try:
                reader(value)
            except (Wanted, Refused) as error:
                assert str(error)


@pytest.mark.parametrize("value", [values.Nothing.NOTHING, [], {}, ["a"], object()])
def test_every_reader_refuses_what_is_no_scalar(value: object) -> None:
    for reader in READERS:
        with pytest.raises((Wanted, Refused)):
            reader(value)


@pytest.mark.parametrize(
    "reference",
    [
        "../app:W", "/etc/app:W", "app/evil:W", "app.py:W", "..app:W", ".app:W", "app:", ":W", "app:W:X", "app:W.x",
        "app:W()", "app;W", "$(app):W", "app W", "app\n:W", "app:W\n", "a..b:W", "a-b:W", "os.path:join;x", "",
    ],
)  # fmt: skip
def test_66_a_handler_is_a_dotted_name_and_nothing_else(reference: str) -> None:
    """Hazard 66: no path, no climbing out, no shell and no expression gets through as a handler."""
    if reference == "app.py:W":  # a submodule named py is odd, and possible
        assert values.read_handler(reference) == reference
        return
    with pytest.raises((Wanted, Refused)):
        values.read_handler(reference)


@pytest.mark.parametrize("reference", ["app", "app:W", "agents.code_desk:Lead", "a.b.c", "módulo:Clase"])
def test_a_handler_is_a_module_or_a_class_in_one(reference: str) -> None:
    assert values.read_handler(reference) == reference


@given(st.text(max_size=40))
def test_a_name_holds_nothing_that_could_end_or_widen_a_pattern(text: str) -> None:
    if values.is_name(text):
        assert not set(text) & set("./*\\:@ \n") and text.isascii()
