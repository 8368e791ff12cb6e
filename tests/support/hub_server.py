"""A hub of datasets on this machine: the part of the protocol that streaming uses, kept in memory.

It speaks what `huggingface_hub` asks for: the files of a revision (HEAD and GET with ranges), its tree, the facts of paths,
the facts of a repository, and errors with the hub's own codes. Every call is kept in `calls`; `cut` and `fail` break some.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from local_server import LocalServer

_URL = re.compile(
    r"/(?P<api>api/)?datasets/(?P<id>[^/]+/[^/]+)(/(?P<verb>resolve|tree|revision|paths-info)/(?P<rest>.*))?"
)


@dataclass
class Repository:
    """Commits with all their files, and the names that point at commits and move."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str] = field(default_factory=dict)
    refused: str = ""  # "", "private" (as if it did not exist) or "gated"


class Hub(LocalServer):
    """The hub of datasets, with these repositories."""

    def __init__(self, repositories: dict[str, Repository]) -> None:
        super().__init__(_Handler)
        self.repositories = repositories
        self.calls: list[str] = []
        self.cut: dict[str, int] = {}  # ending of a path: how many of its GETs to break off half way
        self.fail: dict[str, list[int]] = {}  # ending of a path: status codes with which to answer its next calls


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.server.calls.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        for ending, codes in self.server.fail.items():
            if path.endswith(ending) and codes:
                self._refuse(codes.pop(0), "", "told to fail")
                return
        match = _URL.fullmatch(path)
        repository = self.server.repositories.get(match["id"]) if match else None
        if match is None or repository is None or repository.refused == "private":
            self._refuse(401, "RepoNotFound", "Repository not found")
        elif repository.refused == "gated" and not match["api"]:
            self._refuse(401, "GatedRepo", "Access is restricted.")
        else:
            self._about(repository, match, parse_qs(url.query), parse_qs(body.decode("utf-8", "replace")), body)

    def _about(
        self, repository: Repository, match: re.Match[str], query: dict[str, Any], form: dict[str, Any], body: bytes
    ) -> None:
        revision, _, path = (match["rest"] or "main").partition("/")
        commit = repository.branches.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif match["verb"] == "resolve":
            self._file(commit, path, files.get(path))
        elif match["verb"] == "tree":
            self._tree(files, path, query.get("recursive", ["false"])[0].lower() == "true")
        elif match["verb"] == "paths-info":
            paths = form.get("paths") or json.loads(body)["paths"]
            self._json([entry for entry in _entries(files) if entry["path"] in paths])
        else:
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": match["id"], "sha": commit, "private": False, "tags": [], "siblings": siblings})

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        prefix = f"{folder}/" if folder else ""
        below = [entry for entry in _entries(files) if entry["path"].startswith(prefix)]
        if folder and not below:
            self._refuse(404, "EntryNotFound", f"{folder} does not exist")
        else:
            self._json([entry for entry in below if recursive or "/" not in entry["path"].removeprefix(prefix)])

    def _file(self, commit: str, path: str, content: bytes | None) -> None:
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2] or len(content) - 1) + 1) if asked else (0, len(content))
        part = content[start:end]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = unquote(urlsplit(self.path).path)
        cut = next((ending for ending, times in self.server.cut.items() if whole.endswith(ending) and times), None)
        if cut is not None:
            self.server.cut[cut] -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)

    def _json(self, content: Any) -> None:
        raw = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files and their folders, as the hub lists them."""
    folders = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    listed = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
    for name, content in files.items():
        oid = hashlib.sha1(content).hexdigest()
        listed.append({"type": "file", "oid": oid, "size": len(content), "path": name})
    return sorted(listed, key=lambda entry: entry["path"])
