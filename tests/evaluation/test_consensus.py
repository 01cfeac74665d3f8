"""Which pickers find which particles."""

import numpy as np

from relion_ext_picker.evaluation.consensus import combinations, merge_picks


def test_places_of_three_sets():
    one = [[0, 0], [100, 0], [200, 0]]
    other = [[3, 0], [300, 0]]
    third = [[0, 4], [104, 0], [500, 0], [0, -2]]
    places = merge_picks([(one, None), (other, None), (third, [0.1, 0.5, 0.9, 0.8])], 10)
    assert places.xy.tolist() == [[0, 0], [100, 0], [200, 0], [300, 0], [0, 4], [500, 0]]
    rows = {tuple(row) for row in places.found.tolist()}
    assert places.found.sum(axis=0).tolist() == [3, 2, 4]  # every pick is in one place
    assert (True, True, True) in rows
    found = [(who, int(chosen.sum())) for who, chosen in combinations(places.found)]
    assert found == [((2,), 2), ((0,), 1), ((1,), 1), ((0, 2), 1), ((0, 1, 2), 1)]


def test_empty_sets():
    nothing = np.zeros((0, 2))
    places = merge_picks([(nothing, None), ([[1, 1]], None), (nothing, None)], 5)
    assert places.found.tolist() == [[False, True, False]]
    assert combinations(merge_picks([(nothing, None)] * 2, 5).found) == []
