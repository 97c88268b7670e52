"""README's picture: predicted against simulated variance on wine.

gradnoise report && python docs/picture.py gradnoise-report/report.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gradnoise import plots

stationary = json.loads(Path(sys.argv[1]).read_text())["stationary"]
axes = plots.predicted_against_simulated(stationary)
rate, size = stationary["learning_rate"], stationary["batch_size"]
axes.set_title(
    f"Constant SGD on wine, learning rate {rate:.3g}, batch {size}:\none point an eigendirection, bars ± 2 s.e.",
    fontsize=9,
)
folder = Path(__file__).parent / "images"
folder.mkdir(exist_ok=True)
axes.figure.savefig(folder / "predicted_against_simulated.svg", metadata={"Date": None})
