# The worker (extra `worker`), without the extras for tests and demo. docker-compose.yml and deploy/kubernetes run it.
# It writes no file, so it can run with `docker run --read-only`.

FROM python:3.11.14-slim-trixie AS build
WORKDIR /build
COPY requirements.lock .
# One lock covers everything, and pip accepts hashes only in a complete list of requirements. So all packages are
# downloaded and checked against their hashes. The installation then uses only these files, which pins every version, and
# takes only the packages that the command needs.
RUN pip download --no-cache-dir --only-binary :all: --require-hashes --requirement requirements.lock --dest /wheels
COPY pyproject.toml README.md LICENSE ./
COPY pattern_metrics pattern_metrics
COPY schemas schemas
COPY publisher publisher
COPY migrations migrations
COPY consumer consumer
# The lock pins every version, and this step has built the wheel of the project itself.
# hadolint ignore=DL3013
RUN pip wheel --no-cache-dir --no-index --find-links /wheels --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/pattern-metrics \
    && pip --python /opt/pattern-metrics install --no-cache-dir --no-index --find-links /wheels 'pattern-metrics[worker]'

FROM python:3.11.14-slim-trixie
LABEL org.opencontainers.image.title="pattern-metrics" \
      org.opencontainers.image.description="Kafka to PostgreSQL, one current row per pattern" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pattern-metrics /opt/pattern-metrics
# On loopback it could be reached only inside the container. The driver looks for certificates of its own in HOME, which
# any user must be able to enter.
ENV PATH=/opt/pattern-metrics/bin:$PATH HOME=/opt/pattern-metrics PYTHONDONTWRITEBYTECODE=1 HTTP_HOST=0.0.0.0 HTTP_PORT=8080
EXPOSE 8080
# A number, so that Kubernetes can see that the user is not root. The user owns no file.
USER 65532:65532
WORKDIR /opt/pattern-metrics
# An outage of Kafka or PostgreSQL does not fail the check, because a restart of the worker would not help.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s CMD ["python", "-m", "pattern_metrics.consumer.alive"]
ENTRYPOINT ["pattern-metrics"]
