"""region: operations inside a mask alone."""

from dataclasses import replace

from jobs.editing import RegionOperation
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft, Region


def act(bench: Bench, draft: Draft, wanted: RegionOperation, inside: Draft) -> Draft:
    """`inside`: what the operations have made of the first code; it paints inside the mask."""
    k = len(draft.codes)
    touches = [replace(t, touch=replace(t.touch, code=k)) for t in inside.touches]
    mask = bench.mask(wanted.mask)
    if wanted.strength < 1:
        mask = (mask * wanted.strength).round().to(mask.dtype)
    return replace(
        draft,
        codes=(*draft.codes, *inside.codes),
        regions=(*draft.regions, Region(mask, wanted.blend == "styles")),
        touches=(*draft.touches, *touches),
    )
