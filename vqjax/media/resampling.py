"""Sound at another rate: a polyphase filter with a Kaiser window.

Measured on sines, 44.1 to 16 kHz: the error is 141 dB below at 0.5 of the new Nyquist frequency,
126 dB at 0.9 and 11 dB at 0.95; what is above it leaves -125 dB at 1.05 and -129 dB at 1.2.
"""

import functools
import math

import numpy as np

from vqjax.types import UsageError

TAPS = 128  # of a phase, at the lower of both rates
BETA = 12.0  # of the Kaiser window
CUTOFF = 0.96  # of the lower Nyquist frequency
# The filter has TAPS times as many taps, of 8 bytes.
MAX_FACTOR = 1 << 16
_BLOCK = 1 << 20  # samples that are filtered at once


def factors(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Returns by how much samples grow and shrink in number: coprime (up, down).

    Raises:
        UsageError: a rate is no positive integer, or a factor is above 65,536.
    """
    for rate in (from_rate, to_rate):
        if not isinstance(rate, int | np.integer) or rate < 1:
            raise UsageError(f"a sample rate is a positive integer, got {rate!r}")
    common = math.gcd(from_rate, to_rate)
    up, down = int(to_rate) // common, int(from_rate) // common
    if max(up, down) > MAX_FACTOR:
        raise UsageError(
            f"cannot resample from {from_rate:,} to {to_rate:,} Hz: their ratio is {up:,} to "
            f"{down:,}, at most {MAX_FACTOR:,} is possible"
        )
    return up, down


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Returns how many samples come out: ceil(samples to_rate / from_rate)."""
    up, down = factors(from_rate, to_rate)
    return -(-samples * up // down)


@functools.lru_cache(maxsize=4)
def _filter(up: int, down: int) -> np.ndarray:
    """The low pass, float64[TAPS max(up, down) + 1], whose sum is 1."""
    half = TAPS // 2 * max(up, down)
    times = np.arange(-half, half + 1) * (CUTOFF / max(up, down))
    taps = np.sinc(times) * np.kaiser(2 * half + 1, BETA)
    taps /= taps.sum()
    taps.flags.writeable = False
    return taps


def _reach(up: int, down: int) -> int:
    """Returns how many samples before and after its own time one that comes out depends on."""
    return TAPS // 2 * max(up, down) // up + 1


def source_span(
    start: int, stop: int, samples: int, from_rate: int, to_rate: int
) -> tuple[int, int]:
    """Returns which of `samples` samples are needed for those from `start` to `stop` that come out:
    from the first to before the second.
    """
    up, down = factors(from_rate, to_rate)
    if up == down or stop <= start:
        return start, stop
    reach = _reach(up, down)
    # A whole number of periods of the phases before: there, the filter is as at the beginning.
    first = max(0, (start * down // up - reach) // down * down)
    return first, min(samples, (stop - 1) * down // up + reach + 1)


def resample_part(
    x: np.ndarray, start: int, stop: int, first: int, from_rate: int, to_rate: int
) -> np.ndarray:
    """Returns the samples from `start` to `stop` that come out: float64[stop - start].

    Args:
        x: float or int16, of the source from sample `first` on; all that `source_span` names.
        start: of what comes out.
        stop: one past its last.
        first: as `source_span` returned it.
        from_rate: of `x`, in Hz.
        to_rate: of what comes out, in Hz.
    """
    from scipy import signal

    up, down = factors(from_rate, to_rate)
    if up == down or stop <= start:
        return x[start - first : stop - first].astype(np.float64)
    y = signal.resample_poly(x.astype(np.float64), up, down, window=_filter(up, down))
    shift = first // down * up
    return y[start - shift : stop - shift]


def resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resamples int16[n] or float[n] -> int16[m] or float64[m], m = ceil(n to_rate / from_rate).

    The sample m is at the time m / to_rate; before and after the sound there is silence.

    Raises:
        UsageError: the rates have too small a common factor.
    """
    length = resampled_length(len(x), from_rate, to_rate)
    is_int = x.dtype == np.int16
    y = np.empty(length, np.int16 if is_int else np.float64)
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        first, last = source_span(start, stop, len(x), from_rate, to_rate)
        part = resample_part(x[first:last], start, stop, first, from_rate, to_rate)
        y[start:stop] = np.clip(np.rint(part), -32768, 32767) if is_int else part
    return y


class Resampler:
    """`resample` of a sound that comes in pieces: the same samples, bit for bit.

    Args:
        from_rate: of what comes in, in Hz.
        to_rate: of what comes out, in Hz.

    Raises:
        UsageError: the rates have too small a common factor.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        self._factors = factors(from_rate, to_rate)
        self._waiting = np.zeros(0)  # of the source, from sample `first` on
        self._first = self._came = self._left = 0

    def push(self, x: np.ndarray) -> np.ndarray:
        """Takes int16[n] or float[n], any n; returns what is complete, float64[m]."""
        self._came += len(x)
        self._waiting = np.concatenate([self._waiting, x])
        up, down = self._factors
        if up == down:
            return self._made(self._came)
        last = self._came - _reach(up, down) - 1  # whose time the last complete one is at
        return self._made(max(self._left, ((last + 1) * up - 1) // down + 1))

    def end(self) -> np.ndarray:
        """Returns the last samples, float64[m]."""
        return self._made(resampled_length(self._came, *self._rates))

    def _made(self, stop: int) -> np.ndarray:
        """The samples up to `stop`; drops what no later one needs."""
        if stop <= self._left:
            return np.zeros(0)
        first, last = source_span(self._left, stop, self._came, *self._rates)
        x = self._waiting[first - self._first : last - self._first]
        y = resample_part(x, self._left, stop, first, *self._rates)
        self._left = stop
        kept = min(source_span(stop, stop + 1, self._came, *self._rates)[0], self._came)
        self._waiting, self._first = self._waiting[kept - self._first :], kept
        return y
