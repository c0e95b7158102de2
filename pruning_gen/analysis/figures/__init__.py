"""Every figure and table of the report, in its order.

A new figure is one entry, next to the functions that tabulate and draw it, and
one line here.
"""

from pruning_gen.analysis.figures import ablations
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.figures import heat_maps
from pruning_gen.analysis.figures import leave_out
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.figures import tables
from pruning_gen.analysis.figures import width
from pruning_gen.analysis.figures import worsened

FIGURES = (
  sparsity.FIGURE_1A,
  sparsity.TRAINING_LOSS,
  subgroups.FIGURE_2A,
  subgroups.FIGURE_2B,
  tables.INFLUENTIAL,
  leave_out.FIGURE_3,
  noise.AT_OPTIMUM,
  noise.FIGURE_4,
  leave_out.FIGURE_5,
  extended.FIGURE_6,
  width.FIGURE_7,
  tables.OPTIMA,
  extended.APPENDIX_C,
  leave_out.APPENDIX_D,
  leave_out.APPENDIX_E,
  width.APPENDIX_I,
  ablations.APPENDIX_J,
  worsened.APPENDIX_K,
  heat_maps.APPENDIX_L,
  tables.EVERY_LEVEL,
)
