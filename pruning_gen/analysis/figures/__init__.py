"""Every figure and table of the report, in its order.

A new figure is one entry, next to the functions that tabulate and draw it, and
one line here.
"""

from pruning_gen.analysis.figures import ablations
from pruning_gen.analysis.figures import controls
from pruning_gen.analysis.figures import difficulty
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.figures import harm
from pruning_gen.analysis.figures import heat_maps
from pruning_gen.analysis.figures import landscape
from pruning_gen.analysis.figures import layers
from pruning_gen.analysis.figures import learning
from pruning_gen.analysis.figures import leave_out
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import overlap
from pruning_gen.analysis.figures import size_and_time
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import stopping
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.figures import tables
from pruning_gen.analysis.figures import width
from pruning_gen.analysis.figures import worsened

FIGURES = (
  # The paper's figures.
  controls.FIGURE_1A,
  subgroups.FIGURE_1B,
  subgroups.FIGURE_2A,
  subgroups.FIGURE_2B,
  sparsity.FIGURE_3,
  noise.FIGURE_4,
  subgroups.FIGURE_5,
  extended.FIGURE_6,
  width.FIGURE_7,
  # Its appendices.
  controls.APPENDIX_C,
  leave_out.APPENDIX_D,
  leave_out.APPENDIX_E,
  width.APPENDIX_F,
  width.APPENDIX_I,
  ablations.APPENDIX_J1,
  ablations.APPENDIX_J2,
  worsened.APPENDIX_K1,
  leave_out.APPENDIX_K2,
  heat_maps.APPENDIX_L,
  tables.TABLE_5,
  noise.TABLE_11,
  tables.EVERY_LEVEL,
  # What the paper does not draw.
  noise.MEMORIZATION,
  tables.OPTIMA,
  tables.INFLUENTIAL,
  sparsity.TRAINING_LOSS,
  layers.LAYERS,
  overlap.OVERLAP,
  learning.LOSSES,
  learning.ERRORS,
  stopping.STOPPING,
  noise.AT_OPTIMUM,
  extended.DIFFERENCES,
  width.SAME_SIZE,
  size_and_time.SIZE_AND_TIME,
  leave_out.MOST_WORSENED,
  harm.ERRORS,
  harm.HARM,
  difficulty.EFFECTS,
  difficulty.RANKINGS,
  landscape.INSTABILITY,
  landscape.ERROR_BARRIERS,
  landscape.LOSS_BARRIERS,
  landscape.CURVATURE,
)
