"""The local AWS: MiniStack on loopback, with the AWS behaviour that it lacks put back.

Environment: GATEWAY_PORT (the port to listen on), TIME_SCALE (AWS seconds per wall second), APPRUNNER_EMULATOR (the URL
of the App Runner emulator), SSL_CERT_FILE (handed on to the functions), RUN_DIR (a folder of this run, for all that is
written). Root credentials: access key `test`, secret `test`, region us-east-1. Standard input must be a pipe that the
parent holds: when it closes, this process and the functions that it started end.
"""

import asyncio
import os
import signal
import sys
import tempfile
import threading
from importlib.metadata import version
from typing import Any

sys.dont_write_bytecode = True  # the sources stay as they are

# Each patch in this folder reaches into private functions of exactly this version.
MINISTACK_VERSION = "1.5.33"


def configure() -> None:
    """Set what MiniStack reads from the environment, which it does while it is imported."""
    run_dir = os.environ.get("RUN_DIR") or tempfile.mkdtemp(prefix="local-aws-")
    time_scale = float(os.environ.setdefault("TIME_SCALE", "200"))
    port = os.environ.setdefault("GATEWAY_PORT", "4566")
    os.environ |= {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "MINISTACK_ACCOUNT_ID": "123456789012",
        "MINISTACK_REGION": "us-east-1",
        "AUTH": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "SFN_WAIT_SCALE": str(1 / time_scale),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent.sock",
        "TMPDIR": run_dir,
        "STATE_DIR": os.path.join(run_dir, "state"),
        "S3_DATA_DIR": os.path.join(run_dir, "s3"),
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }
    os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.pop("AWS_PROFILE", None)
    tempfile.tempdir = None  # look at TMPDIR again


def stop() -> None:
    """End the functions' processes and this one, whatever its threads are doing."""
    from ministack.core import lambda_runtime

    lambda_runtime.reset()
    os._exit(0)


def stop_with_parent() -> None:
    """Wait until the parent closes standard input, which it also does by dying."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop()


def stop_on_signal(*_: Any) -> None:
    """MiniStack's own handling would first wait for the functions that are running."""
    threading.Thread(target=stop).start()


async def serve() -> None:
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config
    from ministack import app

    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.loglevel = os.environ["LOG_LEVEL"]
    never = asyncio.Event()
    await serve_asgi(app.app, config, shutdown_trigger=never.wait)


def main() -> None:
    if (found := version("ministack")) != MINISTACK_VERSION:
        sys.exit(f"the local AWS patches MiniStack {MINISTACK_VERSION}, found {found}: install requirements.txt")
    configure()
    threading.Thread(target=stop_with_parent, daemon=True).start()

    # What reads the environment when it is imported.
    import apprunner
    import cloudformation
    import cloudwatch
    import control
    import dynamodb
    import ec2
    import ecr
    import eventbridge
    import iam
    import lambda_functions
    import metrics
    import models
    import rds
    import scheduler
    import secretsmanager
    import sns
    import stepfunctions
    import tagging

    for part in (
        apprunner,
        cloudformation,
        cloudwatch,
        dynamodb,
        ec2,
        ecr,
        eventbridge,
        lambda_functions,
        metrics,
        rds,
        scheduler,
        secretsmanager,
        sns,
        stepfunctions,
        tagging,
        iam,
        models,
        control,
    ):
        part.install()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
