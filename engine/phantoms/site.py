"""Sites: how one hospital's scanner and laboratory change the look of the same tissue."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.errors import UnknownName

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Site:
    """One hospital: the grey levels of its mammograms and the colours of its slides.

    Args:
        name: Name of the site.
        gamma: Exponent of the grey-level curve of the mammogram, > 0; 1 leaves it straight.
        contrast: Gain of the mammogram, > 0.
        blur: Standard deviation of the detector's blur, pixels at 512 rows, >= 0.
        noise: Standard deviation of the quantum noise at full scale, as a share of it.
        haematoxylin: Optical density in R, G, B of one unit of haematoxylin.
        eosin: Optical density in R, G, B of one unit of eosin.
        strength: Amount of both stains, > 0.
        glass: Colour of the empty slide, R, G, B, 0 to 1.
        softness: Standard deviation of the microscope's blur, pixels at 256 rows, >= 0.
    """

    name: str
    gamma: float = 1.0
    contrast: float = 1.0
    blur: float = 0.6
    noise: float = 0.014
    haematoxylin: RGB = (0.64, 0.69, 0.34)
    eosin: RGB = (0.10, 0.86, 0.42)
    strength: float = 1.0
    glass: RGB = (0.96, 0.95, 0.96)
    softness: float = 0.6

    def jittered(self, rng: np.random.Generator) -> Site:
        """The same site on another day: each property a few per cent away."""
        return replace(
            self,
            gamma=self.gamma * _near_one(rng, 0.05),
            contrast=self.contrast * _near_one(rng, 0.04),
            blur=self.blur * _near_one(rng, 0.15),
            noise=self.noise * _near_one(rng, 0.15),
            haematoxylin=_varied(rng, self.haematoxylin),
            eosin=_varied(rng, self.eosin),
            strength=self.strength * _near_one(rng, 0.12),
            softness=self.softness * _near_one(rng, 0.15),
        )


SITES: tuple[Site, ...] = (
    Site("North"),
    Site(
        "East",
        gamma=1.18,
        contrast=1.06,
        blur=0.5,
        noise=0.020,
        haematoxylin=(0.58, 0.72, 0.38),
        eosin=(0.14, 0.82, 0.36),
        strength=1.15,
        glass=(0.95, 0.94, 0.95),
    ),
    Site(
        "South",
        gamma=0.88,
        contrast=0.97,
        blur=0.85,
        noise=0.010,
        haematoxylin=(0.72, 0.66, 0.22),
        eosin=(0.06, 0.82, 0.52),
        strength=0.90,
        glass=(0.97, 0.96, 0.93),
        softness=0.8,
    ),
    Site(
        "West",
        gamma=1.05,
        contrast=1.10,
        blur=0.7,
        noise=0.017,
        haematoxylin=(0.60, 0.74, 0.24),
        eosin=(0.16, 0.88, 0.30),
        strength=1.05,
        glass=(0.94, 0.93, 0.96),
        softness=0.5,
    ),
)

NEW_HOSPITAL = Site(
    "New hospital",
    gamma=1.55,
    contrast=0.72,
    blur=1.5,
    noise=0.034,
    haematoxylin=(0.46, 0.80, 0.52),
    eosin=(0.26, 0.70, 0.60),
    strength=0.72,
    glass=(0.90, 0.88, 0.84),
    softness=1.2,
)
"""A hospital that no model was trained on: flatter, darker, softer, noisier, other stains."""


def named_site(name: str) -> Site:
    """One of `SITES`, or the new hospital.

    Raises:
        UnknownName: no site has this name.
    """
    known = (*SITES, NEW_HOSPITAL)
    found = next((site for site in known if site.name == name), None)
    if found is None:
        names = ", ".join(site.name for site in known)
        raise UnknownName(f"There is no phantom site of that name: choose one of {names}.")
    return found


def drawn_site(rng: np.random.Generator) -> Site:
    """One of `SITES`, drawn evenly, with mild jitter."""
    return SITES[int(rng.integers(len(SITES)))].jittered(rng)


def _near_one(rng: np.random.Generator, spread: float) -> float:
    return float(1.0 + rng.uniform(-spread, spread))


def _varied(rng: np.random.Generator, colour: RGB) -> RGB:
    red, green, blue = (max(0.0, float(c + rng.uniform(-0.03, 0.03))) for c in colour)
    return red, green, blue
