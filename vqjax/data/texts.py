"""Texts in a batch: the bytes of their UTF-8, uint8[b, L], with zeros behind them."""

import numpy as np


def to_bytes(text: str | bytes, length: int) -> np.ndarray:
    """Returns the UTF-8 of `text`, cut after the last whole character that fits: uint8[length].

    Bytes that are no UTF-8 become U+FFFD; zeros, which would end the caption, are left out.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    data = text.replace("\0", "").encode("utf-8", "replace")[:length]
    data = data.decode("utf-8", "ignore").encode()  # only the last character can be incomplete
    return np.frombuffer(data.ljust(length, b"\0"), np.uint8)


def to_text(caption: np.ndarray) -> str:
    """Returns what is written in uint8[L]."""
    return caption.tobytes().rstrip(b"\0").decode("utf-8", "replace")
