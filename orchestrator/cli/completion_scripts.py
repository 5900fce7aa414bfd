"""The scripts with which shells complete what is typed after `orchestrator`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.completion_shape import Command, Value

_BASH_BEGIN: Final = """\
# Completion of `orchestrator` for bash: eval "$(orchestrator completion bash)"
_orchestrator_words() {
    local found
    mapfile -t found < <(compgen -W "$1" -- "$cur")
    COMPREPLY+=("${found[@]}")
}
_orchestrator_files() {
    local found
    compopt -o filenames 2>/dev/null
    mapfile -t found < <(compgen "$1" -- "$cur")
    COMPREPLY+=("${found[@]}")
}
_orchestrator_agents() {
    _orchestrator_words "$(orchestrator completion --words "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)"
}
_orchestrator() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' word i
    COMPREPLY=()
    [[ $cur == '=' ]] && cur=''
    [[ $prev == '=' ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == -* ]]; then
            continue
        elif [[ -z $verb ]]; then
            verb=$word
        else
            case "$verb $word" in
"""
_ZSH_BEGIN: Final = """\
#compdef orchestrator
# Completion of `orchestrator` for zsh: orchestrator completion zsh > a folder of $fpath, as _orchestrator
_orchestrator_words() { compadd -- ${=1} }
_orchestrator_files() { if [[ $1 == -d ]]; then _files -/; else _files; fi }
_orchestrator_agents() {
    _orchestrator_words "$(orchestrator completion --words ${words[2,CURRENT-1]} 2>/dev/null)"
}
_orchestrator() {
    local cur=${words[CURRENT]} prev=${words[CURRENT-1]} verb='' word
    for word in ${words[2,CURRENT-1]}; do
        if [[ $word == -* ]]; then
            continue
        elif [[ -z $verb ]]; then
            verb=$word
        else
            case "$verb $word" in
"""


def bash(commands: Sequence[Command]) -> str:
    return _BASH_BEGIN + "\n".join(_cases(commands)) + "\n}\ncomplete -F _orchestrator orchestrator\n"


def zsh(commands: Sequence[Command]) -> str:
    end = '\n}\nif [[ $funcstack[1] == _orchestrator ]]; then _orchestrator "$@"; else compdef _orchestrator orchestrator; fi\n'
    return _ZSH_BEGIN + "\n".join(_cases(commands)) + end


def _cases(commands: Sequence[Command]) -> Iterator[str]:
    """Yield what bash and zsh both read: which command is typed, and what may follow."""
    two = "|".join(shlex.quote(" ".join(command.words)) for command in commands if len(command.words) == 2)
    yield f'            {two}) verb="$verb $word" ;;'
    yield "            esac"
    yield "        fi"
    yield "    done"
    yield '    case "$verb" in'
    for command in commands:
        yield f"    {shlex.quote(' '.join(command.words))})"
        values = [option for option in command.options if option.value is not None]
        if values:
            yield "        case $prev in"
            for option in values:
                assert option.value is not None
                does = "; ".join([*_offered(option.value), "return"])
                yield f"        {'|'.join(option.names)}) {does} ;;"
            yield "        esac"
        names = " ".join(name for option in command.options for name in option.names)
        yield f"        if [[ $cur == -* ]]; then _orchestrator_words {shlex.quote(names)}; return; fi"
        yield from (f"        {line}" for line in _offered(command.value))
        yield "        ;;"
    yield "    esac"


def _offered(value: Value) -> Iterator[str]:
    if value.choices:
        yield f"_orchestrator_words {shlex.quote(' '.join(value.choices))}"
    if value.agents:
        yield "_orchestrator_agents"
    if value.files:
        yield "_orchestrator_files -f"
    if value.folders:
        yield "_orchestrator_files -d"


# -- fish


def fish(commands: Sequence[Command]) -> str:
    return "\n".join(_fish(commands)) + "\n"


def _fish(commands: Sequence[Command]) -> Iterator[str]:
    yield "# Completion of `orchestrator` for fish: orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish"
    yield "function __orchestrator_agents"
    yield "    set -l typed (commandline -opc)"
    yield "    orchestrator completion --words $typed[2..-1] 2>/dev/null"
    yield "end"
    yield "complete -c orchestrator -f"
    for command in commands:
        where = _fish_condition(command, commands)
        begin = f"complete -c orchestrator -n {_fish_quoted(where)}"
        following = {each.words[-1]: each.help for each in commands if each.words[:-1] == command.words and each.words}
        for choice in command.value.choices:
            yield f"{begin} -a {_fish_quoted(choice)} -d {_fish_quoted(following.get(choice, ''))}"
        if command.value.files:
            yield f"{begin} -F"
        if command.value.folders:
            yield f"{begin} -x -a '(__fish_complete_directories)'"
        if command.value.agents:
            yield f"{begin} -a '(__orchestrator_agents)'"
        for option in command.options:
            names = " ".join(
                f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name.removeprefix('-')}"
                for name in option.names
            )
            takes = "" if option.value is None else f" {_fish_value(option.value)}"
            yield f"{begin} {names}{takes} -d {_fish_quoted(option.help)}"


def _fish_condition(command: Command, commands: Sequence[Command]) -> str:
    if not command.words:
        return "__fish_use_subcommand"
    seen = " ".join(f"; and __fish_seen_subcommand_from {word}" for word in command.words).removeprefix("; and ")
    following = [each.words[1] for each in commands if len(each.words) == 2 and each.words[:1] == command.words]
    return f"{seen}; and not __fish_seen_subcommand_from {' '.join(following)}" if following else seen


def _fish_value(value: Value) -> str:
    if value.choices:
        return f"-x -a {_fish_quoted(' '.join(value.choices))}"
    if value.agents:
        return "-x -a '(__orchestrator_agents)'"
    if value.folders:
        return "-x -a '(__fish_complete_directories)'"
    return "-r -F" if value.files else "-x"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
