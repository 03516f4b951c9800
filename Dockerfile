# What docker-compose.yml needs: the command alone, without the extras for tests and demo.

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock .
# There is one lock for everything, and pip takes hashes from no other place than a complete list of
# requirements. So all of it is brought and checked against its hashes; what is then installed comes from these
# files alone, which pins every version, and is only what the command itself needs.
RUN pip download --no-cache-dir --require-hashes --requirement requirements.lock --dest /wheels
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY publisher publisher
COPY migrations migrations
COPY consumer consumer
RUN pip wheel --no-cache-dir --no-index --find-links /wheels --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/pattern-metrics \
    && /opt/pattern-metrics/bin/pip install --no-cache-dir --no-index --find-links /wheels pattern-metrics

FROM python:3.11-slim
RUN useradd --system --no-create-home pattern-metrics
COPY --from=build /opt/pattern-metrics /opt/pattern-metrics
# Loopback would be the container's own.
ENV PATH=/opt/pattern-metrics/bin:$PATH HTTP_HOST=0.0.0.0
EXPOSE 8080
USER pattern-metrics
WORKDIR /tmp
ENTRYPOINT ["pattern-metrics"]
