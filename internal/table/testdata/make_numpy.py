#!/usr/bin/env python3
"""Writes numpy.npy, NumPy's own file of the array of TestNumPy."""
import pathlib

import numpy as np

np.save(pathlib.Path(__file__).with_name("numpy.npy"), np.array([[1, -2, 0.5], [0, 1e-30, 3], [7, 8, 9]], "<f4"))
