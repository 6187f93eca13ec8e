"""What a training tells: files for programs, TensorBoard, the progress line, and warnings."""
