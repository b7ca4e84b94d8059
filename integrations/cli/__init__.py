"""The ``agenthub`` client commands: plain REST, without Django and without gRPC, so that they start at once."""
