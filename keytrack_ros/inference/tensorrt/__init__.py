"""TensorRT and TensorRT for RTX: engines are planned, built, cached and run."""
