"""From a box to a region: by LiteMedSAM where its weights are installed, else the box itself."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

from app.services.probe_tiles import window_of
from app.settings import Settings
from engine.errors import EngineError
from engine.records import BoolArray, Box, Image
from engine.render import display

if TYPE_CHECKING:
    from engine.models.promptable import BoxSegmenter

logger = logging.getLogger(__name__)

ABSENT = (
    "LiteMedSAM is not installed here, so a box is used as it is drawn; correct it with brush "
    "and eraser."
)
READY = (
    "A box is turned into an outline by LiteMedSAM. The outline is a suggestion, sometimes a worse "
    "one than the plain box; check it, and correct it with brush and eraser."
)
DRAWN = "LiteMedSAM suggests this outline of the box. Please check and correct it."
NOTHING = "LiteMedSAM found nothing in the box, so the box itself is marked."


class Outliner:
    """Turns boxes into regions; loads the weights when the first box is drawn.

    Args:
        settings: Name the file of the weights, or none.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.medsam
        self._device = settings.device
        self._lock = Lock()
        self._loaded: BoxSegmenter | None = None
        self._problem = "" if self._path is not None else ABSENT

    @property
    def is_ready(self) -> bool:
        """True while nothing speaks against LiteMedSAM being used."""
        return not self._problem

    @property
    def text(self) -> str:
        """What happens to a box, in a sentence."""
        return self._problem or READY

    def region(
        self, image: Image, frame: int, box: Box, filled: BoolArray
    ) -> tuple[BoolArray, str]:
        """The region of a box, and how it was found.

        Args:
            image: The image. frame: Its frame. box: Source pixels.
            filled: (H, W) bool, the box itself.
        """
        with self._lock:
            segmenter = self._segmenter()
            if segmenter is None:
                return filled, self.text
            found = segmenter.region(display(image, frame, window_of(image, frame)), box)
        return (found, DRAWN) if found.any() else (filled, NOTHING)

    def _segmenter(self) -> BoxSegmenter | None:
        if self._loaded is None and self._path is not None and not self._problem:
            from engine.models.promptable import load_segmenter

            try:
                self._loaded = load_segmenter(self._path, device=self._device)
            except EngineError as error:
                self._problem = f"{error} A box is used as it is drawn."
                logger.warning("the weights of LiteMedSAM cannot be used: %s", error)
        return self._loaded
