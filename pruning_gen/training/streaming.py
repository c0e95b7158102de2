"""One batch of one member, where images come from the host as they are used.

`epoch.py` is for images that live on the device. Here the host reads, decodes
and augments; a step gets the batches of all streams and picks its own.
"""

from pruning_gen.engine import over_members as members
from pruning_gen.training import epoch
from pruning_gen.training import evaluate


def make_train_batch(train_step, mean, std):
  """Return the pure function of one streamed step.

  Args:
    train_step: from `step.make_train_step`.
    mean: the data set's mean by channel.
    std: likewise.

  Returns:
    train_batch(state, member, row, images, example_ids, valid) -> (state,
    loss). row is int32, which stream the member reads; images are uint8
    [streams, batch, height, width, channels], example_ids int32 and valid
    bool [streams, batch]; loss is float32, before the step.
  """

  def train_batch(state, member, row, images, example_ids, valid):
    batch = epoch.normalize(members.spread_batch(images[row]), mean, std)
    labels = member.labels[example_ids[row]]
    return train_step(state, batch, labels, valid[row])

  return train_batch


def make_score_batch(model, mean, std):
  """Return the pure function that scores one streamed batch.

  Args:
    model: Linen module, called as model(images, train).
    mean: the data set's mean by channel.
    std: likewise.

  Returns:
    score_batch(state, labels, images, example_ids) -> ExampleScores [batch],
    for labels int32 [N], images uint8 [batch, height, width, channels] and
    example_ids int32 [batch]; what stands at padding means nothing.
  """

  def score_batch(state, labels, images, example_ids):
    variables = {'params': state.params, 'batch_stats': state.batch_stats}
    batch = epoch.normalize(members.spread_batch(images), mean, std)
    logits = model.apply(variables, batch, train=False)
    return evaluate.score_logits(logits, labels[example_ids])

  return score_batch
