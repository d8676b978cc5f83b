# The image of the gateway, the reaper, the dispatcher and the migration. No torch.
#
#   docker build -f deploy/api.Dockerfile --build-arg PYTHON=python:3.11-slim@sha256:… -t ganserve-api .
#   docker build -f deploy/api.Dockerfile --build-arg PYTHON=… --target sbom --output type=local,dest=sbom .
#
# PYTHON has no default: a base without a digest is another one tomorrow. docs/operations.md says how to find it.
ARG PYTHON

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ganserve
COPY deploy/requirements/api.txt /tmp/requirements.txt
RUN /opt/ganserve/bin/pip install --require-hashes -r /tmp/requirements.txt

# What is inside, as CycloneDX.
FROM build AS inventory
ARG CYCLONEDX=cyclonedx-bom==7.5.0
RUN python -m venv /opt/cyclonedx && /opt/cyclonedx/bin/pip install "${CYCLONEDX}"
RUN /opt/cyclonedx/bin/cyclonedx-py environment --output-reproducible -o /sbom.json /opt/ganserve/bin/python

FROM scratch AS sbom
COPY --from=inventory /sbom.json /ganserve-api.cdx.json

FROM ${PYTHON} AS image
ENV PATH=/opt/ganserve/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /app
COPY --from=build /opt/ganserve /opt/ganserve
COPY LICENSE ./
COPY jobs jobs
COPY api api
COPY model_repo model_repo
# The root is read-only where it runs: what can be compiled is compiled now.
RUN python -m compileall -q jobs api
# The one folder that it writes to; a volume there gets this owner.
RUN install -d -o 10001 -g 10001 /var/lib/ganserve
USER 10001:10001
EXPOSE 8000 9464
CMD ["python", "-m", "api.main"]
