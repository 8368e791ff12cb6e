"""Text in: one file per kind of source, sentence segmentation, and the preparation that makes token stores of it."""
