"""The worklist, and the pixels of cases."""

from __future__ import annotations

from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import NotFound
from app.services.context import Context
from app.services.layers import Layer, Scale, layer, scale_of
from engine.records import Case, Image, Modality, Window

NAMES = {
    Modality.MAMMOGRAPHY: "Mammogram",
    Modality.PATHOLOGY: "Pathology",
    Modality.MRI: "MRI",
    Modality.CT: "CT",
    Modality.ULTRASOUND: "Ultrasound",
    Modality.RADIOGRAPH: "Radiograph",
    Modality.MASK: "Mask",
    Modality.UNKNOWN: "Image",
}


class Cases:
    """What a reader may open."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.OBSERVER)
    def worklist(self, user: User | None) -> list[dict[str, Any]]:
        """Lines of the worklist, newest first, as the page draws them."""
        who = check(user, Role.OBSERVER)
        rows = self._context.store.case_summaries(
            who.name, everything=who.role is Role.ADMINISTRATOR
        )
        return [
            {
                "id": row.id,
                "thumbnail": f"/thumbnails/{row.id}.png" if row.thumbnail else None,
                "modalities": list(dict.fromkeys(str(m) for m in row.modalities)),
                "images": row.images,
                "frames": row.frames,
                "status": str(row.status),
                "created": row.created.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "source": row.source,
                "owner": row.owner,
            }
            for row in rows
        ]

    @requires(Role.OBSERVER)
    def neighbour(self, user: User | None, case_id: str, step: int) -> str | None:
        """The case `step` places further down the worklist, or None at its ends."""
        return self._neighbours(user, case_id, (step,))[0]

    @requires(Role.OBSERVER)
    def neighbours(self, user: User | None, case_id: str) -> dict[str, str | None]:
        """The cases before and after one in the worklist, by "previous" and "next"."""
        previous, following = self._neighbours(user, case_id, (-1, 1))
        return {"previous": previous, "next": following}

    def _neighbours(
        self, user: User | None, case_id: str, steps: tuple[int, ...]
    ) -> list[str | None]:
        ids = [row["id"] for row in self.worklist(user)]
        if case_id not in ids:
            return [ids[0] if ids else None] * len(steps)
        places = [ids.index(case_id) + step for step in steps]
        return [ids[place] if 0 <= place < len(ids) else None for place in places]

    @requires(Role.OBSERVER)
    def layer(self, user: User | None, case_id: str, position: int, frame: int) -> Layer:
        """One frame as the viewer fetches it: uint16 codes, or RGB bytes.

        Raises:
            NotFound: No such case, image or frame, or not the user's.
        """
        self._context.require_sight(check(user, Role.OBSERVER), case_id)
        return self.pixels(case_id, position, frame)

    def pixels(self, case_id: str, position: int, frame: int) -> Layer:
        """As `layer`, for services that have checked by themselves who may see the case.

        Raises:
            NotFound: No such case, image or frame.
        """
        key = ("base", case_id, position, frame)
        found: Layer = self._context.memory.get(
            key, lambda: self._layer(case_id, position, frame), lambda made: len(made.data)
        )
        return found

    def _layer(self, case_id: str, position: int, frame: int) -> Layer:
        pixels = self._context.store.image_array(case_id, position)
        if not 0 <= frame < len(pixels):
            raise NotFound("The image has no such frame.")
        if pixels.shape[3] == 3:
            return layer(pixels[frame].clip(0, 255).astype("uint8").tobytes())
        return layer(self.scale(case_id, position).encode(pixels[frame, :, :, 0]))

    def scale(self, case_id: str, position: int) -> Scale:
        """How the codes of an image give its values."""
        found: Scale = self._context.memory.get(
            ("scale", case_id, position),
            lambda: scale_of(self._context.store.image_array(case_id, position)),
            lambda scale: 64,
        )
        return found

    @requires(Role.OBSERVER)
    def thumbnail(self, user: User | None, case_id: str) -> Layer:
        """PNG of the worklist.

        Raises:
            NotFound: No such case, not the user's, or it has none.
        """
        self._context.require_sight(check(user, Role.OBSERVER), case_id)
        data = self._context.store.thumbnail(case_id)
        if data is None:
            raise NotFound("The case has no thumbnail.")
        return layer(data, "image/png")

    def picture(self, case: Case, position: int, frame: int) -> dict[str, Any]:
        """An image as the viewer is told about it: address and geometry, no pixels."""
        image = case.images[position]
        scale = Scale(1.0, 0.0) if image.is_colour else self.scale(case.id, position)
        spacing = image.spacing
        return {
            "name": NAMES[image.modality],
            "modality": str(image.modality),
            "width": image.width,
            "height": image.height,
            "frames": image.frames,
            "frame": frame,
            "colour": image.is_colour,
            "url": f"/layers/{case.id}/{position}/{{frame}}.raw?v={image.digest[:16]}",
            "slope": scale.slope,
            "intercept": scale.intercept,
            "windows": [] if image.is_colour else [_window(w) for w in _windows(image)],
            "inverted": image.inverted,
            "spacing": None
            if spacing is None
            else {
                "row_mm": spacing.row_mm,
                "column_mm": spacing.column_mm,
                "source": spacing.source,
            },
            "laterality": None if image.laterality is None else str(image.laterality),
            "view": image.view,
            "unit": "HU" if image.modality is Modality.CT else "",
            "warnings": list(image.warnings),
        }


def _windows(image: Image) -> tuple[Window, ...]:
    if image.windows:
        return image.windows
    from engine.render import default_window

    return (default_window(image),)


def _window(window: Window) -> dict[str, Any]:
    return {
        "centre": window.centre,
        "width": window.width,
        "function": window.function,
        "label": window.explanation or "File window",
    }
