"""Examples of responses for the OpenAPI document; a test holds them against their models."""

from typing import Any

_DOCUMENT = {
    "id": "7",
    "uri": "medicines-storage-policy.md",
    "title": "Medicines storage policy",
}
_SENTENCE = "After an alarm the stock must be moved within 30 minutes."
_PASSAGE = {
    "chunk_id": 41,
    "document": _DOCUMENT,
    "version": 2,
    "start": 1204,
    "end": 1294,
    "score": 0.914,
    "text": f"The fridge alarm sounds at 8 °C. {_SENTENCE}",
    "page": None,
    "section": "4. Fridges",
}

SEARCH: dict[str, Any] = {"hits": [_PASSAGE]}

ANSWER: dict[str, Any] = {
    "answer_id": "5f0c1a52-6c3e-4a57-9e0f-7c1b1f0c9d2e",
    "question": "Within what time must stock be moved after a fridge alarm?",
    "read_as": None,
    "status": "answered",
    "text": _SENTENCE,
    "reason": None,
    "segments": [{"text": _SENTENCE, "origin": "copied", "probability": 0.98, "citation": 1}],
    "citations": [
        {
            "index": 1,
            "document": _DOCUMENT,
            "version": 2,
            "text_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "start": 1237,
            "end": 1294,
            "quote": _SENTENCE,
            "page": None,
            "section": "4. Fridges",
            "selectors": [
                {"type": "TextPositionSelector", "start": 1237, "end": 1294},
                {
                    "type": "TextQuoteSelector",
                    "exact": _SENTENCE,
                    "prefix": "he fridge alarm sounds at 8 °C. ",
                    "suffix": "\n",
                },
            ],
        }
    ],
    "claims": [
        {
            "text": _SENTENCE,
            "verdict": "supported",
            "p_supported": 0.97,
            "p_contradicted": 0.01,
            "evidence": [1],
            "guards": [],
            "disagreement": {
                "passage": 3,
                "document": "memo-fridges-2021.txt",
                "version": 1,
                "start": 310,
                "end": 361,
                "text": "After an alarm move the stock within two hours.",
                "p_contradicted": 0.88,
            },
        }
    ],
    "confidence": 0.91,
    "passages": [_PASSAGE],
    "models": {
        "generator": "copy:7fdb…",
        "verifier": "bundled:verifier:d86f…+guards:9a0c…",
        "reranker": "bundled:verifier:d86f…",
    },
    "timings_ms": {"retrieve": 21.4, "rerank": 812.0, "generate": 410.2, "verify": 96.3},
    "receipt": {
        "leaf_hash": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "log_size": 118,
    },
}

RESPONSES = {
    "/v1/knowledge-bases/{kb}/search": SEARCH,
    "/v1/knowledge-bases/{kb}/answers": ANSWER,
}
"""What a POST to these paths may return."""
