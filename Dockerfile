FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/opsportal
# A worker reads projects from git repositories with these.
RUN apt-get update && apt-get install --yes --no-install-recommends git openssh-client && rm -rf /var/lib/apt/lists/*
COPY requirements-production.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-production.lock && python -m compileall -q /usr/local/lib/python3.11/site-packages
COPY manage.py pyproject.toml ./
COPY opsportal opsportal
COPY migrations_audit migrations_audit
COPY templates templates
# These values serve this one command and are not kept in the image; collectstatic connects to nothing.
RUN SECRET_KEY=$(python -c "import secrets; print(secrets.token_urlsafe(64))") ALLOWED_HOSTS=build.invalid PORTAL_SEALING_KEYS=unused \
    DATABASE_URL=postgresql://build@localhost/build REDIS_URL=redis://localhost/0 \
    python manage.py collectstatic --no-input && useradd --system --create-home portal
USER portal
