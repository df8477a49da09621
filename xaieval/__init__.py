"""xaieval: which explanation of this model can I trust?"""

__version__ = "0.1.0"
