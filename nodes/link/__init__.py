"""The protocol between hub and node, either direction of dialling; hands frames to a handler. No Django."""
