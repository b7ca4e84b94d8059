"""One file per verb or endpoint; the cast is in ``factories``, waiting in ``support``."""
