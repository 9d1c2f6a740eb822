"""Captions in a batch: the bytes of their UTF-8, uint8[b, L], with zeros behind them."""

from typing import Any

import numpy as np

from vqjax.data.tf_data import tensorflow


def to_bytes(text: str | bytes, length: int) -> np.ndarray:
    """Returns the UTF-8 of `text`, cut after the last whole character that fits: uint8[length].

    Bytes that are not UTF-8 become U+FFFD; zeros, which would end the caption, are left out.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    data = text.replace("\0", "").encode("utf-8", "replace")[:length]
    data = data.decode("utf-8", "ignore").encode()  # only the last character can be incomplete
    return np.frombuffer(data.ljust(length, b"\0"), np.uint8)


def tensor_to_bytes(text: Any, length: int) -> Any:
    """Does for a string tensor of valid UTF-8 what `to_bytes` does: uint8[length]."""
    tf = tensorflow()
    data = tf.io.decode_raw(text, tf.uint8, fixed_length=length)  # filled with zeros, or cut
    positions = tf.range(length)
    start = tf.reduce_max(tf.where(data & 0xC0 != 0x80, positions, 0))  # of the last character
    needed = 1 + tf.reduce_sum(tf.cast(data[start] >= (0xC0, 0xE0, 0xF0), tf.int32))
    end = tf.where(start + needed > length, start, length)
    return tf.where(positions < end, data, 0)


def to_text(caption: np.ndarray) -> str:
    """Returns the text in uint8[L]."""
    return caption.tobytes().rstrip(b"\0").decode("utf-8", "replace")
