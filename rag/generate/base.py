"""The models a generator can start from: the embedded default, and any BART or T5."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    BartForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    T5ForConditionalGeneration,
)

from rag.errors import ModelError
from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import PassageBatch, SpecialIds
from rag.generate.layout import Layout
from rag.generate.warm_start import (
    MINILM,
    PADDING_ID,
    RESERVED_ID,
    SEPARATOR_ID,
    START_ID,
    minilm_folder,
    warm_started_bart,
)
from rag.models import resolve

ARCHITECTURES: dict[str, type[PreTrainedModel]] = {
    "bart": BartForConditionalGeneration,
    "t5": T5ForConditionalGeneration,
}
RESERVED_TOKENS = ("[unused0]", "madeupword0000", "<extra_id_0>")
"""Tokens that no text contains, in BERT's, BART's and T5's vocabularies."""


@dataclass(frozen=True)
class Base:
    """A model, how its text becomes tokens, and the ids that frame a pair.

    Attributes:
        reference: where the untrained model comes from; None where only this object holds it.
        layout: how passages become encoder rows.
    """

    model: CopyModel
    tokenizer: Tokenizer
    special: SpecialIds
    reference: str | None = None
    layout: Layout = field(default_factory=Layout)

    @property
    def reserved_id(self) -> int:
        """The token that means "not in these passages"."""
        if self.model.reserved_id is None:
            raise ValueError("training needs a model with a reserved token")
        return self.model.reserved_id

    @property
    def framing(self) -> frozenset[int]:
        """Tokens that texts must not hold: those that frame, and those the model has no row for."""
        special = (self.special.start, self.special.separator, self.special.padding)
        ids = (*special, self.model.eos_id, self.model.reserved_id)
        unknown = range(self.model.seq2seq.config.vocab_size, self.tokenizer.get_vocab_size())
        return frozenset(token for token in ids if token is not None) | frozenset(unknown)

    @property
    def architecture(self) -> str:
        """A key of `ARCHITECTURES`."""
        return str(self.model.seq2seq.config.model_type)

    @property
    def max_positions(self) -> int | None:
        """Longest encoder row in tokens: BART's position table; None for T5's relative ones."""
        if self.architecture == "t5":
            return None
        return int(self.model.seq2seq.config.max_position_embeddings)

    def fuse(self, questions: list[list[int]], passages: list[list[list[int]]]) -> PassageBatch:
        """Encoder input in this model's layout; see `Layout.fuse`."""
        return self.layout.fuse(questions, passages, self.special, max_positions=self.max_positions)


def embedded_base(*, guided: bool = True) -> Base:
    """The embedded default before training; its token embedding is not trained.

    The embedding is 12 of 30 million parameters, and MiniLM's is good: leaving it keeps what
    must be stored beside MiniLM small.

    Args:
        guided: with the span head.

    Raises:
        MissingDependency: MiniLM is not installed.
        DigestMismatch: its weights are not the pinned ones.
    """
    seq2seq = warm_started_bart()
    seq2seq.set_attn_implementation("eager")  # in training on a CPU, faster than sdpa
    seq2seq.get_input_embeddings().requires_grad_(False)
    return Base(
        model=CopyModel(seq2seq, reserved_id=RESERVED_ID, guided=guided),
        tokenizer=read_tokenizer(minilm_folder()),
        special=SpecialIds(start=START_ID, separator=SEPARATOR_ID, padding=PADDING_ID),
        reference=MINILM,
    )


def pretrained_base(reference: str, *, device: str = "cpu", guided: bool = True) -> Base:
    """Any BART or T5 with its own tokenizer, before copy attention is trained.

    Args:
        reference: a folder's path or `hub:NAME@REVISION`; see `rag.models.resolve`.
        device: where the model goes, in float32.
        guided: with the span head.

    Raises:
        ModelError: not there, pickled, not a BART or T5, without fast tokenizer or complete
            weights, or without a token to reserve.
        UsageError: the reference has an unknown form.
    """
    folder = resolve(reference).path
    config = _config(reference, folder)
    network = ARCHITECTURES[config.model_type]
    tokenizer = read_tokenizer(folder)
    special = framing_ids(reference, config)
    reserved = reserved_token(reference, tokenizer, config.vocab_size)
    try:
        loaded: Any = network.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{reference}: the weights can't be read: {_line(error)}") from error
    seq2seq, loading = loaded
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(
            f"{reference}: {len(missing)} weights are missing, as {missing[0]}: "
            "give a whole encoder-decoder with a language-modelling head"
        )
    model = CopyModel(seq2seq, reserved_id=tokenizer.token_to_id(reserved), guided=guided)
    model.to(device).eval()
    stored = reference if reference.startswith("hub:") else None
    return Base(model, tokenizer, special, reference=stored)


def random_start(base: Base, *, seed: int = 0) -> Base:
    """The same architecture with random initial weights, all of them trainable."""
    old = base.model.seq2seq
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seq2seq = build(old.config, layer_norm_eps(old), own_head=not tied(old))
        seq2seq.set_attn_implementation(old.config._attn_implementation)
        guided = base.model.span_guide is not None
        model = CopyModel(seq2seq, reserved_id=base.model.reserved_id, guided=guided)
    return replace(base, model=model)


def build(
    config: PretrainedConfig, eps: float | None, *, own_head: bool = False
) -> PreTrainedModel:
    """An encoder-decoder with random weights.

    Args:
        config: of a key of `ARCHITECTURES`.
        eps: of its LayerNorms; None for the configuration's own.
        own_head: the output layer has weights of its own, as T5 v1.1's has, whatever the
            configuration says: transformers ties every T5 that it does not load.
    """
    network: PreTrainedModel = ARCHITECTURES[config.model_type](config)
    if own_head and tied(network):
        whole: Any = network
        head = whole.get_output_embeddings()
        weight = torch.randn_like(head.weight) * config.d_model**-0.5
        head.weight = torch.nn.Parameter(weight)
    for module in network.modules():
        # BART's configuration has no epsilon, and BERT's is another than BART's.
        if eps is not None and isinstance(module, torch.nn.LayerNorm):
            module.eps = eps
    return network


def tied(seq2seq: PreTrainedModel) -> bool:
    """The output layer's weights are the token embedding's."""
    network: Any = seq2seq
    return network.get_output_embeddings().weight is network.get_input_embeddings().weight


def layer_norm_eps(seq2seq: PreTrainedModel) -> float | None:
    """Epsilon of a BART's LayerNorms; None for T5, which keeps it in its configuration."""
    norms = (m for m in seq2seq.modules() if isinstance(m, torch.nn.LayerNorm))
    return next((float(norm.eps) for norm in norms), None)


def read_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer of a model folder, without truncation and padding.

    Raises:
        ModelError: there is none, or it can't be read; says how to make one.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json; make it from the slow tokenizer: python -c 'import "
            "sys, transformers as t; p = sys.argv[1]; t.AutoTokenizer.from_pretrained(p)"
            f".save_pretrained(p)' {folder}"
        )
    try:
        return open_tokenizer(path.read_bytes())
    except Exception as error:  # The tokenizers library raises bare Exceptions.
        raise ModelError(f"{path} can't be read: {_line(error)}") from error


def open_tokenizer(content: bytes) -> Tokenizer:
    """A tokenizer.json's tokenizer, without truncation and padding."""
    tokenizer: Tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def framing_ids(reference: str, config: PretrainedConfig) -> SpecialIds:
    """The ids round question and passage: <s> </s> for BART, </s> alone for T5.

    Raises:
        ModelError: the configuration lacks one.
    """
    names = ["eos_token_id", "pad_token_id", "decoder_start_token_id"]
    names += ["bos_token_id"] if config.model_type == "bart" else []
    for name in names:
        if not isinstance(getattr(config, name, None), int):
            raise ModelError(f"{reference}: config.json lacks {name}; add it")
    ids: Any = config
    start = ids.bos_token_id if config.model_type == "bart" else None
    return SpecialIds(start=start, separator=ids.eos_token_id, padding=ids.pad_token_id)


def reserved_token(reference: str, tokenizer: Tokenizer, vocabulary: int) -> str:
    """The token that will mean "not in these passages".

    Raises:
        ModelError: the vocabulary has none of `RESERVED_TOKENS`.
    """
    for token in RESERVED_TOKENS:
        index = tokenizer.token_to_id(token)
        if index is not None and index < vocabulary:
            return token
    raise ModelError(
        f"{reference}: the vocabulary has none of {', '.join(RESERVED_TOKENS)}: "
        "add a token that no text contains under one of these names"
    )


def _config(reference: str, folder: Path) -> PretrainedConfig:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{reference}: config.json can't be read: {_line(error)}") from error
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"{reference} is a {config.model_type!r}; a generator starts from "
            f"{' or '.join(ARCHITECTURES)}"
        )
    result: PretrainedConfig = config
    return result


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
