"""The commands and their options; what they do is imported when they are called, so that help is quick."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from .frame import Work, app, command
from .options import BaseUrl, Dest, Emulate, Json, Model, Retries, Size, Timeout, named

__all__ = ["app"]


@command
def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the picture shows.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write, over one that is there.",
            show_default="the prompt's words, and never one that is there",
        ),
    ] = None,
    size: Size = "square",
    model: Model = "asi1-mini",
    base_url: BaseUrl = None,
    timeout: Timeout = 120.0,
    retries: Retries = 3,
    emulate: Emulate = False,
) -> Work:
    """Ask for one picture, and print the path of its file."""
    from .generate import GenerateOptions
    from .generate import generate as run
    from .service import ServiceOptions

    service = ServiceOptions(base_url=base_url, timeout=timeout, retries=retries, emulate=emulate)
    options = GenerateOptions(prompt=prompt, output=output, size=size, model=model, service=service)
    return partial(run, options)


@command
def batch(
    out: Annotated[str, typer.Option("--out", metavar="DEST", help="The folder for the pictures.")],
    prompts: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPTS",
            help="A file: .txt (a prompt a line), .jsonl, .csv or .tsv; - is standard input.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help='Instead of a file: "a {style} painting of {subject}".'),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUES",
            help="What a name stands for: style=oil,ink or subject=@lines.txt.",
        ),
    ] = None,
    size: Size = "square",
    model: Model = "asi1-mini",
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Requests in flight at once.")] = 8,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE",
            help="A limit to keep, such as 3/min or 20/10s; again for another, such as 500/day; none; or"
            " auto, which finds it.",
            show_default="auto",
        ),
    ] = None,
    retries: Retries = 3,
    timeout: Timeout = 120.0,
    base_url: BaseUrl = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N prompts of the file.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="X", help="What all runs into DEST may cost; needs --price."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, metavar="X", help="The price of a picture, in the same money.")
    ] = None,
    stop_on_quota: Annotated[
        bool,
        typer.Option(
            "--stop-on-quota",
            help="Stop, rather than wait, where a --rate leaves nothing to ask for over five minutes.",
        ),
    ] = False,
    no_resend_unknown: Annotated[
        bool,
        typer.Option(
            "--no-resend-unknown",
            help="Leave out what an earlier run may have paid for without getting a picture.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked for; send nothing.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    no_gallery: Annotated[
        bool, typer.Option("--no-gallery", help="Make no index.html to look through the pictures.")
    ] = False,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Keep the request with each new picture: none, sidecar (a file beside it), embed.",
        ),
    ] = "none",
    emulate: Emulate = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only what went wrong.")] = False,
) -> Work:
    """Turn a list of prompts into a folder of pictures.

    The same line again carries on where it stopped, and asks for nothing twice. Ctrl-C stops asking and
    finishes what is in flight; a second one stops at once.

    Exit status: 0 all done, 1 some failed, 2 wrong usage or configuration, 3 stopped early (key refused,
    disk full), 4 stopped by a limit to come back after (quota), 130 interrupted.
    """
    from .batch import BatchOptions
    from .batch import batch as run
    from .service import ServiceOptions

    service = ServiceOptions(
        base_url=base_url,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        rates=tuple(rate or ()),
        emulate=emulate,
    )
    options = BatchOptions(
        prompts=prompts,
        template=template,
        sets=tuple(sets or ()),
        out=out,
        size=size,
        model=model,
        service=service,
        limit=limit,
        max_cost=max_cost,
        price=price,
        stop_on_quota=stop_on_quota,
        ask_unknown_again=not no_resend_unknown,
        dry_run=dry_run,
        fail_fast=fail_fast,
        gallery=not no_gallery,
        recipe=recipe,
        json=json,
        quiet=quiet,
    )
    return partial(run, options)


@command
def status(
    dest: Dest,
    json: Json = False,
) -> Work:
    """Tell what is done, failed and left; while a batch goes on, too.

    Exit status: 0 all done, 1 something is missing, 2 no batch was run into this folder.
    """
    from .status import status as run

    return partial(run, dest, json=json)


@command
def lint(
    prompts: Annotated[
        str,
        typer.Argument(
            metavar="PROMPTS",
            help="A file as batch takes it: .txt, .jsonl, .csv or .tsv; - is standard input.",
        ),
    ],
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail where one is poor, too long, or the same as another, or nearly."),
    ] = False,
    json: Json = False,
) -> Work:
    """Apply the documentation's advice to a list of prompts.

    Be specific, be descriptive, name the perspective, add context: a prompt has 25 points for each that its
    words follow (English only). It is good from 75 on, poor under 50.

    Exit status: 0, or with --strict 1 where one is to be mended, 2 wrong usage.
    """
    from .lint import lint as run

    return partial(run, prompts, strict=strict, json=json)


@command
def gallery(
    dest: Dest,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The page to write.", show_default="DEST/index.html"
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Serve it on this machine instead; pictures appear as they arrive."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where --watch listens; 0 is any free port.")
    ] = 0,
) -> Work:
    """Make one page to look through the pictures.

    It needs no server and no network. Prints its path.
    """
    from .gallery import gallery as run

    return partial(run, dest, output, watch=watch, port=port)


@command
def export(
    dest: Dest,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="The file to write, over one that is there; - is standard output. For tar files a folder.",
            callback=named,
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="webdataset, parquet or csv.")],
) -> Work:
    """Write pictures and prompts as training tools read them.

    The pictures go out byte for byte, with all that is known of each. Prints the paths of what was written.
    """
    from .export import export as run

    return partial(run, dest, path, to=to)


@command
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A picture of a batch with --recipe.")],
    json: Json = False,
) -> Work:
    """Print the request that a picture was made for.

    It is found in the picture, or in the file beside it.

    Exit status: 0, or 1 where there is none, 2 wrong usage.
    """
    from .inspect import inspect as run

    return partial(run, file, json=json)


@command
def emulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 is any free port.")] = 8765,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    latency: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long a picture takes.")
    ] = 0.0,
    rate: Annotated[
        list[str] | None,
        typer.Option(metavar="RATE", help="A limit to keep up, such as 3/min; may be repeated."),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="The shape of its replies: A, B, C, or one of D to G, such as E-link.")
    ] = "A",
    key: Annotated[str | None, typer.Option(help="The only key to accept.", show_default="any")] = None,
) -> Work:
    """Run the service on your own machine, until Ctrl-C."""
    from .emulate import emulate as run

    return partial(run, host=host, port=port, latency=latency, rates=tuple(rate or ()), shape=shape, key=key)
