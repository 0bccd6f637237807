import socket
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from zoo.networks.connection import no_connection
from zoo.networks.encoder import Encoder


class _Answers(BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self):
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(monkeypatch):
    """Address of a server here that answers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


@pytest.fixture
def silent(monkeypatch):
    """Address of a server here that takes connections and never answers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/file"


@pytest.mark.parametrize("status, reachable", [(200, True), (404, True), (403, True), (429, False), (503, False)])
def test_a_server_that_answers_is_there_unless_it_is_busy(served, monkeypatch, status, reachable):
    monkeypatch.setattr(_Answers, "status", status)
    assert (not no_connection(served)) == reachable


def test_what_is_wrong_is_said_with_the_server(silent):
    said = no_connection(silent, seconds=0.2)
    assert said.startswith(f"no connection to {silent.removesuffix('/file')}: ") and len(said.splitlines()) == 1


def test_timm_asks_the_hub_only_for_what_it_keeps_where_there_is_no_connection(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("timm")
    trunk = Encoder("timm:resnet18", (3, 32, 32)).trunk
    monkeypatch.setattr("zoo.networks.library.no_connection", lambda url: f"no connection to {url}: because")
    asked = []

    def create(**options):
        asked.append(constants.HF_HUB_OFFLINE)
        raise RuntimeError("not in the cache")

    monkeypatch.setattr(trunk, "_create", create)
    with pytest.raises(ConnectionError, match=r"no connection to https://\S+: because"):
        trunk.download()
    assert asked == [True] and not constants.HF_HUB_OFFLINE


def test_torchvision_waits_for_a_silent_server_for_seconds(monkeypatch, silent, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("zoo.networks.library._SECONDS", 0.2)
    trunk = Encoder("torchvision:resnet18", (3, 32, 32)).trunk
    weights = trunk._weights()
    monkeypatch.setattr(weights.value, "url", silent)
    monkeypatch.setattr(trunk, "_weights", lambda: weights)
    before = socket.getdefaulttimeout()
    with pytest.raises(OSError, match="timed out"):
        trunk.download()
    assert socket.getdefaulttimeout() == before
