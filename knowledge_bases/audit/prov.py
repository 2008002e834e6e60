"""An answer's provenance as W3C PROV-JSON: entities, activities, agents and how they relate."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

NAMESPACE = "https://grounded-rag.org/ns/prov#"
_SOFTWARE = {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}
_QUOTATION = {"$": "prov:Quotation", "type": "prov:QUALIFIED_NAME"}
_DONE_BY = {
    "retrieval": ("embedder", "reranker"),
    "generation": ("generator",),
    "verification": ("verifier", "decider"),
}
"""Activities with the models that carry them out."""
_TIMED = {
    "retrieval": ("retrieve", "rerank"),
    "generation": ("generate", "cite"),
    "verification": ("verify", "decide"),
}


class _Document:
    """A PROV-JSON object that is filled piece by piece; equal pieces are there once."""

    def __init__(self, answer_id: str) -> None:
        self._answer_id = answer_id
        self.content: dict[str, dict[str, Any]] = {"prefix": {"rag": NAMESPACE}}

    def own(self, name: str) -> str:
        """Return a name that no other answer's document uses."""
        return f"rag:{self._answer_id}-{name}"

    def add(self, kind: str, name: str, **attributes: Any) -> str:
        """Add an element, its attributes' names with `_` for `:`; those that are None are left."""
        given = {key.replace("_", ":", 1): value for key, value in attributes.items()}
        self.content.setdefault(kind, {})[name] = {
            key: _literal(value) for key, value in given.items() if value is not None
        }
        return name

    def relate(self, kind: str, **ends: Any) -> None:
        """Add a relation under a name of its own."""
        relations = self.content.setdefault(kind, {})
        relations[f"_:{kind}{len(relations) + 1}"] = {
            key.replace("_", ":", 1): value for key, value in ends.items()
        }


def prov_document(leaf: Mapping[str, Any], payload: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an answer's provenance.

    Args:
        leaf: of the record.
        payload: its receipt; None where it was erased: then only that there was an answer is told.
    """
    document = _Document(leaf["id"])
    answer = document.add(
        "entity",
        document.own("answer"),
        prov_label=f"answer {leaf['id']}",
        rag_sequence=leaf["sequence"],
        rag_status=leaf["status"],
        rag_commitment=leaf["commitment"],
        rag_erased=None if payload else True,
        prov_value=payload["text"] if payload and payload["text"] else None,
    )
    if payload is None:
        return document.content
    _agents(document, payload, answer)
    _activities(document, leaf, payload, answer)
    return document.content


def _agents(document: _Document, payload: Mapping[str, Any], answer: str) -> None:
    asker = document.add("agent", _named("asker", payload["asker"]), prov_label=payload["asker"])
    software = document.add(
        "agent",
        _named("software", payload["software"]),
        prov_type=_SOFTWARE,
        prov_label=payload["software"],
    )
    document.relate("actedOnBehalfOf", prov_delegate=software, prov_responsible=asker)
    document.relate("wasAttributedTo", prov_entity=answer, prov_agent=software)
    for role, digest in sorted(payload["models"].items()):
        document.add(
            "agent",
            _named(role, digest),
            prov_type=_SOFTWARE,
            prov_label=f"{role} {digest}",
            rag_digest=digest,
        )


def _activities(
    document: _Document, leaf: Mapping[str, Any], payload: Mapping[str, Any], answer: str
) -> None:
    done = {}
    for activity, roles in _DONE_BY.items():
        timings = [payload["timings_ms"].get(stage, 0.0) for stage in _TIMED[activity]]
        done[activity] = document.add(
            "activity", document.own(activity), rag_milliseconds=round(sum(timings), 3)
        )
        for role in roles:
            if role in payload["models"]:
                document.relate(
                    "wasAssociatedWith",
                    prov_activity=done[activity],
                    prov_agent=_named(role, payload["models"][role]),
                )
        document.relate(
            "wasAssociatedWith",
            prov_activity=done[activity],
            prov_agent=_named("software", payload["software"]),
        )
    question = document.add("entity", document.own("question"), prov_value=payload["question"])
    document.relate(
        "wasAttributedTo", prov_entity=question, prov_agent=_named("asker", payload["asker"])
    )
    index = payload["index"]
    searched = document.add(
        "entity",
        _named("index", index["manifest_sha256"]),
        prov_label=f"index generation {index['generation']}",
        rag_sha256=index["manifest_sha256"],
    )
    for activity in ("retrieval", "generation"):
        document.relate("used", prov_activity=done[activity], prov_entity=question)
    document.relate("used", prov_activity=done["retrieval"], prov_entity=searched)
    passages = list(_passages(document, payload, done["retrieval"]))
    for passage in passages:
        document.relate("used", prov_activity=done["generation"], prov_entity=passage)
    document.relate(
        "wasGeneratedBy",
        prov_entity=answer,
        prov_activity=done["generation"],
        prov_time=leaf["created_at"],
    )
    for citation in payload["citations"]:
        quote = document.add(
            "entity",
            document.own(f"citation-{citation['index']}"),
            prov_value=citation["quote"],
            rag_start=citation["start"],
            rag_end=citation["end"],
        )
        document.relate(
            "wasDerivedFrom",
            prov_generatedEntity=quote,
            prov_usedEntity=_version(document, citation, citation["text_sha256"]),
            prov_type=_QUOTATION,
        )
        document.relate("wasDerivedFrom", prov_generatedEntity=answer, prov_usedEntity=quote)
        document.relate("used", prov_activity=done["verification"], prov_entity=quote)
    document.relate("used", prov_activity=done["verification"], prov_entity=answer)
    for number, verdict in enumerate(payload["verdicts"], start=1):
        judged = document.add(
            "entity",
            document.own(f"verdict-{number}"),
            prov_value=verdict["label"],
            rag_claim=verdict["claim"],
            rag_p_supported=verdict["p_supported"],
            rag_p_contradicted=verdict["p_contradicted"],
        )
        document.relate("wasGeneratedBy", prov_entity=judged, prov_activity=done["verification"])
        document.relate("wasDerivedFrom", prov_generatedEntity=judged, prov_usedEntity=answer)


def _passages(document: _Document, payload: Mapping[str, Any], retrieval: str) -> Iterator[str]:
    for number, passage in enumerate(payload["passages"], start=1):
        found = document.add(
            "entity",
            document.own(f"passage-{number}"),
            prov_label=f"passage {number}",
            rag_start=passage["start"],
            rag_end=passage["end"],
            rag_sha256=passage["text_sha256"],
            rag_score=passage["score"],
        )
        version = _version(document, passage, passage["version_text_sha256"])
        document.relate("wasDerivedFrom", prov_generatedEntity=found, prov_usedEntity=version)
        document.relate("wasGeneratedBy", prov_entity=found, prov_activity=retrieval)
        yield found


def _version(document: _Document, place: Mapping[str, Any], text_sha256: str) -> str:
    """The entity of a document version; two documents may hold the same text."""
    uri, number = place["document"], place["version"]
    return document.add(
        "entity",
        _named("version", f"{uri}\0{number}\0{text_sha256}"),
        prov_label=f"{uri} version {number}",
        rag_uri=uri,
        rag_version=number,
        rag_sha256=text_sha256,
    )


def _named(kind: str, value: str) -> str:
    """A qualified name that holds no character that means something in one."""
    return f"rag:{kind}-{hashlib.sha256(value.encode()).hexdigest()[:32]}"


def _literal(value: Any) -> Any:
    """Return a value as PROV-JSON types it; text stays as it is."""
    if isinstance(value, bool):
        return {"$": str(value).lower(), "type": "xsd:boolean"}
    if isinstance(value, int):
        return {"$": str(value), "type": "xsd:int" if abs(value) < 2**31 else "xsd:long"}
    if isinstance(value, float):
        return {"$": repr(value), "type": "xsd:double"}
    return value
