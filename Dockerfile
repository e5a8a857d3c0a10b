# Images of Espalier's three programs: `cpu` (default) and `cuda`.
#
#   docker build -t espalier .
#   docker build -t espalier:cuda --target cuda .
#
# The steps are those of a clone: scripts/setup, CMake, install. The cuda image builds the module
# for GPUs as well; no evaluation on a GPU has been measured yet.
ARG CPU_IMAGE=debian:12-slim
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04
ARG CUDA_RUNTIME_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

# ---- cuda: libtorch with its CUDA libraries stays a folder of its own, 5 GB.
FROM ${CUDA_IMAGE} AS build-cuda
WORKDIR /src
COPY scripts scripts
ENV LIBTORCH_ROOT=/opt/libtorch/torch
# The wheel's version is the one in scripts/setup, here with its dependencies.
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip \
 && wheel="$(grep -o "torch==[0-9.]*" scripts/setup | head -1)" \
 && python3 -m pip install --no-compile --no-cache-dir --target /opt/libtorch "$wheel" \
 && scripts/setup && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset gpu -DBUILD_TESTING=OFF -DESPALIER_BENCHMARKS=OFF \
 && cmake --build --preset gpu \
 && cmake --install build/gpu --prefix /opt/espalier --strip \
 && deploy/docker/bundle /opt/espalier /opt/libtorch

FROM ${CUDA_RUNTIME_IMAGE} AS cuda
COPY --from=build-cuda /opt/libtorch /opt/libtorch
COPY --from=build-cuda /opt/espalier /opt/espalier
RUN echo /opt/espalier/lib >/etc/ld.so.conf.d/espalier.conf && ldconfig \
 && useradd --system --uid 10001 --create-home espalier \
 && mkdir /results && chown espalier /results
ENV PATH=/opt/espalier/bin:$PATH
USER espalier
WORKDIR /results
CMD ["espalier", "--help"]

# ---- cpu
FROM ${CPU_IMAGE} AS build-cpu
WORKDIR /src
COPY scripts scripts
RUN scripts/setup && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF -DESPALIER_BENCHMARKS=OFF \
 && cmake --build --preset release \
 && cmake --install build/release --prefix /opt/espalier --strip \
 && deploy/docker/bundle /opt/espalier

FROM ${CPU_IMAGE} AS cpu
COPY --from=build-cpu /opt/espalier /opt/espalier
# As in the cuda image: a user without rights, and a folder for results that it may write to.
RUN echo /opt/espalier/lib >/etc/ld.so.conf.d/espalier.conf && ldconfig \
 && useradd --system --uid 10001 --create-home espalier \
 && mkdir /results && chown espalier /results
ENV PATH=/opt/espalier/bin:$PATH
USER espalier
WORKDIR /results
CMD ["espalier", "--help"]
