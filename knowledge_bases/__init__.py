"""Knowledge bases: documents, versions, index generations and the log of answers."""
