"""Comments that silence findings: their reasons, their mistakes, and what is no comment at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.lint_silence import python_comments, read_ignores, yaml_comments
from tests.topology.linting import THREE, findings, in_code, places
from tests.topology.test_lint_code import HEARD, team
from tests.topology.test_lint_code import sending as _sending

WIDE = """\
version: 1
agents:
  one:
    handler: app:One
    scopes: {publish: ["audit/**"]} %s
"""


def sending(comment: str) -> str:
    return _sending(f"await user.send('boss', 1.5) {comment}")


@pytest.mark.parametrize(
    "comment",
    [
        "# orc: ignore[ORC106] it writes the log",
        "#orc:ignore[ORC106] it writes the log",
        "# wide on purpose # orc: ignore[ORC106] it writes the log",
    ],
)
def test_a_reason_silences_a_finding_of_a_file(comment: str) -> None:
    assert findings(WIDE % comment) == []


def test_a_reason_silences_a_finding_in_code() -> None:
    assert in_code(sending("# orc: ignore[ORC102] the next one comes soon")) == []


def test_several_codes_are_silenced_at_once() -> None:
    body = _sending(
        "for word in words:", "    await user.send('b', word)  # orc: ignore[ORC102, ORC103] the last counts"
    )
    assert in_code(body) == []


def test_an_error_can_be_silenced_where_it_opens_nothing() -> None:
    text = WIDE.replace(
        'scopes: {publish: ["audit/**"]} %s', "environment: {A_PASSWORD: x} # orc: ignore[ORC108] a test's"
    )
    assert findings(text) == []


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("# orc: ignore[ORC106]", "a reason is missing: '# orc: ignore[ORC106] why this is meant'"),
        ("# orc: ignore ORC106 why", "a comment that silences a finding is written '# orc: ignore[ORC106] reason'"),
        ("# orc: ignroe[ORC106] why", "a comment that silences a finding is written '# orc: ignore[ORC106] reason'"),
        ("# orc: ignore[ORC016] why", "there is no code 'ORC016' (did you mean 'ORC106'?)"),
        ("# orc: ignore[ORC101] why", "nothing here is a case of ORC101; take it out of this comment"),
    ],
)
def test_a_comment_with_a_mistake_silences_nothing_and_is_told(comment: str, said: str) -> None:
    told = findings(WIDE % comment)
    assert len(told) == 2
    assert f"5:37: {said}" in told
    assert any(line.endswith("[ORC106]") for line in told)


def test_of_several_codes_the_one_without_a_case_is_told() -> None:
    assert findings(WIDE % "# orc: ignore[ORC106,ORC101] it writes the log") == [
        "5:37: nothing here is a case of ORC101; take it out of this comment"
    ]


def test_in_another_line_it_silences_nothing() -> None:
    text = "# orc: ignore[ORC106] it writes the log\n" + WIDE % ""
    assert places(text) == [("", 1), ("ORC106", 6)]


def test_in_a_profile_that_is_not_applied_nothing_is_known() -> None:
    text = WIDE.replace(' ["audit/**"]} %s', " [a]}") + (
        "profiles:\n  all:\n    agents:\n      one:\n        scopes: {publish: ['**']} # orc: ignore[ORC106] to look\n"
    )
    assert findings(text) == []


def test_what_only_replicas_do_wrong_may_be_silenced_where_there_is_one_copy() -> None:
    body = team("await charge(event)").replace("ctx):", "ctx):  # orc: ignore[ORC107] one for each")
    assert in_code(body, THREE) == in_code(body) == []
    assert in_code(body.replace("await charge(event)", "pass"), THREE) == [("", HEARD)]


@pytest.mark.parametrize(
    "text",
    [
        "a: '# orc: ignore[ORC106]'\n",
        'a: "b # orc: ignore[ORC106]"\n',
        "a: 'b\n  # orc: ignore[ORC106]\n  c'\n",
        "a: |\n  # orc: ignore[ORC106]\n",
        "a: >-\n  b\n  # orc: ignore[ORC106]\n\n  c\nd: e\n",
        "a: b#orc: ignore[ORC106]\n".replace("orc: ", "orc:"),
        "'# orc: x': b\n",
    ],
)
def test_a_hash_within_a_value_is_no_comment(text: str) -> None:
    assert list(yaml_comments(text)) == []


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("a: 'b # c' # d\n", [(1, 12, "# d")]),
        ("# a\n\nb: c   # d # e\n", [(1, 1, "# a"), (3, 8, "# d # e")]),
        ("a: | # b\n  # c\nd: e # f\n", [(1, 6, "# b"), (3, 6, "# f")]),
        ("a: b # c\n  # d\ne: [f, # g\n  h]\r\n#i", [(1, 6, "# c"), (2, 3, "# d"), (3, 8, "# g"), (5, 1, "#i")]),
        ("ä: 'ö # ü' # é\n", [(1, 12, "# é")]),
    ],
)
def test_comments_are_found_with_their_places(text: str, comments: list[tuple[int, int, str]]) -> None:
    assert [tuple(comment) for comment in yaml_comments(text)] == comments


def test_a_hash_within_a_string_of_python_is_no_comment() -> None:
    text = "a = '# orc: ignore[ORC102]'  # orc: ignore[ORC102] why\n'''\n# b\n'''\n"
    assert [(comment.line, comment.column) for comment in python_comments(text)] == [(1, 30)]


@given(st.text(alphabet="# ab:-\"'|>[]\n", max_size=30).map(lambda value: value.replace("\n", " ")))
def test_a_quoted_value_never_hides_the_comment_after_it(value: str) -> None:
    quoted = value.replace("'", "''")
    assert [comment.text for comment in yaml_comments(f"a: '{quoted}' # orc: end\n")] == ["# orc: end"]


@given(st.text(alphabet="orcignORC106[], :", max_size=40))
def test_any_order_is_an_ignore_or_told(order: str) -> None:
    ignores, problems = read_ignores(f"a: b # orc: {order}\n", "file", yaml_comments)
    assert ignores or problems
