"""Every setting, read from the environment once. docs/settings.md describes each variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ

from migrations_audit.states import Isolation
from opsportal import environment, hiding

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

if not env.bool("PORTAL_DUMPABLE", default=False):
    hiding.hide_from_same_account()  # web, worker and beat all read these settings before they work

PORTAL_MODE = env.str("PORTAL_MODE", default="production")
SECRET_KEY = env.str("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list(
    "ALLOWED_HOSTS", default=[] if PORTAL_MODE == "production" else ["127.0.0.1", "localhost"]
)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PORTAL_SEALING_KEYS: list[str] = env.list("PORTAL_SEALING_KEYS", default=[])
environment.refuse_unsafe(
    mode=PORTAL_MODE, secret_key=SECRET_KEY, debug=DEBUG, allowed_hosts=ALLOWED_HOSTS, sealing_keys=PORTAL_SEALING_KEYS
)

PORTAL_NAME = env.str("PORTAL_NAME", default="portal")
PORTAL_PROJECT_ROOTS: list[str] = env.list("PORTAL_PROJECT_ROOTS", default=[])
PORTAL_SQLITE_ROOTS: list[str] = env.list("PORTAL_SQLITE_ROOTS", default=[])
PORTAL_INTERPRETERS = environment.named_paths(
    env.list("PORTAL_INTERPRETERS", default=[]), setting="PORTAL_INTERPRETERS"
)
PORTAL_TRUSTED_PROXIES = env.int("PORTAL_TRUSTED_PROXIES", default=0)
PORTAL_ISOLATION = environment.one_of(
    env.str("PORTAL_ISOLATION", default="auto"), ("auto", *Isolation), setting="PORTAL_ISOLATION"
)
PORTAL_RUNNER_USER = env.str("PORTAL_RUNNER_USER", default="")
PORTAL_RUNNER_PATHS: list[str] = env.list("PORTAL_RUNNER_PATHS", default=[])
# The folder of pg_dump and pg_restore, or None for those on the PATH.
PORTAL_CLIENTS = "opsportal.local.scratch.clients"
# A context manager that yields the URL of a fresh private PostgreSQL and the folder of its programs; empty: no such server.
PORTAL_SCRATCH = "opsportal.local.scratch.server" if env.bool("PORTAL_PRIVATE_COPIES", default=True) else ""
PORTAL_SPOOL = env.str("PORTAL_SPOOL", default="")
PORTAL_CACHE = env.str("PORTAL_CACHE", default="")
PORTAL_GIT_HOSTS: list[str] = env.list("PORTAL_GIT_HOSTS", default=[])
PORTAL_GIT_KNOWN_HOSTS = env.str("PORTAL_GIT_KNOWN_HOSTS", default="")
PORTAL_GIT_CA = env.str("PORTAL_GIT_CA", default="")
PORTAL_GIT_FRESH_S = env.int("PORTAL_GIT_FRESH_S", default=60)
PORTAL_BUILD_FOR: list[str] = env.list("PORTAL_BUILD_FOR", default=[])
PORTAL_BUILD_FOR_PRODUCTION: list[str] = env.list("PORTAL_BUILD_FOR_PRODUCTION", default=[])
PORTAL_BACKUP_HOOK = env.str("PORTAL_BACKUP_HOOK", default="")
PORTAL_BACKUP_HOOK_S = env.int("PORTAL_BACKUP_HOOK_S", default=900)
PORTAL_LEASE_S = env.int("PORTAL_LEASE_S", default=30)
PORTAL_SWEEP_S = env.int("PORTAL_SWEEP_S", default=5)
PORTAL_RESEND_S = env.int("PORTAL_RESEND_S", default=15)

INSTALLED_APPS = [
    "migrations_audit.apps.MigrationsAuditConfig",
    "migrations_audit.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
]

MIDDLEWARE = [
    "migrations_audit.web.middleware.AddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "migrations_audit.web.middleware.VisibleTextMiddleware",
    "migrations_audit.web.middleware.PortalErrorMiddleware",
    "migrations_audit.web.middleware.WrongMethodMiddleware",
]

ROOT_URLCONF = "opsportal.urls"
ASGI_APPLICATION = "opsportal.asgi.application"
WSGI_APPLICATION = "opsportal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url_config(environment.database_url(env.str("DATABASE_URL")))}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        "connect_timeout": 5,
        "application_name": "opsportal",
        # A network that swallows everything must be noticed within a lease, or a worker would think that it still holds its run.
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 15_000,
    }
)
# A host that vanishes in the middle of a transaction must not keep the audit chain's lock until the server's keepalive ends.
_given_options = DATABASES["default"]["OPTIONS"].get("options", "")
DATABASES["default"]["OPTIONS"]["options"] = f"{_given_options} -c idle_in_transaction_session_timeout=120s".strip()
if env.bool("PORTAL_DB_POOL", default=False):
    # Only for the web process: a stream of the live log must not keep a connection of its own (docs/architecture.md).
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": env.int("PORTAL_DB_POOL_SIZE", default=10)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 3, "health_check_interval": 25}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "portal"
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_MAX_TASKS_PER_CHILD = 20
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 60
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "migrations_audit.sweep",
        "schedule": PORTAL_SWEEP_S,
        # The worker compares this with its own clock: clocks that differ by minutes must not keep the sweep from working.
        "options": {"queue": "portal", "expires": 1_800},
    },
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "static/"
# Production serves what `collectstatic` gathered there; elsewhere the files are found where they lie.
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")) if PORTAL_MODE == "production" else None
WHITENOISE_USE_FINDERS = PORTAL_MODE != "production"
WHITENOISE_AUTOREFRESH = False

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_ENGINE = "migrations_audit.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 3600
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
# No third cookie: what is said to a person is kept with the session.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
if PORTAL_MODE == "production":
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # With this prefix a browser takes them from this very host only: no neighbour under the same domain can plant one.
    SESSION_COOKIE_NAME = "__Host-session"
    CSRF_COOKIE_NAME = "__Host-csrf"
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    if env.bool("BEHIND_TLS_PROXY", default=False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "opsportal.logs.LineFormatter", "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"alembic": {"level": "WARNING"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}
