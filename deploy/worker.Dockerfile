# The GPU worker. EXTRAS=worker,postgres,gpu adds ONNX Runtime and the Triton client.
#   docker build -f deploy/worker.Dockerfile --build-arg PYTHON=python:3.11-slim@sha256:… -t ganserve-worker .
ARG PYTHON=python:3.11-slim
FROM ${PYTHON}
ARG EXTRAS=worker,postgres
WORKDIR /app
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
RUN EXTRAS=${EXTRAS} python - <<'PY' > /tmp/requirements && pip install -r /tmp/requirements
import os, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = [line for name in os.environ["EXTRAS"].split(",") for line in project["optional-dependencies"][name]]
print(*project["dependencies"], *extras, sep="\n")
PY
COPY jobs jobs
COPY generative generative
COPY workers workers
COPY model_repo model_repo
USER 10001:10001
# exec form: the worker is process 1 and gets SIGTERM itself, which is its signal to drain.
CMD ["python", "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "16", "--without-gossip", "--without-mingle"]
