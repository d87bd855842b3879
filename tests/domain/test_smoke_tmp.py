import pytest
from tests import people
@pytest.mark.django_db
def test_a_run_reaches_the_queue():
    place = people.make_place()
    run = people.make_run(place, state="queued")
    assert run.state == "queued"
