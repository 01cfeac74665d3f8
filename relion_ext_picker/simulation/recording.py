"""The exposure: what meets the beam becomes counts, and its signal-to-noise ratio is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.simulation.blocks import poisson_counts
from relion_ext_picker.simulation.camera import CAMERAS
from relion_ext_picker.simulation.damage import damage_envelope, ice_spectrum
from relion_ext_picker.simulation.lens import Lens, Spectrum
from relion_ext_picker.simulation.optics import interaction_constant
from relion_ext_picker.simulation.settings import MicrographSettings
from relion_ext_picker.simulation.snr import FIRST_DOSE, Budget
from relion_ext_picker.types import Array

DARKEST = 0.02  # of the beam: less the linear image of a strong object may not show
GRAIN_B = 6.0  # Å²: fall-off of the irregular scattering of solids, exp(-B s²/4)


@dataclass
class Exposure:
    """All that meets the beam, ready to be recorded at any dose.

    Spectra hold the contrast transfer but no envelope; `signal` in V per voxel, `noise` white times the square root of
    the thickness in Å, `dirt` in V Å.
    """

    lens: Lens
    settings: MicrographSettings
    bfactor: float
    signal: Spectrum
    noise: Spectrum
    dirt: Spectrum | None
    transmitted: Array
    seen: NDArray[np.bool_]

    def __post_init__(self) -> None:
        self._camera = CAMERAS[self.settings.camera]
        frequency = self.lens.frequency
        per_pixel = frequency * np.float32(self.settings.pixel_size)
        self._scatter, self._spread = self._camera.scatter(per_pixel), self._camera.spread(per_pixel)
        phase = np.float32(interaction_constant(self.settings.voltage))
        self._contrast = 2 * phase * np.exp(np.float32(-0.25 * self.bfactor) * np.square(frequency))
        self._signal_at: tuple[float, Array] | None = None

    def record(self, dose: float, rng: np.random.Generator, workers: int) -> tuple[Array, float]:
        """Image in the field and its signal-to-noise ratio."""
        pixel_size, lens = self.settings.pixel_size, self.lens
        beam = np.float32(dose * pixel_size**2)
        before = self._contrast * self._scatter
        ice = before * np.sqrt(ice_spectrum(lens.frequency, dose)) / np.float32(pixel_size)
        parts = [(self.signal, before * self._particle(dose)), (self.noise, ice)]
        if self.dirt is not None:
            solid = before * np.exp(np.float32(-0.25 * GRAIN_B) * np.square(lens.frequency))
            parts.append((self.dirt, solid))
        image = lens.image(parts)
        image += 1
        np.maximum(image, np.float32(DARKEST), out=image)
        image *= self.transmitted
        image *= beam * np.float32(self._camera.counted)
        poisson_counts(image, rng, workers)
        image /= np.float32(self._camera.counted)
        if not self._camera.is_ideal:
            image = lens.filtered(image, self._spread)
        if not self.seen.any():
            return image, 0.0
        passed = beam * self.transmitted[self.seen]
        signal = passed * self._signal(dose)
        noise = image[self.seen] - passed - signal
        if self.dirt is not None:  # its fringes, which reach into the discs, are no noise
            noise -= passed * lens.image([(self.dirt, solid * self._spread)])[self.seen]
        return image, float(signal.var(dtype=np.float64) / noise.var(dtype=np.float64))

    def signal_variance(self, dose: float) -> float:
        """Of the signal in the discs, relative to the square of the beam."""
        return float((self._signal(dose) * self.transmitted[self.seen]).var(dtype=np.float64))

    def budget(self, ice: Array) -> Budget:
        """What the signal-to-noise ratio is made of; `ice` is its thickness in Å."""
        lens, pixel_size = self.lens, self.settings.pixel_size
        passed, thickness = self.transmitted[self.seen].astype(np.float64), ice[self.seen].astype(np.float64)
        contrast = np.square(self._contrast * self._scatter * self._spread)
        electrons = float(np.dot(lens.white_variance(), np.square(self._spread)))
        arriving = float((passed * (1 + self._signal(FIRST_DOSE))).mean())  # the particles are dark
        return Budget(
            lens.frequency,
            self._particle,
            lens.variance(self.signal) * contrast,
            lens.transfer_variance() * contrast * np.float32((passed**2 * thickness).mean() / pixel_size**2),
            arriving * electrons / (self._camera.counted * pixel_size**2),
            float(thickness.mean()),
        )

    def _particle(self, dose: float) -> Array:
        """Envelope of the particles' projections: V per voxel to V Å, radiation damage."""
        envelope = np.full(len(self.lens.frequency), self.settings.pixel_size, np.float32)
        if self.settings.damage:
            envelope *= damage_envelope(self.lens.frequency, dose, self.settings.voltage)
        return envelope

    def _signal(self, dose: float) -> Array:
        """Noise-free contrast of the particles in the pixels that are seen, as the camera transfers it."""
        if self._signal_at is None or self._signal_at[0] != dose:
            envelope = self._contrast * self._scatter * self._spread * self._particle(dose)
            self._signal_at = (dose, self.lens.image([(self.signal, envelope)])[self.seen])
        return self._signal_at[1]
