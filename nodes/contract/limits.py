"""Bounds that both sides of the link rely on. Bytes unless the name says otherwise."""

from typing import Final

EVENT_BYTES: Final = 64 * 1024
"""An event's payload at most; what is longer becomes an excerpt and a blob."""
FRAME_BYTES: Final = 256 * 1024
"""A frame of the link at most."""
BATCH_RECORDS: Final = 500
"""Records in one frame and in one database transaction at most."""
BATCH_SECONDS: Final = 0.02
"""How long a sender may wait for a batch to fill."""
PROMPT_BYTES: Final = 128 * 1024
"""A prompt or follow-up input at most, in UTF-8."""
BLOB_BYTES: Final = 16 * 1024 * 1024
"""A patch or artifact at most; what is longer is cut and said to be."""
EXCERPT_CHARS: Final = 2_000
"""How much of an over-long or refused text an event quotes."""
LINE_BYTES: Final = 16 * 1024 * 1024
"""A line of a runtime's protocol at most; longer ones are dropped and said to be."""
CHUNK_BYTES: Final = 128 * 1024
"""The data of one file chunk on the link."""
DELTA_SECONDS: Final = 0.05
DELTA_BYTES: Final = 4 * 1024
"""Deltas of text: the first at once, then one per this time or this size."""
CREDIT_BATCHES: Final = 8
"""Batches of records a node may have under way without an acknowledgement."""
HEARTBEAT_SECONDS: Final = 5.0
"""A node's heartbeat."""
SILENT_SECONDS: Final = 15.0
"""A node unheard for this long is silent: it gets no new work."""
LOST_GRACE_SECONDS: Final = 60
"""A silent node's runs become ``lost`` after this much more."""
STOP_AFTER_LEAST_SECONDS: Final = 10
"""Less than this without its hub stops no run: a new connection may take as long."""
CANCEL_SILENT_SECONDS: Final = 300.0
"""A lost run that was cancelled ends when its node has not answered for this long."""
DISABLED_GONE_SECONDS: Final = 3_600.0
"""A silent node that was also disabled is gone after this long: its lost runs end."""
NODE_GONE_SECONDS: Final = 3 * 86_400
"""A node is gone after this long: its lost runs end, and those that still wait for it."""
APPROVAL_SECONDS: Final = 600.0
"""An approval's default time to live."""
SPOOL_RUN_BYTES: Final = 512 * 1024 * 1024
"""Unacknowledged spool of one run at most; at the bound the agent's pipe is not read."""
SPOOL_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A spool file at most, before the next is begun."""
