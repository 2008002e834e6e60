"""Checks that adapters train alone, switch exactly, and belong to one generator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from rag.errors import AlreadyExists, DigestMismatch, ModelError, NotFound
from rag.generate.base import Base
from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import SpecialIds
from rag.generate.manifest import Decision
from rag.generate.saved import load_generator, save_generator
from rag.training.adapters import AdapterSwitch, add_lora, merge_lora, save_adapter

IDS = {"vocab_size": 30, "d_model": 16, "pad_token_id": 0, "eos_token_id": 2}
PREFIX = torch.tensor([[0, 12, 13], [0, 14, 15]])
TARGETS = torch.tensor([[12, 13, 2], [14, 15, 2]])


def tiny(architecture: str) -> Base:
    torch.manual_seed(1)
    if architecture == "bart":
        seq2seq = BartForConditionalGeneration(
            BartConfig(
                **IDS,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=16,
                decoder_ffn_dim=16,
                max_position_embeddings=32,
                decoder_start_token_id=4,
                bos_token_id=4,
                forced_eos_token_id=None,
            )
        )
    else:
        seq2seq = T5ForConditionalGeneration(
            T5Config(**IDS, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        )
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(30)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = SpecialIds(start=4 if architecture == "bart" else None, separator=2, padding=0)
    return Base(CopyModel(seq2seq, reserved_id=3), words, special)


@pytest.fixture(params=["bart", "t5"])
def generator(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_generator(tmp_path / "generator", tiny(str(request.param)), trained_from="random")
    return tmp_path / "generator"


def outputs(base: Base) -> torch.Tensor:
    batch = base.fuse([[10], [11]], [[[12, 13, 14]], [[14, 15]]])
    with torch.inference_mode():
        mixture, _, _ = base.model.eval().decode(base.model.encode(batch), PREFIX)
        return mixture.log_probs()


def trained(base: Base, *, seed: int, train_heads: bool = True) -> Base:
    """A few steps of an adapter of rank 2."""
    torch.manual_seed(seed)
    add_lora(base.model, 2, train_heads=train_heads)
    batch = base.fuse([[10], [11]], [[[12, 13, 14]], [[14, 15]]])
    parameters = [p for p in base.model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    for _ in range(3):
        forced = base.model(batch, PREFIX, TARGETS, torch.ones(2, 3, dtype=torch.bool))
        (-forced.token_log_probs.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return base


@pytest.mark.parametrize("train_heads", [True, False])
def test_training_changes_only_the_adapter(generator: Path, train_heads: bool) -> None:
    before = dict(load_generator(generator).base.model.named_parameters())
    after = dict(
        trained(
            load_generator(generator).base, seed=0, train_heads=train_heads
        ).model.named_parameters()
    )
    wrapped = {name.replace(".base_layer", ""): p for name, p in after.items()}
    changed = {name for name in before if not torch.equal(before[name], wrapped[name])}
    assert any(name.startswith("copy_attention") for name in changed) == train_heads
    assert not any(name.startswith("seq2seq") for name in changed)
    lora = {name for name in after if "lora_B" in name}
    assert len(lora) == 12, "self-attention twice and cross-attention, four projections each"
    assert all(after[name].abs().sum() > 0 for name in lora)


def test_adapters_switch_on_and_off_exactly(generator: Path, tmp_path: Path) -> None:
    saved = load_generator(generator)
    plain = outputs(saved.base)
    expected = {}
    for seed, name in enumerate(("law", "medicine")):
        base = trained(load_generator(generator).base, seed=seed)
        expected[name] = outputs(base)
        save_adapter(tmp_path / name, base.model, generator=saved.digest)
    assert not torch.equal(expected["law"], expected["medicine"])

    switch = AdapterSwitch(saved)
    digests = {switch.add(name, tmp_path / name) for name in expected}
    assert len(digests) == 2
    assert switch.digest("law") in digests
    assert torch.equal(outputs(saved.base), plain)
    for name in ("law", "medicine", "law"):
        with switch.using(name):
            assert switch.active == name
            assert torch.equal(outputs(saved.base), expected[name])
            with switch.using(None):
                assert torch.equal(outputs(saved.base), plain)
            assert torch.equal(outputs(saved.base), expected[name])
        assert torch.equal(outputs(saved.base), plain)
    with pytest.raises(NotFound, match="no adapter 'tax'; there are: law, medicine"):
        switch.use("tax")
    with pytest.raises(AlreadyExists, match="already an adapter 'law'"):
        switch.add("law", tmp_path / "law")
    one = load_generator(generator, adapter=tmp_path / "law")
    assert torch.equal(outputs(one.base), expected["law"])
    assert one.adapters is not None
    assert one.adapters.active == "law"


def test_merged_weights_answer_like_the_adapter(generator: Path) -> None:
    base = trained(load_generator(generator).base, seed=0)
    expected = outputs(base)
    names = {name for name, _ in load_generator(generator).base.model.named_parameters()}
    merge_lora(base.model)
    assert {name for name, _ in base.model.named_parameters()} == names
    assert not torch.equal(outputs(base), outputs(load_generator(generator).base))
    torch.testing.assert_close(outputs(base), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_peft_reads_the_adapter(generator: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    base = trained(load_generator(generator).base, seed=0, train_heads=False)
    save_adapter(tmp_path / "a", base.model, generator="x")
    plain = load_generator(generator).base
    read = PeftModel.from_pretrained(plain.model.seq2seq, tmp_path / "a")
    assert {n for n, _ in read.named_parameters() if "lora_B" in n}
    assert torch.equal(outputs(plain), outputs(base))


def test_foreign_and_broken_adapters_are_refused(generator: Path, tmp_path: Path) -> None:
    saved = load_generator(generator)
    base = trained(load_generator(generator).base, seed=0)
    save_adapter(tmp_path / "other", base.model, generator="0" * 64)
    with pytest.raises(DigestMismatch, match=f"belongs to the generator with digest {'0' * 64}"):
        load_generator(generator, adapter=tmp_path / "other")
    with pytest.raises(ModelError, match=r"holds no adapter\.json"):
        AdapterSwitch(saved).add("x", tmp_path)
    save_adapter(tmp_path / "a", base.model, generator=saved.digest)
    weights = tmp_path / "a" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"adapter_model\.safetensors has sha256"):
        AdapterSwitch(saved).add("x", tmp_path / "a")
    manifest = tmp_path / "a" / "adapter.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 9}))
    with pytest.raises(ModelError, match="has format 9"):
        AdapterSwitch(saved).add("x", tmp_path / "a")
    assert all(
        value.dtype == torch.float32
        for value in load_file(tmp_path / "other" / "adapter_model.safetensors").values()
    )


def test_an_adapter_brings_its_own_decision(generator: Path, tmp_path: Path) -> None:
    saved = load_generator(generator)
    base = trained(load_generator(generator).base, seed=0)
    decision = Decision(features=("absent",), weights=(-1.0,), intercept=0.5, threshold=0.25)
    save_adapter(tmp_path / "law", base.model, generator=saved.digest, decision=decision)
    save_adapter(tmp_path / "tax", base.model, generator=saved.digest)
    switch = AdapterSwitch(saved)
    for name in ("law", "tax"):
        switch.add(name, tmp_path / name)
    assert switch.decision("law") == decision
    assert switch.decision("tax") is None
    assert switch.digest("law") != switch.digest("tax")
    with pytest.raises(NotFound, match="no adapter 'vat'"):
        switch.decision("vat")
    manifest = tmp_path / "tax" / "adapter.json"
    value = json.loads(manifest.read_text())
    del value["decision"]
    manifest.write_text(json.dumps(value))
    switch.add("earlier", tmp_path / "tax")
    assert switch.decision("earlier") is None
    manifest.write_text(json.dumps(value | {"decision": {"features": []}}))
    with pytest.raises(ModelError, match=r"adapter\.json: weights: .*: copy the adapter again"):
        switch.add("broken", tmp_path / "tax")


def rewritten(folder: Path, change) -> Path:
    """An adapter with other tensors under right digests."""
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, {"format": "pt"})
    manifest = json.loads((folder / "adapter.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "adapter.json").write_text(json.dumps(manifest))
    return folder


def lose_one(state: dict[str, torch.Tensor]) -> None:
    state.pop(min(state))


def add_one(state: dict[str, torch.Tensor]) -> None:
    state[f"{min(state)}.more"] = torch.zeros(1)


def widen_one(state: dict[str, torch.Tensor]) -> None:
    name = min(state)
    state[name] = torch.zeros(state[name].shape[0], state[name].shape[1] + 1)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("change", [lose_one, add_one, widen_one])
def test_a_refused_adapter_leaves_the_model_as_it_was(
    generator: Path, tmp_path: Path, change, beside: bool
) -> None:
    saved = load_generator(generator)
    base = trained(load_generator(generator).base, seed=0)
    save_adapter(tmp_path / "good", base.model, generator=saved.digest)
    save_adapter(tmp_path / "bad", base.model, generator=saved.digest)
    rewritten(tmp_path / "bad", change)
    switch = AdapterSwitch(saved)
    if beside:
        switch.add("good", tmp_path / "good")
        switch.use("good")
    names = [name for name, _ in saved.base.model.named_modules()]
    expected = outputs(saved.base)
    with pytest.raises(ModelError, match="train the adapter again"):
        switch.add("bad", tmp_path / "bad")
    assert [name for name, _ in saved.base.model.named_modules()] == names
    assert torch.equal(outputs(saved.base), expected)
    assert switch.names == ["good"] * beside
    save_adapter(tmp_path / "again", base.model, generator=saved.digest)
    switch.add("bad", tmp_path / "again")
    switch.use("bad")
    assert torch.equal(outputs(saved.base), outputs(base))


@pytest.mark.parametrize("beside", [False, True])
def test_a_failure_while_adding_takes_the_adapter_out(
    generator: Path, tmp_path: Path, beside: bool, monkeypatch
) -> None:
    import peft

    def failing(*_, **__):
        raise RuntimeError("no")

    saved = load_generator(generator)
    base = trained(load_generator(generator).base, seed=0)
    save_adapter(tmp_path / "good", base.model, generator=saved.digest)
    switch = AdapterSwitch(saved)
    if beside:
        switch.add("good", tmp_path / "good")
        switch.use("good")
    names = [name for name, _ in saved.base.model.named_modules()]
    expected = outputs(saved.base)
    with monkeypatch.context() as patched:
        patched.setattr(peft, "set_peft_model_state_dict", failing)
        with pytest.raises(ModelError, match="does not fit the generator: no"):
            switch.add("bad", tmp_path / "good")
    assert [name for name, _ in saved.base.model.named_modules()] == names
    assert torch.equal(outputs(saved.base), expected)
    switch.add("bad", tmp_path / "good")
    switch.use("bad")
    assert torch.equal(outputs(saved.base), outputs(base))
