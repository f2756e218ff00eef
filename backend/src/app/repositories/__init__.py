"""What is kept, in the words of the domain: methods name a fact. Values go in and come out, never rows."""
