"""Conversations over HTTP: whose they are, what they hold, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

FIRST = "At how many degrees does the vaccine fridge alarm sound?"
FOLLOWING = "And the morphine?"


def asked(client: TestClient, url: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"{url}/answers", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def begun(client: TestClient, kb: str) -> str:
    created = client.post(f"{kb}/conversations")
    assert created.status_code == 201
    place: str = created.headers["location"]
    assert place == f"{kb}/conversations/{created.json()['id']}"
    return place


def test_a_conversation_remembers_what_was_asked(client: TestClient, wards: str) -> None:
    talk = begun(client, wards)
    first = asked(client, talk, question=FIRST)
    assert first["question"] == FIRST
    second = asked(client, talk, question="Why?")
    assert second["question"] != "Why?"
    assert "fridge alarm" in second["question"]
    ids = [turn["answer_id"] for turn in client.get(talk).json()["turns"]]
    assert ids == [first["answer_id"], second["answer_id"]]
    receipt = client.get(f"/v1/audit/{ids[1]}").json()["receipt"]
    assert receipt["conversation"]["original"] == "Why?"
    assert receipt["conversation"]["turns"] == [{"question": FIRST, "answer_id": ids[0]}]


def test_a_plain_question_may_name_it_or_bring_its_turns(client: TestClient, wards: str) -> None:
    talk = begun(client, wards)
    asked(client, talk, question=FIRST)
    named = {"id": talk.rpartition("/")[2]}
    turns = {"turns": [{"question": FIRST}]}
    by_id = asked(client, wards, question="Why?", conversation=named)
    given = asked(client, wards, question="Why?", conversation=turns)
    assert by_id["question"] == given["question"]
    assert len(client.get(talk).json()["turns"]) == 2


def test_it_is_streamed_too(client: TestClient, wards: str) -> None:
    talk = begun(client, wards)
    asked(client, talk, question=FIRST)
    headers = {"accept": "text/event-stream"}
    response = client.post(f"{talk}/answers", json={"question": "Why?"}, headers=headers)
    last = json.loads(response.text.strip().rpartition("data: ")[2])
    assert "fridge" in last["question"]


@pytest.mark.parametrize(
    ("conversation", "status"),
    [
        ({}, 422),
        ({"turns": [], "id": "a"}, 422),
        ({"turns": [{"question": "a"}] * 21}, 422),
        ({"turns": [{"question": "a", "answer_id": "none"}]}, 404),
        ({"turns": [{"answer_id": "none"}]}, 422),
        ({"turns": [{"question": "\ud800"}]}, 422),
        ({"id": "none"}, 404),
        ("none", 422),
    ],
)
def test_conversations_that_are_none(
    client: TestClient, wards: str, conversation: Any, status: int
) -> None:
    body = json.dumps({"question": "Why?", "conversation": conversation}).encode()
    headers = {"content-type": "application/json"}
    refused = client.post(f"{wards}/answers", content=body, headers=headers)
    assert refused.status_code == status, refused.text


def test_one_conversation_is_not_in_two_places(client: TestClient, wards: str, empty: str) -> None:
    talk = begun(client, wards)
    elsewhere = talk.replace(wards, empty)
    assert client.get(elsewhere).status_code == 404
    assert client.post(f"{elsewhere}/answers", json={"question": "Why?"}).status_code == 404
    both = {"question": "Why?", "conversation": {"id": "a"}}
    assert client.post(f"{talk}/answers", json=both).status_code == 422
