"""The methods of `discover` jobs, one a file: each is `find(job, model)`, and gives what its set holds."""
