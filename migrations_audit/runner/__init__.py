"""What is started inside the project's own interpreter, as a folder with a package of its own."""
