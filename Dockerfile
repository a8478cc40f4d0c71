# The image of every flowshift process; docker-compose.yml says which of them runs.
#
#   docker build -t flowshift .
#   docker run --rm flowshift convert < workflows.jsonl
#
# It holds no PostgreSQL and no Redis: give it FLOWSHIFT_DATABASE_URL and FLOWSHIFT_REDIS_URL.
# A package index of your own: --secret id=pip,src=pip.conf (it stays out of the image).

FROM python:3.12-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build

# Every pinned package is checked against its hash here, once. pip cannot install a part of a hashed
# constraints file (with hashes it wants every name pinned on its command line), so what follows
# takes what it needs from this directory, which holds one version of everything, and from nowhere
# else.
COPY constraints.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip download --require-hashes --no-deps --only-binary :all: -r constraints.txt -d wheels

# The dependencies of the wheel are flowshift's own and those of the extras `live` and `notify`, so that workers
# can ask models and tell people; not the embedded servers and the developers' tools.
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY tasks tasks
COPY migrations migrations
RUN pip install --no-index --find-links wheels hatchling \
    && pip wheel --no-index --no-deps --no-build-isolation -w dist . \
    && python -m venv --without-pip /opt/flowshift \
    && pip --python /opt/flowshift/bin/python install --no-index --find-links wheels "$(echo dist/*.whl)[live,notify]" \
    && /opt/flowshift/bin/flowshift --version


FROM python:3.12-slim

RUN groupadd --system --gid 10001 flowshift \
    && useradd --system --uid 10001 --gid flowshift --home-dir /var/lib/flowshift \
       --no-create-home --shell /usr/sbin/nologin flowshift \
    && install -d -o flowshift -g flowshift -m 0700 /var/lib/flowshift

COPY --from=build /opt/flowshift /opt/flowshift

ENV PATH=/opt/flowshift/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    FLOWSHIFT_DATA_DIR=/var/lib/flowshift

# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/flowshift

# No shell, and no init: compose brings one (`init: true`), `docker run` has --init.
ENTRYPOINT ["flowshift"]
CMD ["--help"]
