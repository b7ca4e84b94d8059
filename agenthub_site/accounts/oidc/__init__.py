"""Signing in by an OpenID Connect provider, which says who somebody is and nothing more. The session is ours.

Built on mozilla-django-oidc, which checks neither issuer nor audience and finds people by e-mail: what it checks is
checked anew here, strictly, and people are found by (issuer, subject) alone. ``docs/decisions/0008-identity.md``.
"""
