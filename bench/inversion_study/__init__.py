"""The study of inversion: what each method finds of unseen portraits, and what restoration gives back.

`subjects` has the pictures with their truth, and the model; `methods` finds latents; `restoration` degrades
and restores; `records` keeps what was measured; `tables` and `plots` are what the page shows of it.
"""
