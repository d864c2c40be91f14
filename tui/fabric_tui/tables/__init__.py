"""What the screens' tables show: plain Python, one module each."""

from .events import events
from .jobs import jobs
from .learners import learners
from .pools import pools
from .runs import runs
from .table import Cell, Clock, Column, Table
from .tasks import tasks

__all__ = ["Cell", "Clock", "Column", "Table", "events", "jobs", "learners", "pools", "runs", "tasks"]
