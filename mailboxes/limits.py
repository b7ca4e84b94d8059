"""The bounds of messages and deliveries. Bytes unless the name says otherwise."""

from typing import Final

PAYLOAD_BYTES: Final = 64 * 1024
"""A payload as compact JSON in UTF-8."""
PAYLOAD_DEPTH: Final = 32
"""Objects and arrays within each other."""
SUBJECT_CHARS: Final = 200
KEY_CHARS: Final = 128
AUDIENCE_CHARS: Final = 100
RECIPIENTS: Final = 1_000
"""Of one message."""
HOPS: Final = 16
"""How often a message may be answered or passed on, each counted from the one before."""
PAGE: Final = 50
MOST_PER_PAGE: Final = 500
PAGE_CHARS: Final = 1024 * 1024
"""Of payloads that are read, or leased, at once: what is handed out ends with the message that fills it."""
PENDING_COUNTED: Final = 10_000
"""How far unread messages are counted; where there are more, this is said."""
LEASE_SECONDS: Final = 60.0
LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST = 1.0, 12 * 3_600.0
ATTEMPTS: Final = 8
"""How often a delivery is handed out before it is dead."""
TELLINGS: Final = 3
"""How often a delivery is put to runs that do not take it; it is read in the inbox then."""
BACKOFF_SECONDS: Final = 2.0
"""After the first lease that ran out; doubled after each further one, up to ``BACKOFF_SECONDS_MOST``."""
BACKOFF_SECONDS_MOST: Final = 300.0
