"""Writes the JSON schemas of the documents into reports/schemas.

After a change of migrate/model/documents.py, audit_documents.py, plan_documents.py or migrate/report/document.py:
python -m tests.update_schemas
"""

from pathlib import Path

import msgspec

from migrate.audit.status import AuditStatus
from migrate.audit.suggested import AuditSuggestions
from migrate.model.audit_documents import Audit, AuditDifference
from migrate.model.cutover_documents import CutoverCheck
from migrate.model.documents import Explanation, Lint, Simulation, SnapshotHeader, Translation, Verification
from migrate.model.import_documents import AuditImport
from migrate.model.node_documents import NodeManifest, NodeStates
from migrate.model.plan_documents import Plan, PlanCheck
from migrate.report.fleet import Fleet
from tests.report.schema import report_schema

FOLDER = Path(__file__).parents[1] / "reports/schemas"
DOCUMENTS = {
    "snapshot": SnapshotHeader,
    "translation": Translation,
    "simulation": Simulation,
    "verification": Verification,
    "explanation": Explanation,
    "lint": Lint,
    "audit": Audit,
    "audit-difference": AuditDifference,
    "audit-status": AuditStatus,
    "audit-suggestions": AuditSuggestions,
    "audit-import": AuditImport,
    "node": NodeManifest,
    "nodes": NodeStates,
    "plan": Plan,
    "plan-check": PlanCheck,
    "cutover-check": CutoverCheck,
    "fleet": Fleet,
}


def path_of(name: str) -> Path:
    """Where the schema of a document stands."""
    return FOLDER / f"{name}.schema.json"


def schema_text(name: str) -> str:
    """The schema of a document as it should stand in its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(DOCUMENTS[name])}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    for document in DOCUMENTS:
        path_of(document).write_text(schema_text(document), encoding="utf-8")
    text = msgspec.json.format(msgspec.json.encode(report_schema()), indent=2).decode() + "\n"
    path_of("report").write_text(text, encoding="utf-8")
