"""Plain text: the file's own characters."""

from indexer.load.compose import check_chars, clean, make_loaded
from indexer.load.encoding import decode
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the text as it is, up to encoding, line ends and normalisation.

    Raises:
        UnsupportedFormat: the bytes are no text.
        LimitExceeded: the text is too long.
    """
    text = clean(decode(content, name))
    check_chars(len(text), limits.max_chars, name)
    return make_loaded(text, (), content, "text")
