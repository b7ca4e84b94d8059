"""Django's settings, derived from the one typed configuration (``nodes.contract.config``)."""

import os
from pathlib import Path
from typing import Any

from agenthub_site import admin_look
from agenthub_site.secret_key import read_or_make_secret_key
from agents.coordination.states import AssignmentState, RoundState, TaskState
from agents.states import State
from nodes.contract.config import Config, load_config
from nodes.contract.policy import ActionKind, Verdict
from nodes.contract.reasons import Reason
from nodes.health import NodeState
from nodes.health import Status as NodeStatus

CONFIG: Config = load_config()
"""The configuration of this process."""

BASE_DIR = Path(__file__).resolve().parent.parent
_PACKAGED_TEMPLATES = Path(__file__).resolve().parent / "templates"

SECRET_KEY = CONFIG.secret_key.get_secret_value() if CONFIG.secret_key else read_or_make_secret_key(CONFIG.home)
DEBUG = CONFIG.debug
_TLS = CONFIG.server.public_url.startswith("https://")
ALLOWED_HOSTS = CONFIG.allowed_hosts
CSRF_TRUSTED_ORIGINS = [CONFIG.server.public_url.rstrip("/")] if CONFIG.server.public_url else []

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "channels",
    "django_htmx",
    "django_q",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "agenthub_site.accounts",
    "agenthub_site",
    "agenthub_site.pages",
    "audit",
    "nodes",
    "mailboxes",
    "agents",
    "agents.usage",
    "agents.triggers",
    "agents.teams",
    "agents.webhooks",
    "agents.coordination",
]

MIDDLEWARE = [
    "agenthub_site.logs.request_log",
    "agenthub_site.pages.csp.content_security_policy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "agenthub_site.errors.hub_errors",
]

ROOT_URLCONF = "agenthub_site.urls"
ASGI_APPLICATION = "agenthub_site.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_PACKAGED_TEMPLATES if _PACKAGED_TEMPLATES.is_dir() else BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "agenthub_site.pages.context.frame",
            ],
        },
    },
]

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;PRAGMA temp_store=MEMORY;"
    "PRAGMA mmap_size=134217728;PRAGMA journal_size_limit=27103364;PRAGMA cache_size=-8000"
)


_IDLE_MS = 10_000


# A short ``reconnect_timeout``: the pool's pauses double up to it, and those who wait for a connection wait them out.
_POOL = {"min_size": 1, "max_size": 16, "timeout": 10, "reconnect_timeout": 2}


def _database(url: str, home: Path) -> dict[str, Any]:
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": home / "db.sqlite3",
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": SQLITE_PRAGMAS},
            "TEST": {"NAME": os.environ.get("AGENTHUB_TEST_DB") or home / "test-db.sqlite3"},
        }
    from psycopg.conninfo import conninfo_to_dict

    parts = dict(conninfo_to_dict(url))
    # A process that is stopped within a transaction would hold its locks, on nodes' leases among others, for ever.
    parts["options"] = f"-c idle_in_transaction_session_timeout={_IDLE_MS} {parts.pop('options', '')}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", "agenthub"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "CONN_HEALTH_CHECKS": True,
        # Whatever else the URL says is libpq's: sslmode and its certificates above all.
        "OPTIONS": {**parts, "pool": _POOL},
    }


DATABASES = {"default": _database(CONFIG.database.url, CONFIG.home)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "agenthub_site.accounts.login.PasswordBackend",
    "agenthub_site.accounts.oidc.backend.ProviderBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"

# What bounds guessing must count for all processes, outlive a restart, and work while Redis does not.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "accounts_cache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    }
}
# People sign in by name; accounts are made by root or by an invitation, and there is no mail to prove anything by.
ACCOUNT_ADAPTER = "agenthub_site.accounts.login.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_RATE_LIMITS = {"login": None, "login_failed": "10/5m/key"}  # of second factors; passwords: login.py
MFA_ADAPTER = "agenthub_site.accounts.mfa.adapter.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "AgentHub"
MFA_TOTP_TOLERANCE = 1
# Layers drop silently when a group is slow: ours carry no data, and no stream depends on one.
CHANNEL_LAYERS = {
    "default": (
        {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [CONFIG.redis.url]}}
        if CONFIG.redis.url
        else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    )
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "agenthub_site.accounts.authentication.TokenAuthentication",
        "agenthub_site.accounts.authentication.LocalOperatorAuthentication",
        "agenthub_site.accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["agenthub_site.json_body.BoundedJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "agenthub_site.pagination.IdCursor",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "agenthub_site.errors.answer_rest",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AgentHub",
    "DESCRIPTION": "A self-hosted control plane for AI coding agents.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "RunState": [state.value for state in State],
        "TaskState": [state.value for state in TaskState],
        "RoundState": [state.value for state in RoundState],
        "VerdictEnum": [verdict.value for verdict in Verdict],
        "ReviewVerdict": "agents.coordination.models.Review.Verdict",
        "AssignmentState": [state.value for state in AssignmentState],
        "ApprovalState": "agents.models.Approval.State",
        "DiffState": ["none", "pending", "ready"],
        "NodeStatus": [status.value for status in NodeStatus],
        "NodeState": [state.value for state in NodeState],
        "ActionKind": [kind.value for kind in ActionKind],
        "Reason": [reason.value for reason in Reason],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "agenthub_site.openapi.complete",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

Q_CLUSTER = {
    "name": "agenthub",
    "orm": "default",
    "workers": 1,
    "timeout": 60,
    "retry": 120,
    "max_attempts": 5,
    "poll": 1,
    "catch_up": False,
    "label": "Tasks",
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "agenthub_site.formats"
STATIC_URL = "/static/"
STATIC_ROOT = CONFIG.home / "static"
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_NAME = "agenthub_session"
CSRF_COOKIE_NAME = "agenthub_csrf"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _TLS
SECURE_HSTS_SECONDS = 31_536_000 if _TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _TLS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

UNFOLD = admin_look.UNFOLD
CSRF_FAILURE_VIEW = "agenthub_site.errors.csrf_failure"
LOGGING_CONFIG = "nodes.contract.logs.configure_from"
LOGGING = {"level": CONFIG.log.level, "format": CONFIG.log.format}
