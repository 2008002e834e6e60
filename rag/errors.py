"""Every error this project raises, drawn as one tree.

::

    RagError                       exit 1   HTTP 500
    ├── UsageError                 exit 2   HTTP 422   the caller asked for something impossible
    │   ├── QuestionError                              a question without words, or too long
    │   ├── TextError                                  a claim, passages or evidence are no such
    │   ├── TrainingDataError                          a row of a training file is wrong
    │   └── LegalHold                       HTTP 409   nothing of the log may be erased now
    ├── NotFound                   exit 3   HTTP 404
    ├── AlreadyExists              exit 2   HTTP 409
    ├── IntegrityError             exit 4   HTTP 500   something stored is not what was recorded
    │   ├── CitationError                              a citation's slice is not its quote
    │   ├── DigestMismatch                             a model or index file has changed
    │   └── IndexCorrupt                               an index generation can't be read
    ├── LoadError                  exit 1   HTTP 422   a document can't be read
    │   ├── UnsupportedFormat
    │   ├── LimitExceeded                              seconds, memory, pages or expanded size
    │   └── BrokenFile                                 truncated, encrypted, empty
    ├── StorageError               exit 1   HTTP 507   disk full, database locked or read-only
    │   └── RecordError                                the answer could not be logged, so it is kept
    ├── ModelError                 exit 1   HTTP 503   a model is missing or fails
    │   └── GenerationTimeout                          an answer took longer than allowed
    ├── Stopped                    exit 1   HTTP 503   nobody waits for the answer any more
    └── MissingDependency          exit 1   HTTP 501   an optional package is not installed
"""


class RagError(Exception):
    """Base of all errors; its message is one line that says what to do."""


class UsageError(RagError):
    """The caller asked for something that can't be done as asked."""


class QuestionError(UsageError):
    """The question holds no words, or is too long."""


class TextError(UsageError):
    """A claim holds no words, or what is to be read with it or a question is too much."""


class TrainingDataError(UsageError):
    """A row of a training or batch file is not what it must be."""


class LegalHold(UsageError):
    """There is a legal hold on the log, so nothing of it may be erased or dropped."""


class NotFound(RagError):
    """No such knowledge base, document, answer or job."""


class AlreadyExists(RagError):
    """The name is taken."""


class IntegrityError(RagError):
    """Something stored is not what was recorded."""


class CitationError(IntegrityError):
    """A citation's characters in the document version are not its quote."""


class DigestMismatch(IntegrityError):
    """A model or index file does not have the digest that was recorded for it."""


class IndexCorrupt(IntegrityError):
    """An index generation can't be read."""


class LoadError(RagError):
    """A document can't be turned into text."""


class UnsupportedFormat(LoadError):
    """The content is of no type that a loader exists for."""


class LimitExceeded(LoadError):
    """Parsing would take more seconds, memory, pages or expanded bytes than allowed."""


class BrokenFile(LoadError):
    """The file is truncated, encrypted, empty or otherwise unreadable."""


class StorageError(RagError):
    """The database or disk refused a write or a read."""


class RecordError(StorageError):
    """The answer could not be written to the log, so it was not released."""


class ModelError(RagError):
    """A model is missing or fails."""


class GenerationTimeout(ModelError):
    """Writing an answer took longer than allowed."""


class Stopped(RagError):
    """The answer was not there in the time that its asker gave it, or they left."""


class MissingDependency(RagError):
    """An optional package is not installed."""
