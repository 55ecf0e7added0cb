"""LeNet-5 trained for an epoch and tested, as each library's documentation has its user do it.

One file a library. Each run(task) starts from the images in memory, makes the model, the optimiser
and the loaders, trains one epoch, tests, and returns the test loss and the accuracy. Imports are
absolute, so that `import keras` in peers/keras.py is the library.
"""
