"""The two files of LPIPS, fetched from where they were published; nothing fetches them unasked."""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable

from vqjax.types import DataError

CHUNK = 1 << 20  # bytes
SECONDS = 30.0  # without an answer
SPARE = 1 << 26  # bytes of the disk that stay free


@dataclasses.dataclass(frozen=True)
class Published:
    """A file that somebody publishes.

    Attributes:
        url: of it.
        name: under which it is kept.
        sha256: what its hash begins with, as its publisher says; all 64 digits where he says all.
        licence: of the file, in words.
    """

    url: str
    name: str
    sha256: str
    licence: str


LPIPS = (
    Published(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "vgg16-397923af.pth",
        "397923af",  # its name says it
        "VGG16 of torchvision, BSD 3-Clause (code); trained on ImageNet",
    ),
    Published(
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/"
        "v0.1/vgg.pth",
        "vgg.pth",
        # Of the same file inside the PyPI wheel lpips 0.1.4.
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "heads of the package lpips, BSD 2-Clause",
    ),
)


def fetch(
    file: Published,
    folder: pathlib.Path,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> bool:
    """Puts a published file into `folder`, whole or not at all.

    Args:
        report: called with the bytes so far and of all, None where the server does not say.

    Returns:
        Whether it was fetched; False where it was there.

    Raises:
        DataError: it cannot be fetched or written, or is not the file that was published.
    """
    path = folder / file.name
    if path.exists():
        _check(path, file)
        return False
    part = folder / f".{file.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(file.url, timeout=SECONDS) as answer, part.open("wb") as out:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            if total is not None and total > shutil.disk_usage(folder).free - SPARE:
                raise DataError(f"{folder} has no room for {total:,} bytes")
            done = 0
            while content := answer.read(CHUNK):
                out.write(content)
                done += len(content)
                report(done, total)
        if total not in (None, done):
            raise DataError(f"{file.url} ended after {done:,} of {total:,} bytes")
        _check(part, file)
        os.replace(part, path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(f"{file.url} cannot be fetched: {reason}") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _check(path: pathlib.Path, file: Published) -> None:
    try:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not found.startswith(file.sha256):
        raise DataError(
            f"{path.name} is not the file that was published: its sha256 is {found[:12]}..., not "
            f"{file.sha256[:12]}..."
        )
