"""A deterministic ACP agent of our own: ``python -m nodes.runtimes.scripted``.

It has no model, needs no network and no key, and says so. Demo and tests start it like
any other agent, through the ``acp`` adapter. It imports the standard library only and
speaks JSON-RPC by hand, so that it starts within a tenth of a second.

``story`` says what a plain prompt does and which ``@directives`` a prompt may hold.
"""
