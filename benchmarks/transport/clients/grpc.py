"""gRPC: grpc.aio with protobuf, a channel for each connection."""

from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]

from benchmarks.transport.clients.base import Call, Place
from benchmarks.transport.grpc_api import board_pb2 as api
from benchmarks.transport.servers.grpc_app import SERVICE, UNLIMITED
from benchmarks.transport.work import PARAMS, image_job, new_params

OPTIONS = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1))
"""Channels to one address would share a connection otherwise."""


class Channel:
    """One connection and its methods."""

    def __init__(self, place: Place) -> None:
        if place.cafile:
            credentials = grpc.ssl_channel_credentials(Path(place.cafile).read_bytes())
            self.channel = grpc.aio.secure_channel(place.addresses[0], credentials, options=OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(place.addresses[0], options=OPTIONS)
        self.submit = self._unary("Submit", api.NewJob, api.Status)
        self.status = self._unary("GetStatus", api.JobName, api.Status)
        self.fetch = self._unary("Fetch", api.Wanted, api.Bytes)
        self.fetch_chunks = self._stream("FetchChunks", api.Wanted, api.Bytes)
        self.events = self._stream("Events", api.JobName, api.Status)

    def _unary(self, name: str, request: Any, answer: Any) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{name}", request.SerializeToString, answer.FromString)

    def _stream(self, name: str, request: Any, answer: Any) -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{name}", request.SerializeToString, answer.FromString)


class Grpc:
    """The client of the driver. `how` of a fetch: "unary", or the bytes of a chunk."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[Channel] = []
        self._job = ""

    async def connect(self, count: int) -> None:
        while len(self._open) < count:
            channel = Channel(self._place)
            status = await channel.submit(api.NewJob(params=api.Params(**PARAMS)), wait_for_ready=True)
            self._job = self._job or status.job
            self._open.append(channel)

    def call(self, operation: str, connection: int) -> Call:
        own = self._open[connection]
        if operation == "status":
            return lambda: own.status(api.JobName(job=self._job))
        return lambda: own.submit(api.NewJob(params=api.Params(**new_params())))

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        own, name = self._open[connection], image_job(size)
        if how == "unary":
            return memoryview((await own.fetch(api.Wanted(job=name))).data)
        room, at = bytearray(size), 0
        async for piece in own.fetch_chunks(api.Wanted(job=name, chunk=int(how))):
            room[at : at + len(piece.data)] = piece.data
            at += len(piece.data)
        return memoryview(room)[:at]

    async def close(self) -> None:
        for one in self._open:
            await one.channel.close(None)
