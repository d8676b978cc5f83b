"""One small storm on the real stack. `make chaos` runs the five large ones."""

import pytest

from tests.chaos.load import MIX
from tests.chaos.rig import Ground
from tests.chaos.storm import sound, storm
from tests.servers import Unavailable

# Those that lose most, so that a short storm meets each of them once.
KINDS = ("worker_kill", "worker_freeze", "redis_kill", "redis_reset", "gateway_kill", "reaper_kill")

PARTS = 5  # of a dataset: four shards and the summary


@pytest.mark.e2e
@pytest.mark.timeout(600)  # forty seconds on two quiet cores
def test_in_a_storm_every_accepted_job_ends_once_and_only_valid_files_are_published():
    try:
        report = storm(7, Ground(), jobs=14, faults=len(KINDS), kinds=KINDS, mix=MIX | {"dataset": 30})
    except Unavailable as reason:
        pytest.skip(str(reason))

    assert report.violations == {}
    datasets = report.parts // PARTS
    assert datasets >= 4 and report.parts == datasets * PARTS  # two, and their twins
    assert (report.jobs, report.faults.total()) == (14 + datasets // 2, len(KINDS))
    assert sound(report), report
