"""Makes tests/files/keras-*.weights.h5 and, in keras.npz, what these models give: python -m tests.convert.keras_files.

Needs Keras 3 and a backend of it, which the tests do not.
"""

from pathlib import Path

import numpy as np

FILES = Path(__file__).parent.parent / "files"


def models(keras):
    """Each model by name, with the shape of its input."""
    layers = keras.layers
    image = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(2),
        layers.Dropout(0.5, seed=1),
        layers.DepthwiseConv2D(2, depth_multiplier=2),
        layers.Conv2DTranspose(3, 2),
        layers.Flatten(),
        layers.Dense(5, activation="tanh"),
        layers.LayerNormalization(epsilon=1e-5),
        layers.Dense(2),
    ]
    back = [
        layers.Conv1D(4, 3, padding="same"),
        layers.GroupNormalization(2, epsilon=1e-5),
        layers.Conv1DTranspose(4, 3, padding="same", use_bias=False),
        layers.RMSNormalization(epsilon=1e-5),
        layers.Conv1D(4, 3, padding="same"),
    ]
    words = [layers.Embedding(9, 4), layers.Dense(4, use_bias=False), *(layers.Dense(4) for _ in range(11))]
    steps = [
        layers.LSTM(4, return_sequences=True),
        layers.Bidirectional(layers.GRU(2, return_sequences=True)),
        layers.GRU(4, reset_after=False, return_sequences=True),
        layers.SimpleRNN(3),
    ]
    x = keras.Input((5, 6))
    attention = layers.MultiHeadAttention(3, 2, output_shape=4)(x, x)
    return {
        "attention": (keras.Model(x, layers.Dense(2)(attention)), (3, 5, 6)),
        "image": (keras.Sequential([keras.Input((8, 8, 1)), *image]), (3, 8, 8, 1)),
        "series": (keras.Sequential([keras.Input((6, 4)), *back]), (3, 6, 4)),
        "words": (keras.Sequential([keras.Input((5,)), *words]), (3, 5)),
        "steps": (keras.Sequential([keras.Input((5, 3)), *steps]), (3, 5, 3)),
    }


def main():
    import keras

    rng, kept = np.random.default_rng(0), {}
    for name, (model, shape) in models(keras).items():
        for variable in model.variables:
            if "seed" not in variable.path:
                values = rng.normal(size=variable.shape) / 2
                variable.assign(abs(values) + 0.5 if "variance" in variable.path else values)
        model.compile("sgd", "mse")  # its state is in the file as well
        model.save_weights(FILES / f"keras-{name}.weights.h5")
        x = rng.integers(0, 9, shape) if name == "words" else rng.normal(size=shape).astype(np.float32)
        kept |= {f"{name}_x": x, f"{name}_y": np.asarray(model.predict(x, verbose=0))}
    np.savez_compressed(FILES / "keras.npz", **kept)


if __name__ == "__main__":
    main()
