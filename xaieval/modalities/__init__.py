"""What differs between images, texts and graphs, one file each, and nowhere else."""
