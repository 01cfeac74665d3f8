"""Scipion forms from the table of options, and what was entered as a command line.

Every field of an options dataclass that a Scipion user has to decide on becomes a parameter of the same name. A choice
is a menu; presets have one menu for each mode, ``preset_MODE``, because the modes have different ones.
"""

from __future__ import annotations

import math
from dataclasses import fields

from pyworkflow.protocol import LEVEL_ADVANCED, LEVEL_NORMAL, params

from relion_ext_picker.options import PRESETS_OF, check, default_of, flag_of, info_of

__all__ = ["add_options", "entered", "messages", "words"]

_ELSEWHERE = ("o", "j", "gpu", "relion_version", "report", "pipeline_control")  # set by the protocol or not at all


def shown(table, hidden=()):
    """Fields of an options dataclass that become parameters of a form, in the order of the table."""
    names = (*_ELSEWHERE, *hidden)
    return [
        item for item in fields(table) if item.name not in names and info_of(item).group not in ("RELION", "Headless")
    ]


def modes_of(table):
    """The modes that a command has, in the order of its menu; none for a command without modes."""
    return next((info_of(item).choices for item in fields(table) if item.name == "mode"), ())


def add_options(form, table, section, basic, hidden=()):
    """Add the options of a command to a form.

    Parameters
    ----------
    form : pyworkflow.protocol.params.Form
    table : type
        Options dataclass.
    section : str
        Heading of the section that takes them.
    basic : sequence of str
        Fields that everybody sees; the others are of the advanced level.
    hidden : sequence of str
        Fields that the protocol supplies by other means.
    """
    form.addSection(label=section)
    for item in shown(table, hidden):
        level = LEVEL_NORMAL if item.name in basic else LEVEL_ADVANCED
        if item.name == "preset":
            for number, mode in enumerate(modes_of(table)):
                choices = [preset for preset in PRESETS_OF[mode] if preset in info_of(item).choices]
                form.addParam(
                    f"preset_{mode}", params.EnumParam, choices=choices, default=0, expertLevel=level,
                    condition=f"mode=={number}", label=_label(item), help=_help(item),
                )  # fmt: skip
            continue
        mode = info_of(item).mode
        condition = {"condition": f"mode=={modes_of(table).index(mode)}"} if mode else {}
        form.addParam(item.name, *_kind(item), expertLevel=level, label=_label(item), help=_help(item), **condition,
                      **_start(item))  # fmt: skip


def _kind(item):
    """Class of the parameter."""
    default, info = default_of(item), info_of(item)
    if info.choices and not info.many:
        return (params.EnumParam,)
    kinds = {bool: params.BooleanParam, int: params.IntParam, float: params.FloatParam}
    return (kinds.get(type(default), params.FileParam if info.metavar == "FILE" else params.StringParam),)


def _start(item):
    """Keyword arguments with the default value."""
    default, info = default_of(item), info_of(item)
    if info.choices and not info.many:
        return {"choices": list(info.choices), "default": info.choices.index(default)}
    return {"default": default, "allowsNull": True} if isinstance(default, str) else {"default": default}


def _label(item):
    unit = info_of(item).unit
    name = item.name.replace("_", " ")
    return (name[0].upper() + name[1:]) + (f" ({unit})" if unit else "")


def _help(item):
    info = info_of(item)
    allowed = ""
    if math.isfinite(info.low) and math.isfinite(info.high):
        allowed = "\n\nAllowed: {:.10g} to {:.10g}{}.".format(info.low, info.high, " " + info.unit if info.unit else "")
    return f"{info.help}{allowed}\n\nOption *{flag_of(item)}* of the program."


def entered(protocol, table, hidden=()):
    """What a user entered: field -> value, without the options that the chosen mode does not have."""
    values = {}
    mode = protocol.getEnumText("mode") if modes_of(table) else ""
    for item in shown(table, hidden):
        info = info_of(item)
        if info.mode and info.mode != mode:
            continue
        if item.name == "preset":
            choice = getattr(protocol, f"preset_{mode}")
            values["preset"] = protocol.getEnumText(f"preset_{mode}") if choice.hasValue() else default_of(item)
        elif info.choices and not info.many:
            values[item.name] = protocol.getEnumText(item.name)
        else:
            value = getattr(protocol, item.name).get()
            values[item.name] = default_of(item) if value is None else value
    return values


def messages(table, values):
    """Problems of the values, by the rules of the table; files that the protocol supplies do not count."""
    options = table(**{"o": "job", **values})
    return check(options)


def words(table, values):
    """The values as words of a command line; those that equal the default are left out."""
    found = []
    for item in fields(table):
        value = values.get(item.name, default_of(item))
        if value != default_of(item):
            found += [flag_of(item), _text(value)]
    return found


def _text(value):
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return repr(value) if isinstance(value, float) else str(value)
