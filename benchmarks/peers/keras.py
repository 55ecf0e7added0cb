"""Keras on torch: compile, fit and evaluate on arrays, channels first as torch has them.

Its own layers, SGD and loss; the weights begin as every other side's.
"""

import keras
from keras import layers

from peers.task import LR, MOMENTUM, lenet5, normalised


def made():
    first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((1, 28, 28)),
            layers.Conv2D(6, 5, padding="same", activation="relu", **first),
            layers.MaxPooling2D(2, **first),
            layers.Conv2D(16, 5, activation="relu", **first),
            layers.MaxPooling2D(2, **first),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    weights = [parameter.detach().numpy() for parameter in lenet5().parameters()]
    # torch has (out, in, height, width) and (out, in), Keras (height, width, in, out) and (in, out)
    model.set_weights([w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T for w in weights])
    return model


def run(task):
    model = made()
    model.compile(
        optimizer=keras.optimizers.SGD(LR, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    how = {"batch_size": task.batch_size, "verbose": 0}
    x, y = normalised(task.images).numpy(), task.labels.numpy()
    model.fit(x, y, epochs=1, shuffle=task.shuffle, **how)
    test = normalised(task.test_images).numpy(), task.test_labels.numpy()
    return tuple(model.evaluate(*test, **how))
