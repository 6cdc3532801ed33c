"""What is played with a plugin in a child process, each scenario in a file with a `play(order)`."""
