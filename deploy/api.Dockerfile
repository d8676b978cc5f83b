# The gateway, the reaper and the migrations: one image without torch.
#   docker build -f deploy/api.Dockerfile --build-arg PYTHON=python:3.11-slim@sha256:… -t ganserve-api .
ARG PYTHON=python:3.11-slim
FROM ${PYTHON}
WORKDIR /app
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
RUN python - <<'PY' > /tmp/requirements && pip install -r /tmp/requirements
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["api"], *project["optional-dependencies"]["postgres"], sep="\n")
PY
COPY jobs jobs
COPY api api
COPY model_repo model_repo
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api.main"]
