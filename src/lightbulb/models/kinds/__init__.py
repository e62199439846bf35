"""Kinds of model beside the decoders, for tasks with a closed set of answers."""
