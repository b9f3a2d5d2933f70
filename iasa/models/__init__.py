"""The networks: autoencoder, video transformer, encoders of pose and picture, and their weight files."""
