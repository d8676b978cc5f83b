"""The study of editing: what each method moves when it is asked for a factor, and what else it moves.

`people` has the model, its samples and how pictures are looked at; `editors` finds for each method and factor
a way to edit; `measuring` scores it; `tables` and `plots` are what the page shows.
"""
