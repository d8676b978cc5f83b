# The image of the workers, in two variants.
#
#   docker build -f deploy/worker.Dockerfile --build-arg PYTHON=python:3.11-slim@sha256:… -t ganserve-worker .
#   docker build -f deploy/worker.Dockerfile --build-arg PYTHON=… --build-arg VARIANT=cpu \
#       --build-arg TORCH_INDEX=https://… -t ganserve-worker:0.1.0-cpu .
#   docker build -f deploy/worker.Dockerfile --build-arg PYTHON=… --target sbom --output type=local,dest=sbom .
#
# gpu: torch with its CUDA libraries, all locked; the driver comes from the node. cpu: torch from the index of CPU
# builds that TORCH_INDEX names, a tenth of the size.
ARG PYTHON

FROM ${PYTHON} AS build
ARG VARIANT=gpu
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ganserve
COPY deploy/requirements/worker-${VARIANT}.txt /tmp/requirements.txt
RUN /opt/ganserve/bin/pip install --require-hashes -r /tmp/requirements.txt
RUN if [ "${VARIANT}" = cpu ]; then /opt/ganserve/bin/pip install --index-url "${TORCH_INDEX:?}" "${TORCH}"; fi
RUN /opt/ganserve/bin/python -c "import torch"

# What is inside, as CycloneDX.
FROM build AS inventory
ARG CYCLONEDX=cyclonedx-bom==7.5.0
RUN python -m venv /opt/cyclonedx && /opt/cyclonedx/bin/pip install "${CYCLONEDX}"
RUN /opt/cyclonedx/bin/cyclonedx-py environment --output-reproducible -o /sbom.json /opt/ganserve/bin/python

FROM scratch AS sbom
COPY --from=inventory /sbom.json /ganserve-worker.cdx.json

FROM ${PYTHON} AS image
ENV PATH=/opt/ganserve/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    OMP_WAIT_POLICY=PASSIVE NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
COPY --from=build /opt/ganserve /opt/ganserve
COPY LICENSE ./
COPY jobs jobs
COPY generative generative
COPY workers workers
COPY model_repo model_repo
RUN python -m compileall -q jobs generative workers
# The one folder that it writes to; a volume there gets this owner.
RUN install -d -o 10001 -g 10001 /var/lib/ganserve
USER 10001:10001
EXPOSE 9464
# The exec form: the worker is process 1 and gets SIGTERM itself, which is its signal to drain.
CMD ["python", "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "16", "--without-gossip", "--without-mingle", "-l", "INFO"]
