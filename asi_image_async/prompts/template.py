"""One template, many prompts: every combination of what its names may stand for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from string import Formatter

from ..errors import ConfigurationError
from ..models import ImageRequest

__all__ = ["Expansion", "expand", "names_in"]


def expand(
    template: str, /, *, size: str | None = "1024x1024", model: str = "asi1-mini", **values: Iterable[object]
) -> Expansion:
    """Every combination: `expand("a {style} fox", style=["oil", "ink"])` has two requests.

    It has a length before anything is made, and can be read again and again; the last name turns fastest.
    Which values made a prompt is kept in its `metadata`. `{{` and `}}` stand for braces. Raises
    ConfigurationError for a template that is none, and where its names and `values` do not agree.
    """
    if taken := {"size", "model"} & set(names_in(template)):
        raise ConfigurationError(
            f"{{{min(taken)}}} in the template has the name of a setting", hint="Give it another name."
        )
    return Expansion(template, values, size=size, model=model)


class Expansion:
    """The requests of a template: `len()` tells how many, iterating makes them."""

    def __init__(
        self,
        template: str,
        values: Mapping[str, Iterable[object]],
        *,
        size: str | None = "1024x1024",
        model: str = "asi1-mini",
    ) -> None:
        names = names_in(template)
        for name, each in values.items():
            if isinstance(each, str) or not isinstance(each, Iterable):
                raise ConfigurationError(
                    f"the values of {{{name}}} are a list, not {type(each).__name__}",
                    hint=f"For one alone: {name}=[{each!r}].",
                )
        texts = {name: tuple(map(str, each)) for name, each in values.items()}
        for name in names:
            if not texts.get(name):
                raise ConfigurationError(
                    f"the template's {{{name}}} has no values",
                    hint=f'Say what it may be: {name}=["this", "that"].',
                )
        for name in texts:
            if name not in names:
                raise ConfigurationError(
                    f"the template has no {{{name}}}", hint=f"Its names are: {', '.join(names) or 'none'}."
                )
        self.values = {name: texts[name] for name in names}
        if math.prod(map(len, self.values.values())) > sys.maxsize:
            raise ConfigurationError("more combinations than can be counted", hint="Leave some values out.")
        self._template = template
        self._settings = {"size": size, "model": model}
        next(iter(self))  # what is wrong with one of them in size or model is wrong with all

    def __len__(self) -> int:
        return math.prod(map(len, self.values.values()))

    def __iter__(self) -> Iterator[ImageRequest]:
        for chosen in product(*self.values.values()):
            named = dict(zip(self.values, chosen, strict=True))
            prompt = self._template.format(**named)
            yield ImageRequest.of({"prompt": prompt, "metadata": named}, **self._settings)


def names_in(template: str) -> Sequence[str]:
    """The names in braces, in order, each once. Raises ConfigurationError."""
    if not isinstance(template, str):
        raise ConfigurationError(f"a template is text, not {type(template).__name__}")
    names: dict[str, None] = {}
    try:
        for _, name, form, conversion in Formatter().parse(template):
            if name is None:
                continue
            if form or conversion or not name.isidentifier():
                said = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
                raise ValueError(f"{{{said}}} is not a plain name")
            names[name] = None
    except ValueError as error:
        raise ConfigurationError(
            f"not a template: {error}", hint="Write {name}, and {{ or }} for a brace."
        ) from None
    return tuple(names)
