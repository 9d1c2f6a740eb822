"""Packs on the Hub, fetched from a server on this machine that answers as the Hub does."""

import contextlib
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.data import Digits
from vqjax.hub import is_hub, run_path
from vqjax.tasks import TokenizerTask
from vqjax.types import DataError, UsageError

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/digits"


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository of the files in `server.files`, {name: content}; `server.lies` are about it:
    {"size" or "etag": what is said of the model}.
    """

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        revision = f"/api/models/{REPO}/revision/"
        if path.startswith(revision):
            known = path.removeprefix(revision) in ("main", "v1", COMMIT)
            return self.answer(self.info()) if known else self.missing("RevisionNotFound")
        if path.startswith(f"/api/models/{REPO}/tree/"):
            return self.answer(json.dumps(self.tree()).encode())
        resolved = f"/{REPO}/resolve/{COMMIT}/"
        name = path.removeprefix(resolved)
        if path.startswith(resolved) and name in self.server.files:
            return self.file(name)
        return self.missing("RepoNotFound")

    def info(self):
        siblings = [{"rfilename": name} for name in self.server.files]
        return json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode()

    def tree(self):
        return [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.server.files.items()
        ]

    def file(self, name):
        content = self.server.files[name]
        lies = self.server.lies if name == "model.safetensors" else {}
        etag = lies.get("etag", hashlib.sha256(content).hexdigest())
        size = lies.get("size", len(content))
        self.answer(content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, size)

    def answer(self, content, headers=(), size=None):
        self.send_response(200)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if size is None else size))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self.wfile.write(content)
                self.close_connection = True

    def missing(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def pack(make_run, tmp_path_factory):
    weights = {"l1": 1.0, "commitment": 0.25}
    made = tiny.vqvae(task=TokenizerTask(tiny.dense(), loss_weights=weights), data=Digits())
    folder = tmp_path_factory.mktemp("pack") / "digits"
    assert main(["pack", str(make_run(made, name="hub")), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def server(pack, monkeypatch, tmp_path):
    """The Hub with the pack in it; its client's cache is empty."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        files = (p for p in pack.rglob("*") if p.is_file())
        server.files = {p.relative_to(pack).as_posix(): p.read_bytes() for p in files}
        server.files["code.py"] = b"raise SystemExit"
        server.lies = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        from huggingface_hub import constants

        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)  # read when it was imported
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
        server.shutdown()


def test_a_run_by_its_name_on_the_hub(server, pack, capsys):
    images = vqjax.load(pack).held_out(3)
    run = vqjax.load(f"hf://{REPO}")
    np.testing.assert_array_equal(run.reconstruct(images), vqjax.load(pack).reconstruct(images))
    assert COMMIT in run.path and not list(run_path(f"hf://{REPO}@v1").glob("*.py"))
    assert main(["inspect", f"hf://{REPO}@{COMMIT}"]) == 0
    assert f"commit {COMMIT}" in capsys.readouterr().err
    with pytest.raises(DataError, match="cannot be fetched"):
        vqjax.load(f"hf://{REPO}@v2")
    assert main(["inspect", "hf://someone/else"]) == 3
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_lies_are_one_line(server):
    url = f"hf://{REPO}"

    def refused():
        with pytest.raises(DataError) as error:
            vqjax.load(url)
        assert "\n" not in str(error.value)
        return str(error.value)

    whole = dict(server.files)
    server.lies = {"size": len(whole["model.safetensors"]) + 1}
    assert "cannot be fetched" in refused()
    server.lies = {}
    content = bytearray(whole["model.safetensors"])
    content[-1] ^= 1
    server.files = {**whole, "model.safetensors": bytes(content)}
    assert "model.safetensors differs from its seal" in refused()


def test_what_leads_out_of_its_folder_is_refused(server, tmp_path):
    server.files["samples/../../../../../evil.png"] = b"x"
    with pytest.raises(DataError, match=f"hf://{REPO}"):
        vqjax.load(f"hf://{REPO}")
    assert not list(tmp_path.rglob("evil.png"))


def test_names_that_are_none(monkeypatch):
    for url in ("hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://../x/y"):
        assert is_hub(url)
        with pytest.raises(UsageError, match="wanted hf://ORG/NAME"):
            run_path(url)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match="needs huggingface_hub: pip install"):
        run_path("hf://a/b")


def test_without_a_network(tmp_path):
    """In a process of its own: the client reads the environment when it is imported."""
    code = "import sys; from vqjax.cli.main import main; sys.exit(main(['inspect', 'hf://a/b']))"
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": shutil.os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True
    )
    assert done.returncode == 3 and "hf://a/b cannot be fetched" in done.stderr
