"""TensorRT, natively: engines are planned, kept, built and run. One way for 10.3 and later and for 11."""
