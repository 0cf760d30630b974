# The service, with a MongoDB that MONGO_URI names. The image does not contain the embedded database: that is for trying
# out, is a separate program under another licence (GPL-2.0) with large dependencies, and would store records on the
# container's own disk. Without MONGO_URI the program ends with a message.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv /opt/build && python3 -m venv /opt/metadata-inventory
# Only wheels, each checked against its hash: nothing is compiled and no other file is accepted.
COPY conf/requirements-build.txt conf/requirements-image.txt ./
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.txt \
 && /opt/metadata-inventory/bin/pip install --require-hashes --only-binary :all: -r requirements-image.txt
COPY LICENSE README.md pyproject.toml ./
COPY metadata_inventory metadata_inventory
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/metadata-inventory/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/metadata-inventory/bin/pip check \
 && /opt/metadata-inventory/bin/pip uninstall -y -q pip
# The bill of materials: the packages that are installed, with versions and licences.
RUN /opt/build/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
      --output-file /opt/metadata-inventory/sbom.cdx.json /opt/metadata-inventory

FROM python:3.13-slim
LABEL org.opencontainers.image.title="HTTP Metadata Inventory" \
      org.opencontainers.image.description="Keeps the headers, cookies and page source that a URL's server sent" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/metadata-inventory /opt/metadata-inventory
ENV PATH=/opt/metadata-inventory/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The user is a number, so that an orchestrator can see that it is not root. Nothing is written outside /tmp.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# A container is healthy when it can serve a request: /readyz reads and writes in the database. The check does not see a
# port that is given as a flag; for a port other than 8000 set INVENTORY_PORT.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
  CMD python3 -c "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('INVENTORY_PORT') or '8000') + '/readyz', timeout=5)"
ENTRYPOINT ["metadata-inventory"]
CMD ["serve", "--host", "0.0.0.0"]
