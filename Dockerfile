# The service as an image: `docker build -t outcrop .`; deploy/ has examples for Compose and Kubernetes.
#
# It runs as user 10001 on a read-only root file system; what it writes goes to /data, and a few small files to /tmp.

FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make liburing-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/outcrop
WORKDIR /src
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY core/ core/
COPY src/ src/
COPY store/ store/
COPY ann/ ann/
COPY gnn_loader/ gnn_loader/
COPY datasets/ datasets/
COPY proto/ proto/
COPY client/ client/
COPY server/ server/
COPY cli/ cli/
RUN /opt/outcrop/bin/pip install --no-cache-dir '.[otel]' \
 && find /opt/outcrop -name __pycache__ -prune -exec rm -r {} + \
 && /opt/outcrop/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/outcrop/lib

FROM python:3.12-slim-bookworm
# libgomp1: for faiss. liburing2: reads by io_uring, where the container's seccomp profile allows it; else by threads.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 liburing2 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 outcrop \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin outcrop \
 && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/outcrop /opt/outcrop
COPY deploy/outcrop.toml /etc/outcrop/outcrop.toml
ENV PATH=/opt/outcrop/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    OUTCROP_PATH=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 7443 9464
STOPSIGNAL SIGTERM
# Ready means that calls are taken: not before the root is open, and no longer once it drains.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/readyz', timeout=4)"]
# Nobody is let in without a key: make the first with `key create NAME --role admin` on the same /data.
ENTRYPOINT ["outcrop"]
CMD ["serve", "--config", "/etc/outcrop/outcrop.toml"]
