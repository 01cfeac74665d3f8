"""argv -> options objects, and the help pages; both made from the table in options.py.

argparse splits the line; values are converted here, so that every problem of a line is found and named at once.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from relion_ext_picker.errors import UsageError
from relion_ext_picker.options import COMMANDS, SimulateOptions, check, flag_of, info_of
from relion_ext_picker.presets import with_preset

PROGRAM = "relion_ext_picker"
DEFAULT_COMMAND = "pick"
_TRUE = ("yes", "true", "on", "1")
_FALSE = ("no", "false", "off", "0")
AUTO = "auto"
_NOTHING = ""  # the value of an option with nothing after it, as RELION writes an empty parameter

_EXAMPLES: Mapping[str, str] = {
    "pick": (
        "examples:\n"
        "  relion_ext_picker --o External/job004/ --in_mics CtfFind/job003/micrographs_ctf.star --diameter 120 --j 4\n"
        "  relion_ext_picker pick --o picks --mics 'Micrographs/*.mrc' --pixel-size 1.5 --diameter 120 --formats box\n"
        "In RELION: an External job with the executable relion_ext_picker and the parameters diameter, threshold ..."
    ),
    "train": (
        "examples:\n"
        "  relion_ext_picker train --o External/job005/ --in_mics CtfFind/job003/micrographs_ctf.star\n"
        "      --in_coords ManualPick/job004/ --diameter 120\n"
        "  relion_ext_picker train --o training --simulated --scratch --gpu 0"
    ),
    "evaluate": (
        "examples:\n"
        "  relion_ext_picker evaluate --o External/job009/ --in_mics CtfFind/job003/micrographs_ctf.star\n"
        "      --in_coords External/job004/autopick.star --truth ManualPick/job005/ --diameter 120\n"
        "  relion_ext_picker evaluate --o External/job020/ --class2d Class2D/job007/ --refine3d Refine3D/job012/\n"
        "      --postprocess PostProcess/job013/\n"
        "  relion_ext_picker evaluate --o compared --compare External/job004/ AutoPick/job006/"
    ),
    "feedback": (
        "example:\n"
        "  relion_ext_picker feedback --o External/job008/ --in_coords External/job004/autopick.star\n"
        "      --in_parts Class2D/job006/run_it025_data.star"
    ),
    "simulate": (
        "examples:\n"
        "  relion_ext_picker simulate --o project --preset klh --micrographs 10 --defocus 2-4\n"
        "  relion_ext_picker simulate --o project --structure barrel --diameter 160 --snr 0.02-0.1\n"
        "  relion_ext_picker simulate --o project --structure 1fha.cif --pixel-size 1.2 --defocus 0.6-1.8"
    ),
    "demo": "example:\n  relion_ext_picker demo --o demo --structure irregular",
}


@dataclass(frozen=True)
class CommandLine:
    """A command line that was understood.

    Attributes
    ----------
    command : str
        One of the names in `options.COMMANDS`.
    options : object or None
        Options of the command, checked; None where only help is asked for.
    """

    command: str
    options: Any


def split_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command word and the rest of the line; without a command word it is `pick`."""
    if argv and not argv[0].startswith("-"):
        return argv[0], list(argv[1:])
    return DEFAULT_COMMAND, list(argv)


def parse(argv: Sequence[str]) -> CommandLine:
    """Understand a command line without the program's name.

    Raises
    ------
    UsageError
        One line for each problem of the command line.
    """
    command, words = split_command(argv)
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command}{_meant(command, COMMANDS)}; commands: {', '.join(COMMANDS)}")
    table = COMMANDS[command]
    items = {item.name: item for item in fields(table)}
    spellings = _spellings(items.values())
    if any(word in ("-h", "--help") for word in words):
        return CommandLine(command, None)
    given, rest = _parser(command).parse_known_args([_canonical(word, spellings) for word in words])
    problems = _unknown(rest, spellings)
    values: dict[str, Any] = {}
    failed = set()
    for name, text in vars(given).items():
        if isinstance(text, list):
            text = ",".join(text)
        try:
            values[name] = _value(items[name], text)
        except UsageError as error:
            problems.append(str(error))
            failed.add(flag_of(items[name]))
    options = table(**(with_preset(values) if table is SimulateOptions else values))
    # An option that was given wrongly or misspelt is not reported as missing or wrong a second time.
    meant = {word.rstrip("?") for text in problems for word in text.split() if text.endswith("?")}
    problems += [text for text in check(options) if text.split()[0] not in meant | failed]
    if problems:
        raise UsageError("\n".join(problems))
    return CommandLine(command, options)


def job_directory(argv: Sequence[str]) -> str | None:
    """The value of ``--o`` in a command line that may be wrong in every other respect, None without one."""
    found = None
    for position, word in enumerate(argv):
        if word == "--o" and position + 1 < len(argv) and not argv[position + 1].startswith("--"):
            found = argv[position + 1]
        elif word.startswith("--o="):
            found = word[4:]
    return found or None


def help_text(command: str) -> str:
    """The help page of a command."""
    return _parser(command, for_help=True).format_help()


def _spellings(items: Any) -> dict[str, str]:
    """Every accepted spelling of every option, with dashes throughout -> the documented one."""
    known = {"--help": "--help"}
    for item in items:
        flag = flag_of(item)
        known[flag.replace("_", "-")] = flag
        for alias in info_of(item).aliases:
            known[alias.replace("_", "-")] = flag
        if isinstance(item.default, bool):
            known[f"--no-{flag[2:]}"] = f"{flag}=No"
    return known


def _canonical(word: str, spellings: Mapping[str, str]) -> str:
    """An option word in its documented spelling; other words as they are."""
    if not word.startswith("--"):
        return f" {word}" if re.match(r"-[.\d]", word) else word  # a blank tells argparse that "-1e-3" is a value
    name, equals, value = word.partition("=")
    flag = spellings.get(name.replace("_", "-"))
    if flag is None or (equals and "=" in flag):
        return word
    return flag + equals + value


def _unknown(words: Sequence[str], spellings: Mapping[str, str]) -> list[str]:
    """Problems for the words that argparse could not place."""
    problems = []
    after_option = False
    for word in words:
        if word.startswith("---"):
            label = word.strip("-")
            problems.append(
                f"unknown option {word}: RELION puts '--' in front of a parameter's label itself; write the label as "
                f"{label.partition('=')[0] or 'its name'}, without dashes"
            )
        elif word.startswith("-"):
            name = word.partition("=")[0]
            problems.append(f"unknown option {name}{_meant(name.replace('_', '-'), spellings)}")
        elif not after_option:
            problems.append(f"unexpected word '{word.strip()}': put quotes around values with blanks or wildcards")
        after_option = word.startswith("-") and "=" not in word
    return problems


def _meant(word: str, known: Mapping[str, Any]) -> str:
    """The end of a message that proposes the command or option most like `word`, empty where none is."""
    bare = {name.lstrip("-"): name for name in known}  # dashes are alike in all options and must not count
    close = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.6)
    if not close:
        return ""
    name = bare[close[0]]
    return f": did you mean {known[name].partition('=')[0] if name.startswith('--') else name}?"


def _value(item: Field[Any], text: str) -> Any:
    """Convert the text of an option to the type of its default."""
    flag, unit, text = flag_of(item), info_of(item).unit, text.strip()
    if isinstance(item.default, bool):
        if text == _NOTHING or text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise UsageError(f"{flag} {text}: must be Yes or No")
    if text == _NOTHING and item.default == _NOTHING:
        return text  # a field of RELION's form that was left empty
    if text == _NOTHING:
        raise UsageError(f"{flag}: its value is missing{f', a number in {unit}' if unit else ''}")
    if isinstance(item.default, int):
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{flag} {text}: must be a whole number") from None
    if text.lower() == AUTO and info_of(item).auto is not None:
        return info_of(item).auto
    if isinstance(item.default, float):
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{flag} {text}: must be a number{f' in {unit}' if unit else ''}") from None
    return text


def _parser(command: str, for_help: bool = False) -> argparse.ArgumentParser:
    """argparse's view of the table: every option takes one text or nothing, and only those given appear."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {command}",
        usage=f"{PROGRAM} {'[pick]' if command == DEFAULT_COMMAND else command} --option value ...",
        description=_description(command),
        epilog=_EXAMPLES.get(command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=for_help,
    )
    groups: dict[str, Any] = {}
    for item in fields(COMMANDS[command]):
        info = info_of(item)
        if info.group not in groups:
            groups[info.group] = parser.add_argument_group(info.group)
        optional: dict[str, Any] = {"nargs": "?", "const": _NOTHING}
        if info.several:
            optional = {"nargs": "*"}
        elif for_help and not isinstance(item.default, bool):
            optional = {}  # the help must not say that the value may be left out
        groups[info.group].add_argument(
            flag_of(item), dest=item.name, metavar=_metavar(item), help=_help(item), **optional
        )
    return parser


def _description(command: str) -> str:
    text = (COMMANDS[command].__doc__ or "").strip()
    if command != DEFAULT_COMMAND:
        return text
    others = [f"  {name:10}{(table.__doc__ or '').strip()}" for name, table in COMMANDS.items()]
    return "\n".join([text, "", f"commands ({PROGRAM} COMMAND --help for their options; without one, pick):", *others])


def _metavar(item: Field[Any]) -> str:
    info = info_of(item)
    if info.metavar:
        return info.metavar
    if isinstance(item.default, bool):
        return "Yes|No"
    return info.unit or ("N" if isinstance(item.default, (int, float)) else "NAME")


def _help(item: Field[Any]) -> str:
    info, default = info_of(item), item.default
    notes = [f"unit: {info.unit}"] if info.unit else []
    if info.choices:
        notes.append(f"one of {', '.join(info.choices)}")
    if info.required:
        notes.append(f"required, but not with --mode {info.unless}" if info.unless else "required")
    elif default != "" and not (isinstance(default, float) and default < info.low):  # below: it means "not given"
        value = ("Yes" if default else "No") if isinstance(default, bool) else default
        notes.append(f"default {value:g}" if isinstance(value, float) else f"default {value}")
    return f"{info.help} [{'; '.join(notes)}]".replace("%", "%%") if notes else info.help.replace("%", "%%")
