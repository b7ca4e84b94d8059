"""Refusals that only messages know."""

from nodes.contract.errors import Conflict, Invalid, TooLarge


class DedupeConflict(Conflict):
    code = "dedupe_conflict"
    message = "This dedupe_key was used for another message. Use a new key for a new message."


class HopLimit(Conflict):
    code, grpc = "hop_limit", "FAILED_PRECONDITION"
    message = "This message has been passed on too often. Begin a new conversation, without reply_to."


class PayloadTooLarge(TooLarge):
    code = "payload_too_large"


class PayloadTooDeep(Invalid):
    code = "payload_too_deep"
