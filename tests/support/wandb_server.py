"""W&B on this machine: the part of its protocol that a run and its artifacts use, kept in memory.

It answers what the client asks: GraphQL by the name of the operation, the stream of a run's rows, uploads to the addresses it
handed out, telemetry. Every call is kept in `calls`, every run's facts in `runs`, uploaded files in `files`.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import LocalServer

ENTITY = "tester"


class Server(LocalServer):
    """W&B's, as far as its client asks, and what it was told."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.calls: list[str] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []  # operation, variables
        self.runs: dict[str, dict[str, Any]] = {}  # run id -> variables of its UpsertBucket
        self.rows: dict[str, list[dict[str, Any]]] = {}  # run id -> history
        self.exit_codes: dict[str, int] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}  # artifact id -> variables of CreateArtifact
        self.used: list[dict[str, Any]] = []  # variables of UseArtifact
        self.views: dict[str, dict[str, Any]] = {}  # id -> variables of UpsertView
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was stopped
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self) -> None:
        body = self._body()
        with self.server.lock:
            self.server.calls.append(f"{self.command} {self.path}")
            if self.path == "/graphql":
                asked = json.loads(body)
                self._json({"data": self._graphql(asked["query"], asked.get("variables") or {})})
            elif match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                self._stream(match[1], json.loads(body))
                self._json({"exitcode": None, "limits": {}})
            elif self.command == "PUT" and self.path.startswith("/upload/"):
                self.server.files[self.path.removeprefix("/upload/")] = body
                self._json({})
            else:  # telemetry
                self._json({})

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = name[1] if name else query.strip()[:80]
        self.server.asked.append((operation, variables))
        answer = getattr(self, f"_{operation.lower()}", None)
        if answer is None:
            self.server.unknown.append(query)
            return {}
        return answer(variables)

    def _stream(self, run_id: str, body: dict[str, Any]) -> None:
        files = body.get("files") or {}
        history = files.get("wandb-history.jsonl", {})
        rows, offset = self.server.rows.setdefault(run_id, []), history.get("offset", 0)
        lines = [json.loads(line) for line in history.get("content", [])]
        rows[offset : offset + len(lines)] = lines  # a second upload from 0 takes the place of the first
        if "exitcode" in body:
            self.server.exit_codes[run_id] = body["exitcode"]
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.server.summaries[run_id] = json.loads(line)

    def _json(self, content: Any) -> None:
        raw = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    # ------------------------------------------------------------ GraphQL, by operation
    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def _getdefaultentity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def _serverinfo(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None}}

    def _runresumestatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        """What a run that goes on must know: how many rows there are, and the last one."""
        run_id = variables["name"]
        if run_id not in self.server.runs:
            return {"model": {"bucket": None}}
        rows, facts = self.server.rows.get(run_id, []), self.server.runs[run_id]
        bucket = {"id": f"bucket-{run_id}", "name": run_id, "displayName": facts.get("displayName"), "tags": []}
        bucket |= {
            "config": facts.get("config", "{}"),
            "summaryMetrics": json.dumps(self.server.summaries.get(run_id, {})),
        }
        bucket |= {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0, "eventsTail": "[]"}
        bucket |= {
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "wandbConfig": "{}",
            "sweepName": None,
        }
        return {"model": {"bucket": bucket}}

    def _runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The runs with one of these ids that lack a tag: the only question that is asked."""
        names, without = json.loads(variables["filters"])["$and"]
        [missing] = without["tags"]["$nin"]
        found = [
            self._run_fragment(run_id)
            for run_id, facts in self.server.runs.items()
            if run_id in names["name"]["$in"] and missing not in (facts.get("tags") or [])
        ]
        page = {"endCursor": None, "hasNextPage": False}
        edges = [{"node": node, "cursor": str(n)} for n, node in enumerate(found)]
        return {
            "project": {
                "internalId": "1",
                "runCount": len(found),
                "readOnly": False,
                "runs": {"edges": edges, "pageInfo": page},
            }
        }

    def _run_fragment(self, run_id: str) -> dict[str, Any]:
        facts = self.server.runs[run_id]
        nothing = dict.fromkeys(("commit", "description", "notes", "sweepName", "heartbeatAt", "createdAt"))
        found = {"id": f"bucket-{run_id}", "projectId": 1, "name": run_id, "displayName": facts.get("displayName")}
        found |= {"tags": facts.get("tags") or [], "config": facts.get("config", "{}"), "group": facts.get("groupName")}
        found |= {"user": {"name": ENTITY, "username": ENTITY}}
        found |= {"summaryMetrics": "{}", "systemMetrics": "{}", "historyKeys": None, "historyLineCount": 0}
        return {**nothing, **found, "jobType": facts.get("jobType"), "state": "finished", "readOnly": False}

    def _upsertbucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables.get("name") or variables["id"].removeprefix("bucket-")
        known = self.server.runs.setdefault(run_id, {})
        inserted = not known
        known |= {k: v for k, v in variables.items() if v is not None}
        project = {"id": "1", "name": variables.get("project", "roberta_lab"), "entity": {"id": "1", "name": ENTITY}}
        bucket = {
            "id": f"bucket-{run_id}",
            "name": run_id,
            "displayName": variables.get("displayName"),
            "description": None,
            "config": variables.get("config"),
            "sweepName": None,
            "project": project,
            "historyLineCount": 0,
        }
        if "name" not in variables:  # an update by the public interface
            bucket = self._run_fragment(run_id)
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _createrunfiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables["run"]
        files = [
            {"name": name, "uploadUrl": f"{self.server.url}/upload/{run_id}/{name}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files}}

    def _artifacttype(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _createartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Equal content under one name is one artifact, whoever logs it."""
        asked = variables["input"]
        key = f"{asked['artifactCollectionName']}:{asked['digest']}"
        state = "COMMITTED" if key in self.server.artifacts else "PENDING"
        self.server.artifacts.setdefault(key, asked)
        artifact = {"id": key, "state": state, "artifactSequence": {"id": key, "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _manifest(self, artifact_id: str) -> dict[str, Any]:
        url = f"{self.server.url}/upload/{artifact_id}/manifest"
        return {"artifactManifest": {"id": artifact_id, "file": {"id": "1", "uploadUrl": url, "uploadHeaders": []}}}

    def _createartifactmanifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": self._manifest(variables["artifactID"])}

    def _updateartifactmanifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"updateArtifactManifest": self._manifest(variables["artifactManifestID"])}

    def _createartifactfiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [
            {
                "storagePath": f"wandb_artifacts/{asked['artifactID']}/{asked['name']}",
                "uploadUrl": f"{self.server.url}/upload/{asked['artifactID']}/{asked['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": asked["artifactID"]},
            }
            for asked in variables["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in files]}}}

    def _commitartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}

    def _useartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.server.used.append(variables["input"])
        return {"useArtifact": {"artifact": {"id": variables["input"]["artifactID"]}}}

    def _upsertview(self, variables: dict[str, Any]) -> dict[str, Any]:
        """A workspace or a report; an id of before is updated."""
        view_id = variables.get("id") or f"view-{len(self.server.views) + 1}"
        self.server.views[view_id] = variables
        project = {"name": variables["projectName"], "entityName": variables["entityName"]}
        view = {k: variables.get(k) for k in ("name", "displayName", "description", "type", "spec")}
        view |= {"id": view_id, "project": project, "createdAt": None, "updatedAt": None}
        return {"upsertView": {"view": view, "inserted": not variables.get("id")}}

    _upsertview2 = _upsertview

    def _projectinternalid(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "1", "internalId": "1"}}

    def _getprojects(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = {facts["project"] for facts in self.server.runs.values()}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        facts = {"__typename": "Project", "entityName": ENTITY, "createdAt": "", "isBenchmark": False, "user": None}
        return {"models": {"pageInfo": page, "edges": [{"node": {"id": "1", "name": n, **facts}} for n in names]}}

    def _serverfeaturesquery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}
