"""The cfg files and service units that an installation starts from."""
