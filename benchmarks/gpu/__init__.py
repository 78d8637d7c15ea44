"""What `make gpu` and `make gpu-compare` run on a machine with one NVIDIA GPU; imports torch, numpy, triton, transformers only."""
