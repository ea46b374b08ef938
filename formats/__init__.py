"""Files that hold networks: the project's own, the original repository's, and VGG weights. None needs Theano."""
