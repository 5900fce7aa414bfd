"""A user's requests to the hub: any JSON value or pydantic model goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from pydantic import BaseModel

from orchestrator.protocol.frames import encode_data

if TYPE_CHECKING:
    import asyncio

    from orchestrator.client.connection import Client, WhenDisconnected


class UserLink:
    """A client, as a user's questions, messages and subscriptions see it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def max_message_size(self) -> int:
        return self._client.max_message_size

    @property
    def short_of_messages(self) -> bool:
        return self._client.short_of_messages

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> int | None:
        payload = as_json(data)
        return await self._client.publish(
            channel, payload, when_disconnected=when_disconnected, deadline=deadline, in_parts=in_parts, id=id
        )

    async def send(
        self,
        to: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> None:
        payload = as_json(data)
        await self._client.send(
            to, payload, when_disconnected=when_disconnected, deadline=deadline, in_parts=in_parts, id=id
        )

    def publish_now(self, channel: str, data: object) -> asyncio.Future[int | None] | None:
        return self._client.publish_now(channel, as_json(data))

    def send_now(self, to: str, data: object) -> asyncio.Future[int | None] | None:
        return self._client.send_now(to, as_json(data))

    async def subscribe(self, channel: str, *, include_sender_metadata: bool) -> None:
        await self._client.subscribe(channel, include_sender_metadata=include_sender_metadata)

    async def unsubscribe(self, channel: str) -> None:
        await self._client.unsubscribe(channel)


def as_json(data: object) -> Raw:
    """Return the JSON of a value or a pydantic model, whose fields go by their aliases, within other values too.

    Raises `TypeError` for anything else, `ValueError` for NaN, infinities and half a surrogate pair in a text.
    """
    if isinstance(data, Raw):
        return data
    if isinstance(data, BaseModel):
        return Raw(data.model_dump_json(by_alias=True).encode())
    return encode_data(data, _encoder.encode)


def _model(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"data is a JSON value or a pydantic model, and this holds a {type(value).__name__}")


_encoder: Final = msgspec.json.Encoder(enc_hook=_model)
