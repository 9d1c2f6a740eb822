"""Records what torch and librosa compute from given signals: record_audio.py DIR.

Runs by `make parity` in its environment. DIR/audio.safetensors then holds

    signal                  float32[2, 160]
    stft/SIZE_HOP_..._real  torch.stft of it; and _imag
    mel/RATE_SIZE_MELS_...  librosa.filters.mel, transposed: [bins, mels]
"""

import itertools
import pathlib
import sys

import librosa
import numpy as np
import torch
from safetensors.numpy import save_file

FILE = "audio.safetensors"
STFT = ((64, 16, 64), (64, 24, 48), (50, 7, 50))  # size, hop, window
MEL = ((8000, 128, 12, 0.0, None), (16000, 200, 16, 50.0, 7000.0))  # rate, size, mels, low, high


def main(folder: pathlib.Path) -> None:
    signal = np.random.default_rng(0).normal(size=(2, 160)).astype(np.float32)
    arrays = {"signal": signal}
    for (size, hop, window), center, normalized in itertools.product(STFT, (0, 1), (0, 1)):
        spectrum = torch.stft(
            torch.from_numpy(signal),
            size,
            hop,
            window,
            torch.hann_window(window),
            center=bool(center),
            normalized=bool(normalized),
            return_complex=True,
        )
        spectrum = spectrum.transpose(1, 2).numpy()  # [2, frames, bins]
        name = f"stft/{size}_{hop}_{window}_{center}_{normalized}"
        arrays |= {f"{name}_real": spectrum.real.copy(), f"{name}_imag": spectrum.imag.copy()}
    for (rate, size, mels, low, high), htk, area in itertools.product(MEL, (0, 1), (0, 1)):
        filters = librosa.filters.mel(
            sr=rate, n_fft=size, n_mels=mels, fmin=low, fmax=high, htk=bool(htk),
            norm="slaney" if area else None,
        )  # fmt: skip
        arrays[f"mel/{rate}_{size}_{mels}_{htk}_{area}"] = np.ascontiguousarray(filters.T)
    save_file(arrays, folder / FILE)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
