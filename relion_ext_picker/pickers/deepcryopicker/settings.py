"""All numbers of the unsupervised stage in one place: the steps' own, and the tolerances that are our choice.

Lengths are px of the working image, in which a particle of known diameter is `WORKING_DIAMETER` px across; the numbers
of the published code are for that size, since its apoferritin is 40 px across in an image of half size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WORKING_DIAMETER = 40.0  # px
HALF = 0.5  # working px per micrograph px while the diameter is unknown


@dataclass(frozen=True)
class ChainSettings:
    """The preprocessing chain, in its order; defaults as in the published code.

    Attributes
    ----------
    tails : float
        Percentage clipped at each end of the grey levels by every stretch.
    bins : int
        Levels of the global equalisation.
    wiener : int
        Side of the window of the Wiener filter, px.
    clips : tuple of float
        Clip limit (0..1) of each pass of the adaptive equalisation.
    rayleigh : float
        Parameter of the distribution that the adaptive equalisation aims at.
    tiles, tile_bins : int
        Tiles per axis, and levels within a tile.
    least_tile : int
        Tiles are no smaller than this, px: one must show a particle and what is around it.
    guide_radius : int
        Half side of the window of the guided filter, px.
    guide_epsilon : float
        Variance, of grey levels 0..1, below which the guided filter smooths.
    guide_times : int
        Passes of the guided filter.
    opening : int
        Radius of the disc of the grey opening, px.
    """

    tails: float = 1.0
    bins: int = 64
    wiener: int = 5
    clips: tuple[float, ...] = (0.02, 0.99)
    rayleigh: float = 0.4
    tiles: int = 8
    tile_bins: int = 256
    least_tile: int = 60
    guide_radius: int = 2
    guide_epsilon: float = 0.01
    guide_times: int = 4
    opening: int = 1


@dataclass(frozen=True)
class ClusterSettings:
    """Clustering of grey levels.

    Attributes
    ----------
    method : str
        "intensity", "superpixel" or "auto", which takes the one whose particles are more alike.
    iterate : bool
        Intensity-based clustering as published (centres move) instead of as coded (one pass).
    clusters : int
        Clusters of either method.
    interval : float
        Distance of the first centres where they move, grey levels.
    rounds : int
        Most moves.
    superpixel_area : float
        Mean area of a super-pixel, px.
    compactness : float
        Weight of distance against grey level in the making of super-pixels.
    smallest : float
        Connected areas below this are no particles, px².
    hole : float
        Holes up to this share of the largest circle looked for are filled; larger ones are gaps between particles.
    favour : float
        "auto" takes regular shapes while their consistency times this is not less than that of irregular ones.
    """

    method: str = "auto"
    iterate: bool = False
    clusters: int = 4
    interval: float = 0.15
    rounds: int = 50
    superpixel_area: float = 60.0
    compactness: float = 0.1
    smallest: float = 250.0
    hole: float = 0.4
    favour: float = 1.5

    def superpixels(self, pixels: int) -> int:
        """How many super-pixels an image of so many pixels is cut into."""
        return max(16, round(pixels / self.superpixel_area))


@dataclass(frozen=True)
class CircleSettings:
    """The Hough transform and which circles count.

    Attributes
    ----------
    radii : (float, float)
        Smallest and greatest radius while the diameter is unknown, px.
    share : (float, float)
        The same for a particle of known diameter, in radii of that particle.
    smoothing : float
        Standard deviation of the Gaussian that softens the mask, px.
    sensitivity : float
        1 looks at every centre that got votes, 0 only at the one with most.
    tolerance : float
        An edge belongs to a circle within this share of its radius.
    least_support : float
        Share of the circumference that must be an edge.
    apart : float
        Smallest distance of two centres, in mean radii of the two circles.
    """

    radii: tuple[float, float] = (13.0, 85.0)
    share: tuple[float, float] = (0.5, 1.25)
    smoothing: float = 1.5
    sensitivity: float = 0.85
    tolerance: float = 0.15
    least_support: float = 0.6
    apart: float = 1.2


@dataclass(frozen=True)
class ShapeSettings:
    """What tells circles, rectangles and the rest apart.

    Attributes
    ----------
    smoothing : int
        Radius of the disc whose opening takes spurs off an object before its Feret diameters are measured, px.
    reach : float
        An object around a circle ends at this many radii: a square's corners lie at 1.41.
    least_overlap : float
        Overlap (intersection over union) from which an object is a rectangle ...
    margin : float
        ... which must be this much greater than that with the circle.
    largest : float
        Objects beyond this many areas of the largest circle looked for are dropped: carbon, ice, clumps.
    leftovers : bool
        Keep what is neither circle nor rectangle beside circles and rectangles; mostly parts of particles.
    contact : float
        A circle stands alone if it touches others along no more than this share of its circumference.
    """

    smoothing: int = 3
    reach: float = 1.5
    least_overlap: float = 0.8
    margin: float = 0.0
    largest: float = 1.5
    leftovers: bool = False
    contact: float = 0.2


@dataclass(frozen=True)
class OutlineSettings:
    """The mask of a single particle, and what tells its kind. Our choice, see :mod:`.outlines`.

    Attributes
    ----------
    smoothing : float
        Standard deviation of the Gaussian that the working image is smoothed with, px.
    level : float
        Where the outline lies between the grey level of the ice (0) and the mean of the particle (1).
    reach : float
        It ends at this many radii.
    opening, closing : int
        Radii of the discs that take spurs off and fill bays, px.
    margin : float
        A circle overlaps the outline by so much more than the best rectangle does: top; a rectangle by so much more
        than the circle: side. In between neither is sure.
    contact : float
        A particle stands alone if its outline touches others along no more than this share of its circumference.
    away : float
        The middle of an outline is no farther than this from that of its particle, radii.
    """

    smoothing: float = 2.0
    level: float = 0.5
    reach: float = 1.6
    opening: int = 3
    closing: int = 4
    margin: float = 0.03
    contact: float = 0.2
    away: float = 0.33


@dataclass(frozen=True)
class GradeSettings:
    """When a particle is good enough to learn from. The paper names the measures; the tolerances are our choice.

    Attributes
    ----------
    support : float
        Top: share of the circumference that must be an edge.
    circularity : float
        Top: at most this many times the mean circularity of the image.
    radius : float
        Top and side: within this share of the median size.
    fill : float
        Top and side: share of circle or rectangle that the mask must fill.
    rectangle : float
        Side: overlap with the rectangle of the Feret diameters.
    ratio : float
        Side: Feret ratio within this of the median.
    area : float
        Irregular: area within this many standard deviations of the mean.
    clearance : float
        No other particle within this many radii (sum of both being 2).
    presence : float
        Least contrast of anything found, in standard errors of white noise; see :func:`.grading.contrast`.
    contrast : float
        The same of a good particle.
    outlier : float
        Contrast at most this many times the median: ice is darker than particles.
    share : float
        A kind with fewer good particles than this share of the commonest kind teaches nothing.
    """

    support: float = 0.75
    circularity: float = 1.1
    radius: float = 0.15
    fill: float = 0.8
    rectangle: float = 0.7
    ratio: float = 0.15
    area: float = 1.0
    clearance: float = 1.6
    presence: float = 4.0
    contrast: float = 5.0
    outlier: float = 2.0
    share: float = 0.1


@dataclass(frozen=True)
class ForeignSettings:
    """Carbon and ice: areas larger than particles whose grey level is not that of the ice. Our addition.

    Attributes
    ----------
    core, rim : float
        An area has somewhere a smoothed grey level this far from the usual one, and everywhere at least the lesser, in
        robust standard deviations of the smoothed image.
    room : float
        Within it, where it is at least half as deep, is room for a disc of this many middle radii looked for.
    margin : float
        They are widened by this many of these radii.
    """

    core: float = 8.0
    rim: float = 4.0
    room: float = 1.6
    margin: float = 0.5


@dataclass(frozen=True)
class UnsupervisedSettings:
    """All of the above.

    Attributes
    ----------
    chain : ChainSettings
    cluster : ClusterSettings
    circle : CircleSettings
    shape : ShapeSettings
    outline : OutlineSettings
    grade : GradeSettings
    foreign : ForeignSettings
    bright : bool
        Particles are brighter than their surroundings, as in negative stain.
    """

    chain: ChainSettings = field(default_factory=ChainSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    circle: CircleSettings = field(default_factory=CircleSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    outline: OutlineSettings = field(default_factory=OutlineSettings)
    grade: GradeSettings = field(default_factory=GradeSettings)
    foreign: ForeignSettings = field(default_factory=ForeignSettings)
    bright: bool = False
