"""People for your node: subscribes to a tracker and gives typed objects (docs/tutorials/people.md)."""

from keytrack_ros.client.client import PeopleClient as PeopleClient
from keytrack_ros.client.people import People as People
from keytrack_ros.client.people import Person as Person
from keytrack_ros.events import EventKind as EventKind
from keytrack_ros.events import TrackEvent as TrackEvent
from keytrack_ros.poses import TrackState as TrackState
