"""Lambda: the environment of a function with JSON logging."""

from typing import Any

from ministack.services import lambda_svc


def _log_as_configured() -> None:
    """Lambda tells a runtime the log format and level through its environment
    (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html)."""
    environment = lambda_svc._provided_worker_env

    def provided_worker_env(config: dict[str, Any], code_dir: str, port: int) -> dict[str, str]:
        variables: dict[str, str] = environment(config, code_dir, port)
        logging = config.get("LoggingConfig") or {}
        if logging.get("LogFormat") == "JSON":
            variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
            variables["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
        return variables

    lambda_svc._provided_worker_env = provided_worker_env


def install() -> None:
    _log_as_configured()
