"""What differs between images, texts and graphs, one modality a file."""
