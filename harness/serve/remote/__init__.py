"""Models behind OpenAI-compatible endpoints: how they are asked, what they are known to honour."""

from harness.serve.remote.address import Endpoint
from harness.serve.remote.answers import read_answer
from harness.serve.remote.contract import Contracts, contract_of, served_models
from harness.serve.remote.endpoint import RemoteEngine, Remotes, endpoint_version
from harness.serve.remote.record import Contract, Observation
from harness.serve.remote.transport import TRANSIENT_STATUS, EndpointError, close_session, post, session
from harness.serve.remote.wire import path_of, request_body

__all__ = [
    "TRANSIENT_STATUS",
    "Contract",
    "Contracts",
    "Endpoint",
    "EndpointError",
    "Observation",
    "RemoteEngine",
    "Remotes",
    "close_session",
    "contract_of",
    "endpoint_version",
    "path_of",
    "post",
    "read_answer",
    "request_body",
    "served_models",
    "session",
]
