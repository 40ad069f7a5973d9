"""A simulated shop: the clickstream of a population of shoppers, as Segment messages.

- `SimulationOptions` says how many users, how long, how many messages a second, from which seed.
- `Market` (`market.py`) is the catalogue: products, their popularity and changing prices.
- `Person` and `Device` (`people.py`) are who shops and on what: tokens, clock error, outages.
- `Shopper` (`shopper.py`) is one visit: views, carts, favourites, orders, abandoning.
- `Post` (`post.py`) is the way to the log: network delay, offline stretches, duplicates.
- `simulate` (`simulation.py`) drives visits at the asked rate, yields `Message`s by append time.

Everything follows from the seed: equal options give equal bytes. Time is simulated, no clock is
read.
"""

from engine.simulate.options import SimulationOptions
from engine.simulate.post import Message
from engine.simulate.simulation import simulate

__all__ = ["Message", "SimulationOptions", "simulate"]
