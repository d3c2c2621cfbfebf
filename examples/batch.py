"""The documentation's batch, and the same job here.

The documentation gathers `session.post` over a list of prompts: all at once, whatever the plan allows (and no
more than a hundred, where aiohttp's pool ends and responses are never released), no look at the status,
everything in memory, and a second run buys every picture again. These lines keep to the limit, store each
picture as it comes, say what failed and why, and carry on where they stopped.
"""

import asyncio
import sys

from asi_image_async import DiskSink, ImageSession

PROMPTS = ["a serene mountain landscape", "a futuristic city at night", "a cozy cabin in the woods"]

# The documentation's, shortened:
#
#     async with aiohttp.ClientSession(headers=headers) as session:
#         tasks = [session.post(URL, json={"prompt": prompt, "size": "1024x1024"}) for prompt in PROMPTS]
#         responses = await asyncio.gather(*tasks)
#         return [await response.json() for response in responses]


async def main(folder: str = "scenes") -> int:
    async with ImageSession(rate_limit=["3/min", "500/day"]) as session:
        report = await session.run(PROMPTS, DiskSink(folder), journal=f"{folder}/.asi-image/journal.sqlite")
    print(f"{report.succeeded} new, {report.skipped} from an earlier run, {report.failed} failed")
    for failure in report.failures:
        print(f"{failure.request.prompt}: {failure.error} ({failure.error.hint})")
    if report.stopped_by:
        print(f"stopped: {report.stopped_by} ({report.stopped_by.hint})")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
