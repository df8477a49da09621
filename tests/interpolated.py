"""The images that linear imputation should give, from SciPy's direct solution of the system row by row."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

WEIGHTS = {(row, column): 1 / 6 if 0 in (row, column) else 1 / 12 for row in (-1, 0, 1) for column in (-1, 0, 1)}
del WEIGHTS[0, 0]


def interpolated(image, gone):
    """The image `(C, H, W)` without the pixels that are gone, bool `(H, W)`, of which some must be left.

    Each is the mean of its neighbors, whose weights are divided by their sum, as the paper writes it.
    """
    height, width = gone.shape
    rows, columns = np.nonzero(gone)
    number = np.full(gone.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    total, known = np.zeros(len(rows)), np.zeros((len(rows), len(image)))
    entries = []
    for (down, right), weight in WEIGHTS.items():
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        here, row, column = np.nonzero(inside)[0], row[inside], column[inside]
        total[here] += weight
        unknown = gone[row, column]
        entries.append((here[unknown], number[row, column][unknown], np.full(unknown.sum(), weight)))
        known[here[~unknown]] += weight * image[:, row[~unknown], column[~unknown]].T
    first, second, weights = map(np.concatenate, zip(*entries, strict=True))
    means = scipy.sparse.coo_array((weights / total[first], (first, second)), shape=(len(rows), len(rows)))
    system = scipy.sparse.eye_array(len(rows), format="csc") - means.tocsc()
    result = image.copy()
    if len(rows):
        result[:, rows, columns] = scipy.sparse.linalg.splu(system).solve(known / total[:, None]).T
    return result
