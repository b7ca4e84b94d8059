"""What proves that the trail is whole: canonical form, hash chain, keys, checkpoints, and who checks them.

Without Django, so that the command line, and anybody else, verifies an export by itself.
"""
