"""What supervisor and workers send each other: messages and the frames that carry them."""
