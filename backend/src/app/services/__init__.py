"""What the program does, apart from how it talks and where it stores."""
