"""Files that are no YAML, or too clever a YAML."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

FILES: Final = (
    Broken(
        "a duplicate key",
        "version: 1\nname: a\nname: b\nworkers:\n  w: {handler: app:W}\n",
        "3:1: name: the key 'name' stands here again; the first is in line 2, column 1",
    ),
    Broken(
        "a duplicate agent",
        "version: 1\nworkers:\n  w: {handler: app:W}\n  w: {handler: app:X}\n",
        "4:3: workers.w: the key 'w' stands here again; the first is in line 3, column 3",
    ),
    Broken(
        "a duplicate key in flow style",
        "version: 1\nworkers:\n  w: {handler: app:W, handler: app:X}\n",
        "3:23: workers.w.handler: the key 'handler' stands here again; the first is in line 3, column 7",
    ),
    Broken(
        "a YAML tag",
        "version: 1\nname: !!python/object:os.system x\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: the YAML tag '!!python/object:os.system' is not allowed; a value is what its key expects",
    ),
    Broken(
        "a standard YAML tag",
        "version: !!int 1\nworkers:\n  w: {handler: app:W}\n",
        "1:10: version: the YAML tag '!!int' is not allowed; a value is what its key expects",
    ),
    Broken(
        "a tag of one's own",
        "version: 1\nworkers: !include workers.yaml\n",
        "2:10: workers: the YAML tag '!include' is not allowed; a value is what its key expects",
    ),
    Broken(
        "a directive",
        "%YAML 1.1\n---\nversion: 1\nworkers:\n  w: {handler: app:W}\n",
        "1:1: a line that begins with '%' is a YAML directive, and a topology file has none",
    ),
    Broken(
        "a key that is a list",
        "version: 1\n[a, b]: c\nworkers:\n  w: {handler: app:W}\n",
        "2:1: a key is a word before a colon, and this one is a list",
    ),
    Broken(
        "a key that is missing",
        "version: 1\n: c\nworkers:\n  w: {handler: app:W}\n",
        "2:1: a key is missing before this ':'",
    ),
    Broken(
        "an alias without an anchor",
        "version: 1\nname: *gone\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: no anchor '&gone' stands above this alias",
    ),
    Broken(
        "an alias inside its anchor",
        "version: 1\nx-a: &a [*a]\nworkers:\n  w: {handler: app:W}\n",
        "2:10: x-a[0]: the alias '*a' stands inside what it names",
    ),
    Broken(
        "a merge of no mapping",
        "version: 1\nworkers:\n  w: {handler: app:W, <<: 3}\n",
        "3:27: workers.w.<<: '<<' takes an alias of a mapping, or a list of them",
    ),
    Broken(
        "a tab",
        "version: 1\nworkers:\n\tw: {handler: app:W}\n",
        "3:1: workers: a tab cannot indent YAML; use spaces",
    ),
    Broken(
        "a colon too many",
        "version: 1\nname: a: b\nworkers:\n  w: {handler: app:W}\n",
        "2:8: this ':' is one too many here; check the indentation, or quote the text",
    ),
    Broken(
        "a line that does not fit",
        "version: 1\nworkers:\n  w: {handler: app:W}\n v: {handler: app:V}\n",
        "4:2: the indentation of this line does not fit the lines above it",
    ),
    Broken(
        "an open bracket",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [w}\nworkers:\n  w: {handler: app:W}\n",
        "3:32: coordinators.c.workers[0]: the list that begins with this '[' needs ',' between its items and ']' at its end",
    ),
    Broken(
        "an open brace",
        "version: 1\nworkers:\n  w: {handler: app:W\n",
        "3:6: workers.w: the mapping that begins with this '{' needs ',' between its keys and '}' at its end",
    ),
    Broken(
        "an open quote",
        "version: 1\nname: 'code desk\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: this quoted text is never closed",
    ),
    Broken(
        "a bad escape",
        'version: 1\nname: "\\q"\nworkers:\n  w: {handler: app:W}\n',
        '2:8: name: this escape is not known inside "…"; write \\\\ for a backslash',
    ),
    Broken(
        "a value that begins with @",
        "version: 1\nname: @home\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: a value cannot begin with '@'; put it in quotes",
    ),
    Broken(
        "a value that begins with a percent sign",
        "version: 1\nname: %home\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: a value cannot begin with '%'; put it in quotes",
    ),
    Broken(
        "a key without a colon",
        "version: 1\nworkers\n  w: {handler: app:W}\n",
        "2:1: a ':' is missing after this key",
    ),
    Broken(
        "a list item among keys",
        "version: 1\n- workers\n",
        "2:1: an item of a list cannot stand here among keys",
    ),
    Broken(
        "a control character",
        "version: 1\nname: a\x07b\nworkers:\n  w: {handler: app:W}\n",
        "2:8: the control character U+0007 cannot stand in a topology file",
    ),
)
