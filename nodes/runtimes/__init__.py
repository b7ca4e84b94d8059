"""The programs that do the thinking, and the adapters that speak to them. No Django, no gRPC."""
