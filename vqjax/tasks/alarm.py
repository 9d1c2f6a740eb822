"""What is wrong with the numbers of a step, for people."""

from collections.abc import Mapping
from typing import Any

from vqjax.types import Alarm


def dying_codes(quantizer: Any, numbers: Mapping[str, float]) -> Alarm | None:
    """Whether fewer codes are alive than the quantizer's policy `watch` puts up with."""
    watch = getattr(quantizer, "watch", None)
    alive = [v for name, v in numbers.items() if name.partition("/")[0] == "codebook_alive"]
    if watch is None or not alive or min(alive) >= watch.alarm:
        return None
    share = f"{min(alive):.1%}"
    remedies = [
        f"task.tokenizer.{text}" if text.startswith("quantizer.") else text
        for text in quantizer.remedies
    ]
    return Alarm(
        short=f"{share} of codes",
        line=f"only {share} of {quantizer.codebook_size:,} codes are in use (alarm below "
        f"{watch.alarm:.0%}); what may help: {', or '.join(remedies)}",
    )
