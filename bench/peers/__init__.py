"""The shipped model behind other servers, each as its documentation has it: what `bench.service` races.

A request names a seed; the answer is the PNG file of its picture. Each server batches in its own way, with
the same largest batch and the same wait.
"""
