# The demo as a Space runs it: docker build -t iasa . && docker run --rm -p 7860:7860 iasa
# More options for pip, as for PyTorch's CPU build: --build-arg PIP_OPTIONS="--extra-index-url ADDRESS"
FROM python:3.12-slim-bookworm

WORKDIR /home/user/app

COPY packages.txt ./
RUN apt-get update \
    && xargs -a packages.txt apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user

ARG PIP_OPTIONS=""
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir ${PIP_OPTIONS} -r requirements.txt -c constraints.txt

COPY --chown=user . ./
USER user

ENV GRADIO_SERVER_NAME=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 7860
CMD ["python", "app.py"]
