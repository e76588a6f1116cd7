"""A trained generator in the forms of other programs: ONNX, torch.export, a folder for a model hub, a page to play."""
