"""The classic example: `a * x**pow` over ten powers and two factors, one learner each.

    fabric up
    fabric submit examples/classic.py --wait

`fabric submit` takes `learners` from here, and `names` and `goal` because they are defined.
"""

import time
from functools import partial
from itertools import product

from adaptive import Learner1D


def h(x, pow, a):
    time.sleep(0.02)  # stands for the work of a real function
    return a * x**pow


combinations = list(product((0.1, 0.5), range(10)))
learners = [Learner1D(partial(h, pow=pow, a=a), bounds=(-1, 1)) for a, pow in combinations]
names = [f"a={a}/pow={pow}" for a, pow in combinations]


def goal(learner):
    return learner.npoints > 200
