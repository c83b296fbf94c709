"""The numbers by which kernels know recurrent cells. Pure numbers: read by processes that never import numba."""

RNN, RNN_RELU, LSTM, GRU, GRU_V3 = range(5)
