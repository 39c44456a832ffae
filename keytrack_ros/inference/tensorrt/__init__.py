"""TensorRT, natively: engines are planned, kept, built and run. Written for 10.12 and later and for 11 alike."""
