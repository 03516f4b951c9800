# The worker, which is the extra `worker`, without the extras for tests and demo: what docker-compose.yml and deploy/kubernetes run.
# It needs no place to write: `docker run --read-only`.

FROM python:3.11.14-slim-trixie AS build
WORKDIR /build
COPY requirements.lock .
# There is one lock for everything, and pip takes hashes from no other place than a complete list of
# requirements. So all of it is brought and checked against its hashes; what is then installed comes from these
# files alone, which pins every version, and is only what the command itself needs.
RUN pip download --no-cache-dir --only-binary :all: --require-hashes --requirement requirements.lock --dest /wheels
COPY pyproject.toml README.md LICENSE ./
COPY pattern_metrics pattern_metrics
COPY schemas schemas
COPY publisher publisher
COPY migrations migrations
COPY consumer consumer
RUN pip wheel --no-cache-dir --no-index --find-links /wheels --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/pattern-metrics \
    && pip --python /opt/pattern-metrics install --no-cache-dir --no-index --find-links /wheels 'pattern-metrics[worker]'

FROM python:3.11.14-slim-trixie
LABEL org.opencontainers.image.title="pattern-metrics" \
      org.opencontainers.image.description="Kafka to PostgreSQL, one current row per pattern" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pattern-metrics /opt/pattern-metrics
# Loopback would be the container's own.
ENV PATH=/opt/pattern-metrics/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HTTP_HOST=0.0.0.0 HTTP_PORT=8080
EXPOSE 8080
# A number, of nobody: Kubernetes can see that it is not root's, and there is nothing that it owns.
USER 65532:65532
WORKDIR /opt/pattern-metrics
# An outage of Kafka or PostgreSQL does not fail it: to restart the worker would not help.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s CMD ["python", "-m", "pattern_metrics.consumer.alive"]
ENTRYPOINT ["pattern-metrics"]
