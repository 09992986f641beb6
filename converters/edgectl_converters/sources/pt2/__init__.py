"""torch.export programs and TorchScript modules."""
