"""`python -m pipelines.runtime …`: the service commands alone, for set-up before the rest can be imported."""

from pipelines.runtime.commands import services_app
from pipelines.runtime.console import run_app

if __name__ == "__main__":
    run_app(services_app)
