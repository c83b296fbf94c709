"""A classifier behind HTTP: a schema as strict as its inputs, answers that tell no more than they must."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from guard import ERRORS, Refused
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, create_model
from starlette.exceptions import HTTPException

import numbaflux as nf

WAITING = 8  # requests that may wait for each that is computed
SECONDS = 10.0  # that one may take, with waiting


@dataclass(frozen=True)
class Contract:
    """What is asked of inputs, and given away of outputs."""

    shape: tuple[int, ...]
    low: float
    high: float
    batch: int = 32
    top: int = 1
    decimals: int = 2


class Prediction(BaseModel):
    label: int
    probability: float


class Answer(BaseModel):
    """For each input the likeliest labels, best first."""

    predictions: list[list[Prediction]]


class Failure(BaseModel):
    error: str


class Health(BaseModel):
    status: str


class Classifier:
    """A model as a function of a JSON text; every call computes a whole batch, so that its time tells nothing."""

    def __init__(self, model, contract):
        self.contract = contract
        self.predict = nf.compile(model, fixed=True)
        self.inputs = schema(contract)
        found = self.chances(np.full((1, *contract.shape), contract.low))  # compiles what there is to compile
        if found.ndim != 2 or not 1 <= contract.top <= found.shape[1]:
            raise ValueError(f"the model must give scores of {contract.top} classes or more, got shape {found.shape}")

    def chances(self, rows):
        full = np.zeros((self.contract.batch, *self.contract.shape), np.float32)
        full[: len(rows)] = rows
        return nf.softmax(self.predict(full))[: len(rows)]

    def __call__(self, text):
        try:
            rows = self.inputs.model_validate_json(text).inputs
        except ValidationError:
            raise Refused(422) from None
        chances = self.chances(rows)
        if not np.isfinite(chances).all():
            raise FloatingPointError("the model gives no number")
        best = np.argsort(-chances, axis=1, kind="stable")[:, : self.contract.top]
        return Answer(predictions=[
            [Prediction(label=int(k), probability=round(float(row[k]), self.contract.decimals)) for k in labels]
            for row, labels in zip(chances, best, strict=True)
        ])  # fmt: skip


def schema(contract):
    """Of a body: lists as long as the shape says, of numbers in their range; nothing is converted or left over.

    The first fault ends the check: a megabyte of wrong numbers would be a hundred times that in errors.
    """
    kind = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=contract.low, le=contract.high)]
    for length in reversed(contract.shape):
        kind = Annotated[list[kind], Field(min_length=length, max_length=length), FailFast()]
    rows = Annotated[list[kind], Field(min_length=1, max_length=contract.batch), FailFast()]
    return create_model("Inputs", __config__=ConfigDict(extra="forbid", strict=True), inputs=(rows, ...))


class Turns:
    """So many calls at once in threads of their own, some more waiting; the rest is refused."""

    def __init__(self, count):
        self.pool, self.places = ThreadPoolExecutor(count), threading.Semaphore(count * (1 + WAITING))

    async def __call__(self, f, *args):
        if not self.places.acquire(blocking=False):
            raise Refused(503, 1)
        future = self.pool.submit(f, *args)
        future.add_done_callback(lambda _: self.places.release())  # when it ends, also if nobody waits any more
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Refused(503, SECONDS) from None


def application(classifier, at_once, openapi):
    app = FastAPI(title="classifier", docs_url=None, redoc_url=None, openapi_url="/openapi.json" if openapi else None)
    turns = Turns(at_once)

    async def failed(request, error):
        status = error.status if isinstance(error, Refused) else getattr(error, "status_code", 500)
        allow = {k: v for k, v in (getattr(error, "headers", None) or {}).items() if k in ("Allow", "Retry-After")}
        return JSONResponse({"error": ERRORS.get(status, ERRORS[400])}, status, allow)

    for kind in (HTTPException, Refused, Exception):
        app.add_exception_handler(kind, failed)

    @app.get("/healthz", responses=failures(400, 408, 413, 429))
    async def health() -> Health:
        return Health(status="ok")

    body = {"required": True, "content": {"application/json": {"schema": classifier.inputs.model_json_schema()}}}

    @app.post(
        "/v1/predict",
        dependencies=[Depends(HTTPBearer(auto_error=False))],  # told in the schema; the guard has checked it
        openapi_extra={"requestBody": body},
        responses=failures(400, 401, 408, 413, 415, 422, 429, 500, 503),
    )
    async def predict(request: Request) -> Answer:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415)
        return await turns(classifier, await request.body())

    return app


def failures(*statuses):
    return {status: {"model": Failure, "description": ERRORS[status]} for status in statuses}
