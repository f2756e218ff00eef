# The service, for docker, podman or anything else that builds images: docker build --tag tes .
# How to run it: compose.yaml, and docs/operations.md.

# --- build: wheels whose hashes are those of the lock file, then an environment of what the service needs -------------
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

COPY backend/requirements.lock ./
RUN pip download --require-hashes --only-binary=:all: --no-deps --dest wheels --requirement requirements.lock

COPY backend/pyproject.toml backend/README.md backend/LICENSE ./backend/
COPY backend/src ./backend/src
RUN pip install --no-index --find-links wheels hatchling \
 && pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels ./backend \
 && python -m venv --without-pip /opt/tes \
 && pip --python /opt/tes/bin/python install --no-index --find-links wheels trading-execution-service

# --- run: that environment, and a user without rights ----------------------------------------------------------------
FROM python:3.12-slim
RUN groupadd --system --gid 10001 tes \
 && useradd --system --uid 10001 --gid tes --no-create-home --home-dir /srv/tes --shell /usr/sbin/nologin tes \
 && install --directory --owner tes --group tes --mode 700 /srv/tes/data
COPY --from=build /opt/tes /opt/tes

ENV PATH=/opt/tes/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# others than the container must reach it, which needs TES_API_TOKEN or TES_API_TOKEN_FILE
ENV TES_HOST=0.0.0.0 TES_PORT=8000
WORKDIR /srv/tes
USER 10001:10001
VOLUME /srv/tes/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["tes", "ready"]
ENTRYPOINT ["tes"]
CMD ["serve"]
