"""Sets that other programs would have made: known particles, 2D classes, refined particles, half maps."""

from __future__ import annotations

import itertools

import mrcfile
import numpy as np
from pwem import ALIGN_2D, ALIGN_PROJ
from pwem.convert.transformations import euler_matrix
from pwem.objects import (
    FSC,
    Class2D,
    Coordinate,
    Particle,
    SetOfClasses2D,
    SetOfCoordinates,
    SetOfParticles,
    Transform,
    Volume,
)
from pyworkflow.object import Float, Pointer

from scipion_plugin.constants import LABELS
from scipion_plugin.convert import read_table

_number = itertools.count(1)


def new_file(protocol, name):
    """A file for a set that nothing has been written into."""
    return protocol._getPath(f"{name}{next(_number)}.sqlite")


def publish(protocol, **outputs):
    """Let sets be outputs of a protocol that has run, so that others can take them."""
    protocol._defineOutputs(**outputs)
    protocol._store()


def pointer(protocol, output):
    """A pointer as the forms make them."""
    return Pointer(protocol, extended=output)


def known(protocol, folder):
    """The true particles of the simulation."""
    coordinates = SetOfCoordinates(filename=new_file(protocol, "known"))
    coordinates.setMicrographs(pointer(protocol, "outputMicrographs"))
    coordinates.setBoxSize(48)
    for micrograph in protocol.outputMicrographs:
        name = micrograph.getMicName().replace(".mrc", "_truth.star")
        for row in read_table(folder / "Truth" / "Micrographs" / name):
            coordinate = Coordinate()
            coordinate.setMicrograph(micrograph)
            coordinate.setPosition(*(round(float(row.get(LABELS[key]))) for key in ("COORDINATE_X", "COORDINATE_Y")))
            coordinates.append(coordinate)
    coordinates.write()
    return coordinates


def particles_of(picked, path):
    """Particles as Extract would cut them out, without images; those of each second pick are shifted by (2, -1) px."""
    coordinates, pixel_size = picked.outputCoordinates, picked.getInputMicrographs().getSamplingRate()
    particles = SetOfParticles(filename=path)
    particles.setSamplingRate(pixel_size)
    particles.setAlignment(ALIGN_2D)
    for number, coordinate in enumerate(coordinates.iterItems()):
        particle = Particle()
        particle.setLocation(number + 1, "particles.mrcs")
        particle.setCoordinate(coordinate.clone())
        particle.setSamplingRate(pixel_size)
        matrix = np.eye(4)
        if number % 2:
            matrix[:2, 3] = 2, -1
        particle.setTransform(Transform(matrix=matrix))
        particles.append(particle)
    particles.write()
    return particles


def classes_of(protocol, picked, groups, resolutions):
    """2D classes of picks.

    Parameters
    ----------
    protocol : Protocol
        Whose outputs they become: particles, and classes if there are resolutions.
    picked : RelionExtPickerProtPick
    groups : callable
        Number of the class of a coordinate, from 1 on.
    resolutions : list of float or None
        Å of each class.
    """
    particles = particles_of(picked, new_file(protocol, "particles"))
    publish(protocol, outputParticles=particles)
    classes = SetOfClasses2D(filename=new_file(protocol, "classes2D"))
    classes.setImages(pointer(protocol, "outputParticles"))
    members = {number: [] for number in range(1, len(resolutions) + 1)}
    for particle in particles.iterItems():
        members[groups(particle.getCoordinate())].append(particle.clone())
    for number, found in members.items():
        item = Class2D(objId=number)
        if resolutions[number - 1] is not None:
            setattr(item, "_" + LABELS["ESTIMATED_RESOLUTION"], Float(resolutions[number - 1]))
        classes.append(item)
        item.enableAppend()
        for particle in found:
            item.append(particle)
        classes.update(item)
    classes.write()
    publish(protocol, outputClasses=classes)
    return classes


def subset(protocol, classes, identifiers):
    """Some of the classes, as a person chooses them in Scipion."""
    chosen = SetOfClasses2D(filename=new_file(protocol, "chosen"))
    chosen.copyInfo(classes)
    chosen.setImages(pointer(protocol, "outputParticles"))
    chosen.appendFromClasses(classes, filterClassFunc=lambda item: item.getObjId() in identifiers)
    chosen.write()
    publish(protocol, chosenClasses=chosen)
    return chosen


def refined(protocol, path, count=400):
    """Particles that are all seen from nearly the same side: as uneven as can be."""
    particles = SetOfParticles(filename=str(path))
    particles.setSamplingRate(4.0)
    particles.setAlignment(ALIGN_PROJ)
    for number in range(1, count + 1):
        particle = Particle()
        particle.setLocation(number, "particles.mrcs")
        matrix = euler_matrix(*-np.deg2rad([20.0, 60.0 + 0.01 * number, 5.0]), "szyz")
        particle.setTransform(Transform(matrix=np.linalg.inv(matrix)))
        particles.append(particle)
    particles.write()
    publish(protocol, refinedParticles=particles)
    return particles


def half_maps(protocol, folder, side=32):
    """A volume whose half maps agree at low frequencies; their headers know no pixel size."""
    random = np.random.default_rng(3)
    axes = np.fft.fftfreq(side)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(axes, axes, axes)))
    signal = np.fft.ifftn(np.fft.fftn(random.normal(size=(side,) * 3)) * (radius < 0.2)).real
    names = []
    for half in (1, 2):
        image = (signal + 0.05 * random.normal(size=signal.shape)).astype(np.float32)
        names.append(str(folder / f"a half {half}.mrc"))
        mrcfile.write(names[-1], image, overwrite=True)
    volume = Volume(location=names[0])
    volume.setSamplingRate(4.0)
    volume.setHalfMaps(",".join(names))
    publish(protocol, outputVolume=volume)
    return volume


def curve(protocol):
    """A correlation that falls through 0.5 and 0.143."""
    frequency = [round(0.005 * number, 4) for number in range(1, 41)]
    found = FSC(objLabel="corrected")
    found.setData(frequency, [1 / (1 + (value / 0.1) ** 6) for value in frequency])
    publish(protocol, outputFSC=found)
    return found
