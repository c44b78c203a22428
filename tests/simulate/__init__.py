"""Random clusters over each dialect's whole language: the program's model and the real engine give the same words."""
