"""A method as somebody else would add it: the mean shape of a face, learnt by gradient descent."""
