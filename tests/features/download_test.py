"""The files of LPIPS, from a server on this machine."""

import dataclasses
import hashlib
import http.server
import threading

import pytest

from vqjax.cli.main import main
from vqjax.features import download

CONTENT = {"/vgg16-397923af.pth": b"backbone" * 1000, "/vgg.pth": b"heads"}


class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        size = len(content or b"") + self.server.missing
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(content or b"")


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.files, server.missing = dict(CONTENT), 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        files = []
        for file in download.LPIPS:
            url = f"http://127.0.0.1:{server.server_address[1]}/{file.name}"
            whole = hashlib.sha256(CONTENT[f"/{file.name}"]).hexdigest()
            known = whole[: len(file.sha256)]
            files.append(dataclasses.replace(file, url=url, sha256=known))
        monkeypatch.setattr(download, "LPIPS", tuple(files))
        yield server
        server.shutdown()


def test_both_files_come_to_where_experiments_look(server, tmp_path, capsys):
    assert main(["prepare", "lpips"]) == 0
    said = capsys.readouterr()
    assert said.out.count("fetched weights/") == 2 and said.err.count("BSD") == 2
    for name, content in CONTENT.items():
        assert (tmp_path / "weights" / name[1:]).read_bytes() == content
    server.files.clear()
    assert main(["prepare", "lpips"]) == 0  # nothing is fetched twice
    assert capsys.readouterr().out.count("there already") == 2
    assert main(["prepare", "lpips", "--data-dir", "x"]) == 2
    assert main(["prepare", "mnist", "--out", "x"]) == 2


def test_what_was_not_published_is_refused_and_nothing_is_left(server, tmp_path, capsys):
    def refused(line):
        assert main(["prepare", "lpips", "--out", "w"]) == 3
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert line in error and "put it there as w/vgg" in error
        assert not list((tmp_path / "w").glob(".*"))

    server.files["/vgg16-397923af.pth"] = b"other"
    refused("is not the file that was published")
    server.files, server.missing = dict(CONTENT), 5
    refused("of 8,005 bytes")
    server.files, server.missing = {}, 0
    refused("Not Found")
    server.shutdown()
    server.server_close()
    refused("refused")
    (tmp_path / "w" / "vgg16-397923af.pth").write_bytes(b"somebody's own")
    refused("is not the file that was published")
    assert (tmp_path / "w" / "vgg16-397923af.pth").read_bytes() == b"somebody's own"


def test_the_hash_of_the_backbone_is_in_its_name():
    backbone, heads = download.LPIPS
    assert backbone.sha256 in backbone.name and len(heads.sha256) == 64
