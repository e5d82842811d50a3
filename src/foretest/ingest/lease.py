"""Who may read a broker's stream: one owner at a time, by compare-and-set in the broker itself."""

from __future__ import annotations

import secrets
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswerError
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from foretest.errors import Busy

STREAM = "FORETEST_LEASE"
SUBJECT = "foretest.lease"
_ASKED = "foretest.reader"
_ANSWER = 2.0
_ASKS = 3
"""How often an owner is asked that is silent: the broker may not have noticed its end yet."""
_OTHER_CAME_FIRST = 10071
"""JetStream's code for: the last message is not the one that you expected."""


class Lease:
    """Names its owner in a stream of one message, replaced only by whoever saw the one before.

    It runs out when the owner does: the owner listens on a subject of its own, and as soon as the
    broker knows of nobody there, the next one may replace it. One that listens and is silent
    (stopped, or busy) keeps it until the broker closes its connection. An owner that was replaced
    learns it from `hold`.
    """

    def __init__(self, client: Client, js: JetStreamContext, address: str) -> None:
        self._client, self._js, self._address = client, js, address
        self._owner = secrets.token_hex(8)
        self._listening: Any = None

    async def take(self) -> None:
        """Become the owner. Raises Busy where there is a living one, or another came first."""
        if self._listening is None:

            async def answer(message: Any) -> None:
                await message.respond(b"")

            self._listening = await self._client.subscribe(f"{_ASKED}.{self._owner}", cb=answer)
            await self._client.flush()  # whoever reads our name finds us listening
        sequence, owner = await self._seen()
        if owner and owner != self._owner and await self._lives(owner):
            raise self._busy()
        await self._write(self._owner, sequence)

    async def hold(self) -> bool:
        """Make sure to be the owner still; whether that took taking it anew. Raises Busy."""
        _, owner = await self._seen()
        if owner == self._owner:
            return False
        await self.take()
        return True

    async def give_back(self) -> None:
        """Let the next one in at once."""
        if self._listening is not None:
            await self._listening.unsubscribe()
        sequence, owner = await self._seen()
        if owner == self._owner:
            await self._write("", sequence)

    async def _seen(self) -> tuple[int, str]:
        """The last message's number and the owner that it names; 0 and nobody at first."""
        try:
            message = await self._js.get_last_msg(STREAM, SUBJECT)
        except NotFoundError:  # no message yet, or no stream
            config = StreamConfig(
                name=STREAM,
                subjects=[SUBJECT],
                storage=StorageType.FILE,
                max_msgs_per_subject=1,
            )
            await self._js.add_stream(config)
            return 0, ""
        return message.seq or 0, (message.data or b"").decode("ascii", "replace")

    async def _lives(self, owner: str) -> bool:
        for _ in range(_ASKS):
            try:
                await self._client.request(f"{_ASKED}.{owner}", b"", timeout=_ANSWER)
            except NoRespondersError:
                return False
            except NoAnswerError:
                continue
            return True
        return True

    async def _write(self, owner: str, last: int) -> None:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last)}
        try:
            await self._js.publish(SUBJECT, owner.encode(), headers=headers)
        except APIError as error:
            if error.err_code != _OTHER_CAME_FIRST:
                raise
            if (await self._seen())[1] != owner:  # our own, whose answer went astray, is no other
                raise self._busy() from error

    def _busy(self) -> Busy:
        return Busy(
            f"Another consumer reads {self._address}.", "One is enough: its order is the lake's."
        )
