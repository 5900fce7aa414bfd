"""JSON that is typed as a word of a command, or comes by standard input."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from orchestrator.cli.ask import read_input
from orchestrator.cli.peer_names import Usage

if TYPE_CHECKING:
    import argparse


def read_json(args: argparse.Namespace, word: str, what: str) -> Any:
    """Read the JSON of a word; that of ``-`` is on standard input. Raises `Usage` with the place of a mistake."""
    text = read_input(args, what) if word == "-" else word
    where = "standard input" if word == "-" else what
    if not text.strip():
        raise Usage(f'{where} is empty: it is a JSON value, such as \'{{"path": "json"}}\'')
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_number)
        text.encode()
        if "\\ud" in text.lower():  # half a pair may be spelled out
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        said = error.msg[0].lower() + error.msg[1:]
        raise Usage(f"{where}, line {error.lineno}, column {error.colno}: {said}{_hint(text)}") from None
    except UnicodeEncodeError as error:
        raise Usage(
            f"{where}: character {error.start + 1} is half a surrogate pair, which no message can carry"
        ) from None
    except RecursionError:
        raise Usage(f"{where} is nested too deeply") from None
    except ValueError as error:
        said = "a number in it has too many digits" if "digits" in str(error) else str(error)
        raise Usage(f"{where}: {said}") from None
    return found


def _hint(text: str) -> str:
    if text.strip().isprintable() and text.strip()[0].isalpha():
        return "; a text stands in double quotes within the shell's single ones: '\"…\"'"
    return (
        "; the shell takes quotes away unless the whole stands in single ones"
        if "{" in text and '"' not in text
        else ""
    )


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is more than a number of JSON can be here")
    return number


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
