"""Wake-ups that merge."""

import anyio


class Doorbell:
    """Rung twice before anyone looks, it counts once. Rung while nobody waits, it is not lost."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next one who does."""
        self._rung.set()

    async def wait(self, at_most: float) -> None:
        """Return when rung, or after `at_most` seconds."""
        with anyio.move_on_after(at_most):
            await self._rung.wait()
        self._rung = anyio.Event()
