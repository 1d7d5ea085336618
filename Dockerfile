# syntax=docker/dockerfile:1
# `redilate serve` with the bundled model.
#
#   docker build -t redilate .                                            PyPI's torch, which has CUDA in it
#   docker build -t redilate:cpu --build-arg TORCH_INDEX_URL=… .          torch from another index: the CPU builds
#
# TORCH_INDEX_URL is the address that PyTorch's installation page names for the build wanted.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/redilate
ENV PATH=/opt/redilate/bin:$PATH
COPY constraints.txt ./
# torch first and alone: it is gigabytes, and a change of ours leaves its layer as it is.
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY pyproject.toml README.md LICENSE NOTICE THIRD_PARTY_NOTICES.md ./
COPY src ./src
RUN pip install -c constraints.txt '.[serve]'

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 10001 redilate
COPY --from=build /opt/redilate /opt/redilate
ENV PATH=/opt/redilate/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/redilate
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
# Keys come in REDILATE_API_KEYS; without them the server refuses to listen beyond loopback and ends.
ENTRYPOINT ["redilate", "serve", "--host", "0.0.0.0", "--port", "8000"]
